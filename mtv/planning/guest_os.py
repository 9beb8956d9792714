"""What the guest's operating system asks of the machine, and what KubeVirt's clients call it.

vSphere knows a guest by its configured id (`rhel9_64Guest`) and, when its tools run, by a name.
KubeVirt's user interfaces look for the labels of common-templates (`os.template.kubevirt.io/…`).
"""

from __future__ import annotations

import re

from mtv.inventory.model import VM

# Guest ids in lower case against the names that kubevirt/common-templates uses in its labels.
# Windows ids of the vSphere API (VirtualMachineGuestOsIdentifier): windows9 is Windows 10,
# windows9Server is 2016, windows2019srvNext is 2022, windows2022srvNext is 2025.
_LABELS: tuple[tuple[str, str], ...] = (
    (r"windows2022srvnext", "win2k25"),
    (r"windows2019srvnext", "win2k22"),
    (r"windows2019srv", "win2k19"),
    (r"windows9server", "win2k16"),
    (r"windows8server", "win2k12r2"),
    (r"windows7server", "win2k8r2"),
    (r"windows1[12]_", "win11"),
    (r"windows9_?", "win10"),
    (r"win", "windows"),
    (r"rhel(\d+)_?", "rhel{}.0"),
    (r"centos([89])_?", "centos-stream{}"),
    (r"centos(\d+)_?", "centos{}.0"),
    (r"fedora", "fedora"),
    (r"ubuntu", "ubuntu"),
    (r"debian(\d+)_?", "debian{}"),
    (r"sles(\d+)_?", "sles{}"),
    (r"opensuse", "opensuse"),
    (r"oraclelinux(\d+)_?", "ol{}"),
    (r"rockylinux|almalinux|photon|asianux|amazonlinux|other\d*xlinux|otherlinux", "linux"),
    (r"freebsd", "freebsd"),
)
_BY_NAME = (("windows", "windows"), ("linux", "linux"), ("ubuntu", "ubuntu"), ("debian", "debian"))


def label(vm: VM) -> str:
    """Return the operating system as a label of common-templates, `unknown` if it is not known."""
    guest_id = vm.guest_id.lower()
    for pattern, name in _LABELS:
        found = re.match(pattern, guest_id)
        if found:
            return name.format(*found.groups())
    names = f"{vm.guest_name_tools} {vm.guest_name}".lower()
    return next((label for word, label in _BY_NAME if word in names), "unknown")


def is_windows(vm: VM) -> bool:
    """Tell whether the guest is Windows, as far as the source knows."""
    return "windows" in f"{vm.guest_id} {vm.guest_name_tools} {vm.guest_name}".lower()


def is_windows_server(vm: VM) -> bool:
    """Tell whether it is a Windows made for servers: never asleep, never hibernated."""
    return is_windows(vm) and bool(
        re.search(r"server|srv", f"{vm.guest_id} {vm.guest_name}".lower())
    )
