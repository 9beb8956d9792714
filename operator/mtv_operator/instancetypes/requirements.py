"""Whether a VM has what its preference requires, and whether its vCPUs can be spread. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from mtv.api import instancetype, kubevirt, quantities
from mtv_operator.instancetypes import preferences

Spec = kubevirt.VirtualMachineInstanceSpec
Size = instancetype.VirtualMachineInstancetypeSpec
Preference = instancetype.VirtualMachinePreferenceSpec

CPU_GUEST = "instancetype.spec.cpu.guest"
RATIO = "Spec.PreferSpreadSocketToCoreRatio or Spec.CPU.PreferSpreadOptions.Ratio"
# Which parts of the topology count, by how vCPUs shall be arranged.
_COUNTED = {
    "threads": ("threads",),
    "cores": ("cores",),
    "sockets": ("sockets",),
    "any": ("cores", "sockets", "threads"),
    "SocketsCores": ("sockets", "cores"),
    "CoresThreads": ("cores", "threads"),
    "SocketsCoresThreads": ("sockets", "cores", "threads"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is wrong, and the fields that say so."""

    fields: tuple[str, ...]
    message: str


def spread_problem(size: Size | None, preference: Preference | None) -> Problem | None:
    """Return why the vCPUs of an instance type cannot be arranged as preferred."""
    if size is None or preferences.topology_word(preference) != "spread":
        return None
    ratio, across = preferences.spread(preference)
    count, threads = size.cpu.guest, preferences.THREADS_PER_CORE
    divisor, by = ratio, f"the {RATIO} of {ratio} provided by the preference"
    if across == "CoresThreads":
        by = f"the number of threads per core {ratio}"
    elif across == "SocketsCoresThreads":
        divisor = threads * ratio
        by = f"the number of threads per core {threads} and {RATIO} of {ratio}"
    if count % divisor == 0:
        return None
    message = f"{count} vCPUs provided by the instance type are not divisible by {by}"
    return Problem(fields=(CPU_GUEST,), message=message)


def problems(size: Size | None, preference: Preference | None, spec: Spec) -> list[Problem]:
    """Return what the preference requires and the VM does not have.

    `spec` is the VM's own, at `spec.template.spec`, before an instance type is applied.
    """
    required = preference.requirements if preference is not None else None
    if preference is None or required is None:
        return []
    found = [_memory(size, required, spec), _architecture(required, spec)]
    if required.cpu is not None:
        found.append(_cpu(size, preference, required.cpu.guest, spec))
    return [one for one in found if one is not None]


def _cpu(size: Size | None, preference: Preference, required: int, spec: Spec) -> Problem | None:
    if size is not None:
        if size.cpu.guest >= required:
            return None
        message = (
            f"insufficient CPU resources of {size.cpu.guest} vCPU provided by instance type, "
            f"preference requires {required} vCPU"
        )
        return Problem(fields=("spec.instancetype",), message=message)
    at = "spec.template.spec.domain.cpu"
    cpu = spec.domain.cpu
    if cpu is None:
        message = f"no CPU resources provided by VirtualMachine, preference requires {required}"
        return Problem(fields=(at,), message=f"{message} vCPU")
    word = preferences.topology_word(preference)
    word = preferences.spread(preference)[1] if word == "spread" else word
    parts = _COUNTED[word]
    count = 1
    for part in parts:
        count *= getattr(cpu, part) or (1 if len(parts) > 1 else 0)
    if count >= required:
        return None
    means = "cores, sockets and threads" if word == "any" else word
    message = (
        f"insufficient CPU resources of {count} vCPU provided by VirtualMachine, preference "
        f"requires {required} vCPU provided as {means}"
    )
    return Problem(fields=tuple(f"{at}.{part}" for part in parts), message=message)


def _memory(
    size: Size | None, required: instancetype.PreferenceRequirements, spec: Spec
) -> Problem | None:
    if required.memory is None:
        return None
    own = spec.domain.memory.guest if spec.domain.memory is not None else None
    given = size.memory.guest if size is not None else own or "0"
    if quantities.exact(given) >= quantities.exact(required.memory.guest):
        return None
    who = "instance type" if size is not None else "VirtualMachine"
    field = "spec.instancetype" if size is not None else "spec.template.spec.domain.memory"
    message = (
        f"insufficient Memory resources of {given} provided by {who}, preference requires "
        f"{required.memory.guest}"
    )
    return Problem(fields=(field,), message=message)


def _architecture(required: instancetype.PreferenceRequirements, spec: Spec) -> Problem | None:
    wanted, given = required.architecture, spec.architecture
    if not wanted or not given or wanted == given:
        return None
    message = f"preference requires architecture {wanted} but {given} is being requested"
    return Problem(fields=("spec.template.spec.architecture",), message=message)
