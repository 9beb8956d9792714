"""Rules for the keys and passwords by which people come into a guest. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from mtv.api import kubevirt
from mtv_operator.virt_api.causes import Cause


def causes(spec: kubevirt.VirtualMachineInstanceSpec, field: str) -> list[Cause]:
    """Return what is wrong with the access credentials."""
    found: list[Cause] = []
    for index, one in enumerate(spec.access_credentials):
        at = f"{field}.accessCredentials[{index}]"
        kinds = (one.ssh_public_key, one.user_password)
        if sum(kind is not None for kind in kinds) != 1:
            message = f"{at} must have exactly one access credential type set"
            found.append(Cause(field=at, message=message))
        if one.ssh_public_key is not None:
            found += _key(one.ssh_public_key, spec, at)
        if one.user_password is not None:
            where = f"{at}.userPassword"
            method = one.user_password.propagation_method
            found += _source(one.user_password.source.secret, at, where)
            found += _method((method.qemu_guest_agent,), at, where)
    return found


def _key(
    key: kubevirt.SSHPublicKeyAccessCredential, spec: kubevirt.VirtualMachineInstanceSpec, at: str
) -> Iterator[Cause]:
    where = f"{at}.sshPublicKey"
    method = key.propagation_method
    seeds = (
        ("noCloud", method.no_cloud, any(one.cloud_init_no_cloud for one in spec.volumes)),
        (
            "configDrive",
            method.config_drive,
            any(one.cloud_init_config_drive for one in spec.volumes),
        ),
    )
    for name, chosen, there in seeds:
        if chosen is not None and not there:
            message = (
                f"{at} requires a {name} volume to exist when the {name} propagationMethod is in "
                "use."
            )
            yield Cause(field=f"{where}.propagationMethod", message=message)
    agent = method.qemu_guest_agent
    if agent is not None and not agent.users:
        message = f"{at} requires at least one user to be present in the users list"
        yield Cause(field=f"{where}.propagationMethod.qemuGuestAgent.users", message=message)
    yield from _source(key.source.secret, at, where)
    yield from _method((method.no_cloud, method.config_drive, agent), at, where)


def _source(secret: object, at: str, where: str) -> Iterator[Cause]:
    if secret is None:
        yield Cause(field=f"{where}.source", message=f"{at} must have exactly one source set")


def _method(methods: tuple[object, ...], at: str, where: str) -> Iterator[Cause]:
    if sum(one is not None for one in methods) != 1:
        message = f"{at} must have exactly one propagationMethod set"
        yield Cause(field=f"{where}.propagationMethod", message=message)
