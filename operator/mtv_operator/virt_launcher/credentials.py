"""Keys and passwords that the guest agent sets in a running guest.

They lie in Secrets that the pod has mounted, and may change while the guest runs: what was set last
is remembered, and what differs is set again. A guest that booted anew is told anew.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterator
from pathlib import Path

from mtv import errors
from mtv.api import kubevirt
from mtv_operator.virt_launcher import volumes
from mtv_operator.virt_launcher.hypervisor import Hypervisor
from mtv_operator.virt_launcher.kept_state import KeptState
from mtv_operator.virt_launcher.volumes import Paths

log = logging.getLogger(__name__)

RETRY_S = 15.0


class Credentials:
    """What the agent sets, of one VM. `turn` is called while the agent is connected or not."""

    def __init__(self, hypervisor: Hypervisor, paths: Paths, state: KeptState) -> None:
        self._hypervisor, self._paths, self._state = hypervisor, paths, state
        self._wanted: tuple[kubevirt.AccessCredential, ...] = ()
        self._applied = ""
        self._not_before = 0.0

    def describe(self, vmi: kubevirt.VirtualMachineInstance) -> None:
        """Take over what the VMI asks for."""
        self._wanted = tuple(one for one in vmi.spec.access_credentials if _by_agent(one))

    def turn(self, *, agent_connected: bool) -> None:
        """Set what differs from what was set last; say whether that worked."""
        if not self._wanted:
            return
        if not agent_connected:
            self._applied = ""
            return
        orders = list(self._orders())
        digest = hashlib.sha256(repr(orders).encode()).hexdigest()
        if digest == self._applied or time.monotonic() < self._not_before:
            return
        try:
            for user, keys, password in orders:
                if password is not None:
                    self._hypervisor.set_password(user, password)
                else:
                    self._hypervisor.set_ssh_keys(user, keys)
        except errors.MigrationError as fault:
            self._not_before = time.monotonic() + RETRY_S
            self._state.note(credentials_set=False, credentials_message=str(fault))
            log.warning("access credentials: %s", fault)
            return
        self._applied = digest
        self._state.note(credentials_set=True, credentials_message="")

    def _orders(self) -> Iterator[tuple[str, tuple[str, ...], str | None]]:
        """Yield user and keys, or user and password."""
        keys: dict[str, list[str]] = {}
        for one in self._wanted:
            if one.ssh_public_key is not None and one.ssh_public_key.source.secret is not None:
                agent = one.ssh_public_key.propagation_method.qemu_guest_agent
                found = volumes.lines_of(self._folder(one.ssh_public_key.source.secret))
                for user in agent.users if agent is not None else ():
                    keys.setdefault(user, []).extend(found)
            elif one.user_password is not None and one.user_password.source.secret is not None:
                files = volumes.read_folder(self._folder(one.user_password.source.secret)) or {}
                for user, content in files.items():
                    yield user, (), content.decode("utf-8", "replace").rstrip("\n")
        yield from ((user, tuple(lines), None) for user, lines in keys.items())

    def _folder(self, secret: kubevirt.AccessCredentialSecretSource) -> Path:
        return self._paths.private / f"secret/{secret.secret_name}{volumes.ACCESS_SUFFIX}"


def _by_agent(one: kubevirt.AccessCredential) -> bool:
    key, password = one.ssh_public_key, one.user_password
    return (key is not None and key.propagation_method.qemu_guest_agent is not None) or (
        password is not None and password.propagation_method.qemu_guest_agent is not None
    )
