"""Which fields have an effect: the single definition of it. Pure.

Everything that upstream has is stored. What is not named here is answered by a warning that names
the field, so that nobody believes in something that does nothing. A name stands for the field
alone; `.*` behind it takes in all below it; `[]` is each item of a list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

MESSAGE = "stored, has no effect yet"

_INSTANCE = """
affinity.* architecture dnsConfig.* dnsPolicy evictionStrategy hostname nodeSelector.*
priorityClassName
schedulerName serviceAccountName startStrategy subdomain terminationGracePeriodSeconds
tolerations[].* topologySpreadConstraints[].*
accessCredentials[].*
livenessProbe.httpGet.* livenessProbe.tcpSocket.* livenessProbe.initialDelaySeconds
livenessProbe.timeoutSeconds livenessProbe.periodSeconds livenessProbe.successThreshold
livenessProbe.failureThreshold livenessProbe.exec.* livenessProbe.guestAgentPing.*
readinessProbe.httpGet.* readinessProbe.tcpSocket.* readinessProbe.initialDelaySeconds
readinessProbe.timeoutSeconds readinessProbe.periodSeconds readinessProbe.successThreshold
readinessProbe.failureThreshold readinessProbe.exec.* readinessProbe.guestAgentPing.*
networks[].name networks[].pod.vmNetworkCIDR networks[].multus.networkName
volumes[].name
volumes[].persistentVolumeClaim.claimName volumes[].persistentVolumeClaim.readOnly
volumes[].dataVolume.name volumes[].dataVolume.hotpluggable volumes[].emptyDisk.capacity
volumes[].persistentVolumeClaim.hotpluggable volumes[].containerDisk.*
volumes[].serviceAccount.* volumes[].downwardAPI.*
volumes[].ephemeral.persistentVolumeClaim.*
volumes[].cloudInitNoCloud.* volumes[].cloudInitConfigDrive.*
volumes[].configMap.* volumes[].secret.* volumes[].sysprep.*
volumes[].hostDisk.path volumes[].hostDisk.type volumes[].hostDisk.capacity
domain.chassis.* domain.clock.*
domain.cpu.cores domain.cpu.sockets domain.cpu.threads domain.cpu.maxSockets domain.cpu.model
domain.cpu.features[].*
domain.features.* domain.rebootPolicy
domain.firmware.uuid domain.firmware.serial domain.firmware.bootloader.bios.useSerial
domain.firmware.bootloader.efi.secureBoot domain.firmware.bootloader.efi.persistent
domain.machine.type
domain.memory.guest domain.memory.hugepages.* domain.memory.reservedOverhead.addedOverhead
domain.resources.*
domain.devices.autoattachGraphicsDevice domain.devices.autoattachInputDevice
domain.devices.autoattachMemBalloon domain.devices.autoattachPodInterface
domain.devices.autoattachSerialConsole domain.devices.blockMultiQueue
domain.devices.inputs[].* domain.devices.logSerialConsole
domain.devices.networkInterfaceMultiqueue domain.devices.panicDevices[].* domain.devices.rng.*
domain.devices.sound.* domain.devices.tpm.enabled domain.devices.tpm.persistent
domain.devices.useVirtioTransitional
domain.devices.video.type domain.devices.watchdog.*
domain.devices.disks[].name domain.devices.disks[].bootOrder domain.devices.disks[].cache
domain.devices.disks[].cdrom.* domain.devices.disks[].disk.bus domain.devices.disks[].disk.readonly
domain.devices.disks[].lun.bus domain.devices.disks[].lun.readonly
domain.devices.disks[].errorPolicy domain.devices.disks[].io domain.devices.disks[].serial
domain.devices.disks[].shareable domain.devices.disks[].blockSize.custom.*
domain.devices.interfaces[].name domain.devices.interfaces[].masquerade.*
domain.devices.interfaces[].bridge.* domain.devices.interfaces[].model
domain.devices.interfaces[].macAddress
domain.devices.interfaces[].bootOrder domain.devices.interfaces[].acpiIndex
domain.devices.interfaces[].pciAddress domain.devices.interfaces[].state
domain.devices.interfaces[].ports[].* domain.devices.interfaces[].portRanges[].*
domain.devices.interfaces[].dhcpOptions.*
"""

_VM = """
running runStrategy template.metadata.* dataVolumeTemplates[].* instancetype.* preference.*
"""

Tree = dict[str, "Tree"]
_ALL = "*"


def tree(names: str) -> Tree:
    """Return the blank-separated names as a tree; `[]` is the key of a list's items."""
    root: Tree = {}
    for name in names.split():
        node = root
        for part in name.replace("[]", ".[]").split("."):
            node = node.setdefault(part, {})
    return root


INSTANCE_SPEC = tree(_INSTANCE)
VM_SPEC: Tree = {**tree(_VM)}
VM_SPEC["template"] = {**VM_SPEC["template"], "spec": INSTANCE_SPEC}


def ignored(document: Mapping[str, Any], honoured: Tree, at: str) -> Iterator[str]:
    """Yield the paths of what is set and not honoured: each as high up as it is wholly ignored.

    Empty lists and a plain `false` ask for nothing, and are passed over.
    """
    yield from _ignored(document, honoured, at)


def _ignored(value: Any, honoured: Tree, at: str) -> Iterator[str]:  # noqa: ANN401 - any JSON
    if _ALL in honoured or not honoured:
        return
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if inner is None or inner == [] or (inner is False and key not in honoured):
                continue  # nothing asked for
            if key not in honoured:
                yield f"{at}.{key}"
            else:
                yield from _ignored(inner, honoured[key], f"{at}.{key}")
    elif isinstance(value, list | tuple) and "[]" in honoured:
        for index, inner in enumerate(value):
            yield from _ignored(inner, honoured["[]"], f"{at}[{index}]")


def warnings(document: Mapping[str, Any], honoured: Tree, at: str = "spec") -> list[str]:
    """Return a warning for each field of `document`, which lies at `at`, that has no effect."""
    return [f"{path}: {MESSAGE}" for path in ignored(document, honoured, at)]
