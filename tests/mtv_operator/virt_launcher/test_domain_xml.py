"""Domain XML of typical VMs, compared with what is committed, and with libvirt's own schema.

`MTV_WRITE_GOLDEN=1 pytest …` writes the files anew; read the difference before you commit it.
"""

import os
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import libvirt
import msgspec
import pytest

from mtv import errors
from mtv.api import kubevirt
from mtv_operator.virt_launcher import domain_xml
from mtv_operator.virt_launcher.domain.context import Accelerator, Context, Firmware, Image, Tap

GOLDEN = Path(__file__).with_name("golden")
DISKS = "/var/run/kubevirt-private/vmi-disks"


def context(**changes) -> Context:
    private = "/var/run/kubevirt-private/uid-1"
    base = Context(
        accelerator=Accelerator.KVM,
        images={"root": Image(path=f"{DISKS}/root/disk.img")},
        taps={"default": Tap(device="tap0", mac="02:00:00:00:00:01")},
        serial_socket=f"{private}/virt-serial0",
        serial_log=f"{private}/virt-serial0-log",
        vnc_socket=f"{private}/virt-vnc",
        agent_socket=f"{private}/guest-agent",
        nvram="/var/run/kubevirt-private/libvirt/qemu/nvram/web_VARS.fd",
        efi=Firmware(code="/usr/share/OVMF/OVMF_CODE_4M.fd", variables="/usr/share/OVMF/VARS.fd"),
        efi_secure=Firmware(
            code="/usr/share/OVMF/OVMF_CODE_4M.ms.fd", variables="/usr/share/OVMF/VARS.ms.fd"
        ),
    )
    return replace(base, **changes)


def vmi(domain=None, devices=None) -> kubevirt.VirtualMachineInstance:
    document = {
        "metadata": {"name": "web", "namespace": "demo", "uid": "uid-1"},
        "spec": {
            "domain": {
                "memory": {"guest": "2Gi"},
                "firmware": {"uuid": "5d307ca9-b3ef-428c-8861-06e72d69f223"},
                "devices": {
                    "disks": [{"name": "root", "disk": {"bus": "virtio"}}],
                    "interfaces": [{"name": "default", "masquerade": {}}],
                    **(devices or {}),
                },
                **(domain or {}),
            }
        },
    }
    return msgspec.convert(document, kubevirt.VirtualMachineInstance)


BIOS_LINUX = vmi(
    {
        "cpu": {"sockets": 2, "cores": 2, "threads": 1},
        "firmware": {"uuid": "5d307ca9-b3ef-428c-8861-06e72d69f223", "serial": "VMware-56 4d"},
        "clock": {
            "utc": {},
            "timer": {"rtc": {"tickPolicy": "catchup"}, "hpet": {"present": False}},
        },
    },
    {"rng": {}, "blockMultiQueue": True},
)
EFI = vmi({"firmware": {"bootloader": {"efi": {"secureBoot": False}}}})
WINDOWS = vmi(
    {
        "cpu": {"sockets": 1, "cores": 4},
        "firmware": {"bootloader": {"efi": {"secureBoot": True}}},
        "features": {
            "acpi": {},
            "apic": {},
            "smm": {"enabled": True},
            "hyperv": {
                "relaxed": {},
                "vapic": {},
                "vpindex": {},
                "synic": {},
                "synictimer": {"direct": {}},
                "spinlocks": {"spinlocks": 8191},
                "frequencies": {},
                "reset": {"enabled": False},
                "vendorid": {"vendorid": "mtv"},
            },
        },
        "clock": {
            "timezone": "Europe/Berlin",
            "timer": {
                "hpet": {"present": False},
                "pit": {"tickPolicy": "delay"},
                "rtc": {"tickPolicy": "catchup"},
                "hyperv": {},
            },
        },
    },
    {
        "disks": [{"name": "root", "disk": {"bus": "sata"}, "bootOrder": 1}],
        "interfaces": [{"name": "default", "masquerade": {}, "model": "e1000e"}],
        "inputs": [{"name": "tablet", "type": "tablet", "bus": "usb"}],
        "tpm": {"persistent": True},
    },
)
MANY_DISKS = vmi(
    None,
    {
        "disks": [
            {"name": "root", "disk": {"bus": "virtio"}, "bootOrder": 2, "serial": "root-1"},
            {"name": "data", "disk": {"bus": "scsi"}, "cache": "writeback"},
            {"name": "lun", "lun": {"bus": "scsi"}},
            {"name": "old", "disk": {"bus": "sata"}, "dedicatedIOThread": False},
            {"name": "tools", "cdrom": {"bus": "sata"}, "bootOrder": 1},
            {"name": "drive", "cdrom": {"bus": "scsi", "tray": "open"}},
            {"name": "scratch", "disk": {"bus": "virtio"}},
            {"name": "shared", "disk": {"bus": "scsi"}, "shareable": True, "errorPolicy": "report"},
            {
                "name": "4k",
                "disk": {"bus": "virtio"},
                "blockSize": {"custom": {"logical": 4096, "physical": 4096}},
            },
            {"name": "default-bus", "disk": {}},
        ]
    },
)
DISK_IMAGES = {
    "root": Image(path=f"{DISKS}/root/disk.img", preallocated=True),
    "data": Image(path=f"{DISKS}/data/disk.img"),
    "lun": Image(path="/dev/lun", block=True),
    "old": Image(path=f"{DISKS}/old/disk.img", direct_io=False),
    "tools": Image(path=f"{DISKS}/tools/disk.img"),
    "drive": Image(path="", read_only=True),
    "scratch": Image(
        path="/var/run/kubevirt-ephemeral-disks/disk-data/scratch/disk.qcow2",
        format="qcow2",
        backing=Image(path=f"{DISKS}/scratch/disk.img", read_only=True),
    ),
    "shared": Image(path="/dev/shared", block=True),
    "4k": Image(path="/dev/4k", block=True),
    "default-bus": Image(path=f"{DISKS}/default-bus/disk.img"),
}
INTERFACES = vmi(
    {"cpu": {"cores": 2}},
    {
        "networkInterfaceMultiqueue": True,
        "interfaces": [
            {"name": "default", "masquerade": {}, "bootOrder": 1, "acpiIndex": 7},
            {"name": "vmware", "masquerade": {}, "model": "vmxnet3", "pciAddress": "0000:03:00.0"},
            {"name": "intel", "masquerade": {}, "model": "e1000", "state": "down"},
            {"name": "gone", "masquerade": {}, "state": "absent"},
        ],
    },
)
TAPS = {
    "default": Tap(device="tap0", mac="00:50:56:00:00:01", queues=2, vhost=True),
    "vmware": Tap(device="tap1", mac="00:50:56:00:00:02", mtu=9000),
    "intel": Tap(device="tap2", mac="00:50:56:00:00:03"),
}
EVERYTHING = vmi(
    {"memory": {"guest": "1Gi", "hugepages": {"pageSize": "2Mi"}}, "rebootPolicy": "Terminate"},
    {
        "watchdog": {"name": "dog", "i6300esb": {"action": "reset"}},
        "sound": {"name": "audio"},
        "video": {"type": "virtio"},
        "panicDevices": [{"model": "isa"}],
        "useVirtioTransitional": True,
        "autoattachMemBalloon": False,
        "inputs": [{"name": "keys", "type": "keyboard", "bus": "virtio"}],
    },
)

CASES = {
    "bios-linux": (BIOS_LINUX, context()),
    "efi": (EFI, context()),
    "secure-boot-tpm-windows": (WINDOWS, context()),
    "secure-boot-tpm-windows-emulated": (WINDOWS, context(accelerator=Accelerator.EMULATION)),
    "many-disks": (MANY_DISKS, context(images=DISK_IMAGES)),
    "interfaces": (INTERFACES, context(taps=TAPS)),
    "devices": (EVERYTHING, context(cpu_features_off=("arch-capabilities",))),
}


@pytest.mark.parametrize("name", CASES)
def test_domain_is_as_committed(name):
    instance, around = CASES[name]
    xml = domain_xml.build(instance, around)
    path = GOLDEN / f"{name}.xml"
    if os.environ.get("MTV_WRITE_GOLDEN"):
        path.write_text(xml)

    assert xml == path.read_text()


@pytest.mark.parametrize("name", CASES)
def test_domain_is_what_libvirt_calls_one(name):
    assert schema_fault(domain_xml.build(*CASES[name])) == ""


def schema_fault(xml: str) -> str:
    """Return what libvirt's schema has against a domain.

    libvirt's test driver knows no QEMU, but checks the schema before it looks at the rest.
    """
    libvirt.registerErrorHandler(lambda *_: None, None)
    connection = libvirt.open("test:///default")
    try:
        connection.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    except libvirt.libvirtError as fault:
        of_schema = fault.get_error_code() == libvirt.VIR_ERR_XML_INVALID_SCHEMA
        return str(fault) if of_schema else ""
    finally:
        connection.close()
    return ""


def test_emulation_says_what_it_leaves_out():
    assert domain_xml.compromises(WINDOWS, context(accelerator=Accelerator.EMULATION)) == (
        "cpu model host-model is emulated as QEMU's max",
        "Hyper-V enlightenments are left out: they need KVM",
    )
    assert domain_xml.compromises(WINDOWS, context()) == ()


@pytest.mark.parametrize(
    ("domain", "devices", "field", "words"),
    [
        pytest.param({"memory": None}, None, "spec.domain.memory.guest", "not given", id="memory"),
        pytest.param(
            {"memory": {"guest": "2 potatoes"}}, None, "spec.domain.memory.guest", "not a quantity",
            id="a quantity that is none",
        ),
        pytest.param(
            None, {"disks": [{"name": "root", "disk": {"bus": "ide"}}]},
            "spec.domain.devices.disks[root]", "not a disk bus", id="a bus that is none",
        ),
        pytest.param(
            None, {"disks": [{"name": "other", "disk": {}}]},
            "spec.domain.devices.disks[other]", "no volume of its name", id="a disk without volume",
        ),
        pytest.param(
            None,
            {"disks": [{"name": "root", "disk": {}, "bootOrder": 1}],
             "interfaces": [{"name": "default", "masquerade": {}, "bootOrder": 1}]},
            "spec.domain.devices", "as root has", id="one boot order twice",
        ),
        pytest.param(
            {"firmware": {"uuid": "12"}}, None, "spec.domain.firmware.uuid", "not a UUID",
            id="a uuid that is none",
        ),
        pytest.param(
            {"firmware": {"bootloader": {"efi": {}, "bios": {}}}}, None,
            "spec.domain.firmware.bootloader", "both bios and efi", id="two firmwares",
        ),
        pytest.param(
            {"firmware": {"bootloader": {"efi": {}}}, "machine": {"type": "pc-i440fx-7.2"}}, None,
            "spec.domain.machine.type", "needs a q35 machine", id="secure boot on i440fx",
        ),
        pytest.param(
            None, {"gpus": [{"name": "g", "deviceName": "n"}]}, "spec.domain.devices.gpus",
            "not supported yet", id="a GPU",
        ),
        pytest.param(
            {"firmware": {"serial": "a\x01b"}}, None, "entry", "XML cannot carry",
            id="a control character",
        ),
    ],
)  # fmt: skip
def test_spec_that_cannot_be_honoured_is_refused_by_name(domain, devices, field, words):
    with pytest.raises(errors.BadInput) as caught:
        domain_xml.build(vmi(domain, devices), context())

    assert caught.value.field == field
    assert words in caught.value.message


def test_text_of_the_spec_cannot_leave_its_element():
    instance = vmi({"firmware": {"serial": "</entry><evil/>&\"'"}})

    root = ElementTree.fromstring(domain_xml.build(instance, context()))

    assert root.find(".//evil") is None
    assert root.findtext("sysinfo/system/entry[@name='serial']") == "</entry><evil/>&\"'"
