"""What `guestosinfo`, `userlist` and `filesystemlist` answer, in upstream's shapes. Pure."""

from __future__ import annotations

from mtv.api import kubevirt, meta
from mtv_operator.virt_handler import instance_status
from mtv_operator.virt_launcher.protocol import Domain, GuestInfo

API_VERSION = "subresources.kubevirt.io/v1"


def users(guest: GuestInfo) -> tuple[kubevirt.VirtualMachineInstanceGuestOSUser, ...]:
    """Return who is logged in; times in seconds."""
    return tuple(
        kubevirt.VirtualMachineInstanceGuestOSUser(
            user_name=one.name, domain=one.domain or None, login_time=one.login_ms / 1000
        )
        for one in guest.users
    )


def file_systems(guest: GuestInfo) -> tuple[kubevirt.VirtualMachineInstanceFileSystem, ...]:
    """Return what the guest has mounted."""
    return tuple(
        kubevirt.VirtualMachineInstanceFileSystem(
            disk_name=one.name,
            mount_point=one.mount_point,
            file_system_type=one.kind,
            used_bytes=one.used_bytes,
            total_bytes=one.total_bytes,
        )
        for one in guest.file_systems
    )


def user_list(guest: GuestInfo) -> kubevirt.VirtualMachineInstanceGuestOSUserList:
    """Return the answer of `userlist`."""
    return kubevirt.VirtualMachineInstanceGuestOSUserList(
        api_version=API_VERSION,
        kind="VirtualMachineInstanceGuestOSUserList",
        metadata=meta.ListMeta(),
        items=users(guest),
    )


def file_system_list(guest: GuestInfo) -> kubevirt.VirtualMachineInstanceFileSystemList:
    """Return the answer of `filesystemlist`."""
    return kubevirt.VirtualMachineInstanceFileSystemList(
        api_version=API_VERSION,
        kind="VirtualMachineInstanceFileSystemList",
        metadata=meta.ListMeta(),
        items=file_systems(guest),
    )


def os_info(domain: Domain, guest: GuestInfo) -> kubevirt.VirtualMachineInstanceGuestAgentInfo:
    """Return the answer of `guestosinfo`."""
    return kubevirt.VirtualMachineInstanceGuestAgentInfo(
        api_version=API_VERSION,
        kind="VirtualMachineInstanceGuestAgentInfo",
        guest_agent_version=guest.agent_version or None,
        supported_commands=tuple(
            kubevirt.GuestAgentCommandInfo(name=name, enabled=True) for name in guest.agent_commands
        ),
        hostname=guest.hostname or None,
        os=instance_status.os_info(guest),
        timezone=guest.timezone or None,
        user_list=users(guest),
        fs_info=kubevirt.VirtualMachineInstanceFileSystemInfo(disks=file_systems(guest)),
        fs_freeze_status="frozen" if domain.frozen else None,
    )
