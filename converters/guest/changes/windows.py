"""What changes in a Windows guest: drivers that start with it, and what it does at its first boot.

The keys are those that Windows' own plug and play writes when it finds such a device; the service
starts at boot (Start 0), before the disk is needed. A record of every file with its old hash, and
the old hives, stay in the guest. Not proved on a real Windows: see the docs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from converters.guest.decision import Bus, Nic

SYSTEM = "Windows/System32/config/SYSTEM"
KEPT = "Windows/System32/config/SYSTEM.mtv"  # the hive as it was
FOLDER = "Windows/Temp"  # is in every Windows; files of ours begin with mtv-
SCRIPT = f"{FOLDER}/mtv-firstboot.ps1"
RECORD = f"{FOLDER}/mtv-adaptation.json"
SERVICE = "mtv-firstboot"

_SZ, _EXPAND, _BINARY, _DWORD, _MULTI = 1, 2, 3, 4, 7
_SCSI_CLASS = "{4D36E97B-E325-11CE-BFC1-08002BE10318}"
# Legacy and modern devices of virtio, as the PCI IDs of the virtio specification say.
DEVICES = {
    "viostor": ("VEN_1AF4&DEV_1001&REV_00", "VEN_1AF4&DEV_1042&REV_01"),
    "vioscsi": ("VEN_1AF4&DEV_1004&REV_00", "VEN_1AF4&DEV_1048&REV_01"),
}
STORAGE = {Bus.SCSI: "vioscsi", Bus.VIRTIO: "viostor"}

# Build numbers: client release, server release, as virtio-win names its folders.
_RELEASES = (
    (26100, "w11", "2k25"),
    (22000, "w11", "2k22"),
    (20348, "w10", "2k22"),
    (17763, "w10", "2k19"),
    (10240, "w10", "2k16"),
    (9600, "w8.1", "2k12r2"),
    (9200, "w8", "2k12"),
    (7600, "w7", "2k8r2"),
)
# A service that is no service is ended after 30 seconds; what it has started is not.
_START = (
    '%SystemRoot%\\System32\\cmd.exe /c start "" /b powershell.exe -NoProfile '
    "-ExecutionPolicy Bypass -File %SystemRoot%\\Temp\\mtv-firstboot.ps1"
)
_SAFE_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}$")
_SAFE_ADDRESS = re.compile(r"([0-9a-f.:]{2,45})/(\d{1,3})$")


def release(version: str, name: str) -> str:
    """Return the folder of virtio-win for a Windows, from `6.3.17763` and its product name."""
    last = version.rsplit(".", 1)[-1]
    build = int(last) if last.isdigit() else 0
    for least, client, server in _RELEASES:
        if build >= least:
            return server if "server" in name.lower() else client
    return ""


def edits(bus: Bus) -> list[dict[str, object]]:
    """Return the edits of the SYSTEM hive."""
    made = [edit for driver in DEVICES for edit in _of_driver(driver)]
    return [
        *made,
        # The way back: SATA starts as well as ever, also where Windows had switched it off.
        {"path": r"%\Services\storahci", "values": {"Start": [_DWORD, 0]}, "only_if_there": True},
        {"path": r"%\Services\storahci\StartOverride", "remove": True},
        {"path": rf"%\Services\{SERVICE}", "values": {
            "Type": [_DWORD, 0x10], "Start": [_DWORD, 2], "ErrorControl": [_DWORD, 0],
            "ObjectName": [_SZ, "LocalSystem"],
            "DisplayName": [_SZ, "First start after the migration"],
            "ImagePath": [_EXPAND, _START],
        }},
    ]  # fmt: skip


def _of_driver(driver: str) -> Iterator[dict[str, object]]:
    yield {"path": rf"%\Services\{driver}", "values": {
        "Type": [_DWORD, 1], "Start": [_DWORD, 0], "ErrorControl": [_DWORD, 1],
        "Group": [_SZ, "SCSI miniport"],
        "ImagePath": [_EXPAND, rf"system32\drivers\{driver}.sys"],
    }}  # fmt: skip
    inf, label, kind = f"{driver}.inf", f"{driver}.inf_mtv", f"{driver}_conf"
    package = rf"DriverDatabase\DriverPackages\{label}"
    for device in DEVICES[driver]:
        yield {"path": rf"%\Control\CriticalDeviceDatabase\PCI#{device}", "modern": False,
               "values": {"Service": [_SZ, driver], "ClassGUID": [_SZ, _SCSI_CLASS]}}  # fmt: skip
        yield {"path": rf"DriverDatabase\DeviceIds\PCI\{device}", "modern": True,
               "values": {inf: [_BINARY, "01ff0000"]}}  # fmt: skip
        yield {"path": rf"{package}\Descriptors\PCI\{device}", "modern": True,
               "values": {"Configuration": [_SZ, kind]}}  # fmt: skip
    names = {"": [_MULTI, [label]], "Active": [_SZ, label], "Configurations": [_MULTI, [kind]]}
    yield {"path": rf"DriverDatabase\DriverInfFiles\{inf}", "modern": True, "values": names}
    # Layout of DriverPackages' Version: a head, the class, then a date and a version of zeros.
    head = "00ff090000000000" + "7be9364d25e3ce11bfc108002be10318"
    yield {"path": package, "modern": True,
           "values": {"Version": [_BINARY, head + "00" * 24]}}  # fmt: skip
    yield {"path": rf"{package}\Configurations\{kind}", "modern": True,
           "values": {"ConfigFlags": [_DWORD, 0], "Service": [_SZ, driver]}}  # fmt: skip


def files(drivers: Mapping[str, bytes], nics: Sequence[Nic]) -> dict[str, bytes]:
    """Return the files that are put into the guest, by path."""
    made: dict[str, bytes] = {}
    for name, content in drivers.items():
        driver, _, file = name.partition("/")
        made[f"{FOLDER}/mtv-{driver}-{file}" if driver == "agent" else f"{FOLDER}/{file}"] = content
        if file == f"{driver}.sys" and driver in DEVICES:
            made[f"Windows/System32/drivers/{file}"] = content
    made[SCRIPT] = script(nics).replace("\n", "\r\n").encode("utf-8-sig")
    return made


def script(nics: Sequence[Nic]) -> str:
    """Return what Windows does at its first start. Every value in it was checked."""
    lines = [
        "$ErrorActionPreference = 'Continue'",
        'Start-Transcript -Path "$env:SystemRoot\\Temp\\mtv-firstboot.log"',
        'Get-ChildItem "$env:SystemRoot\\Temp\\*.inf" | ForEach-Object {',
        "  pnputil.exe /add-driver $_.FullName /install; if ($LASTEXITCODE) {",
        "    pnputil.exe -i -a $_.FullName } }",
        "Get-Disk | Where-Object IsOffline | Set-Disk -IsOffline $false",
        "Get-Disk | Where-Object IsReadOnly | Set-Disk -IsReadOnly $false",
        "Start-Sleep -Seconds 10",
    ]
    for nic in nics:
        lines += _addresses(nic)
    lines += [
        '$agent = "$env:SystemRoot\\Temp\\mtv-agent-qemu-ga-x86_64.msi"',
        "if (Test-Path $agent) {",
        "  Start-Process msiexec.exe -Wait -ArgumentList '/i', $agent, '/qn', '/norestart' }",
        "Get-ItemProperty 'HKLM:\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Uninstall\\*' |",
        "  Where-Object { $_.DisplayName -eq 'VMware Tools' } | ForEach-Object {",
        "  $id = $_.PSChildName",
        "  Start-Process msiexec.exe -Wait -ArgumentList '/x', $id, '/qn', '/norestart' }",
        f"sc.exe delete {SERVICE}",
        "Stop-Transcript",
    ]
    return "\n".join(lines) + "\n"


def _addresses(nic: Nic) -> Iterator[str]:
    """Yield what gives a NIC the addresses that the source's tools reported, found by its MAC."""
    if not _SAFE_MAC.match(nic.mac):
        return
    mac = nic.mac.replace(":", "-").upper()
    yield f"$nic = Get-NetAdapter | Where-Object MacAddress -eq '{mac}'"
    for address in nic.addresses:
        found = _SAFE_ADDRESS.match(address.lower())
        if found and not found[1].startswith("fe80"):
            yield (
                f"if ($nic -and -not (Get-NetIPAddress -IPAddress '{found[1]}' "
                "-ErrorAction SilentlyContinue)) {"
            )
            yield (
                f"  New-NetIPAddress -InterfaceIndex $nic.ifIndex -IPAddress '{found[1]}' "
                f"-PrefixLength {int(found[2])} }}"
            )
