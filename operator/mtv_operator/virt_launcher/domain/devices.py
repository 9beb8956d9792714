"""Everything else in `<devices>`: controllers, console, display, inputs, balloon, TPM, watchdog."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from mtv import errors
from mtv.api import kubevirt
from mtv_operator.virt_launcher.domain import disks, firmware
from mtv_operator.virt_launcher.domain.context import Context
from mtv_operator.virt_launcher.domain.markup import alias, element

BALLOON_PERIOD_S = 10
VIDEO_MODELS = ("vga", "bochs", "virtio", "cirrus", "ramfb", "qxl")
WATCHDOG_ACTIONS = ("poweroff", "reset", "shutdown")
SOUND_MODELS = ("ich9", "ac97")
PANIC_MODELS = {"isa": "isa", "hyperv": "hyperv", "pvpanic": "pvpanic"}


def refuse_missing(domain: kubevirt.DomainSpec) -> None:
    """Raise BadInput for devices that cannot be given: a guest must not start without them."""
    devices = domain.devices
    for name, present in (
        ("gpus", devices.gpus),
        ("hostDevices", devices.host_devices),
        ("filesystems", devices.filesystems),
    ):
        if present:
            raise errors.BadInput(
                "devices of this kind are not supported yet",
                field=f"spec.domain.devices.{name}",
                hint="remove them from the spec",
            )
    if domain.launch_security is not None:
        raise errors.BadInput(
            "encrypted guests are not supported yet", field="spec.domain.launchSecurity"
        )
    if domain.firmware is not None and domain.firmware.kernel_boot is not None:
        raise errors.BadInput(
            "booting a kernel from a container image is not supported yet",
            field="spec.domain.firmware.kernelBoot",
            hint="boot from a disk",
        )


def controller_elements(domain: kubevirt.DomainSpec) -> list[Element]:
    """Return the controllers that libvirt would choose otherwise, or not at all."""
    virtio = disks.virtio_model(domain)
    buses = {disks.bus_of(disk) for disk in domain.devices.disks}
    elements = []
    # Without one, the first disk that is added to the running guest would bring its own.
    if "scsi" in buses or not domain.devices.disable_hotplug:
        elements.append(element("controller", {"type": "scsi", "index": 0, "model": virtio}))
    elements.append(element("controller", {"type": "virtio-serial", "index": 0, "model": virtio}))
    usb = "usb" in buses or any(bus == "usb" for _, bus in _inputs(domain))
    model = "qemu-xhci" if usb else "none"
    elements.append(element("controller", {"type": "usb", "index": 0, "model": model}))
    return elements


def console_elements(domain: kubevirt.DomainSpec, context: Context) -> list[Element]:
    """Return the serial console and the guest agent's channel."""
    elements = []
    if domain.devices.autoattach_serial_console is not False:
        log = domain.devices.log_serial_console is not False
        elements.append(
            element(
                "serial",
                {"type": "unix"},
                element("source", {"mode": "bind", "path": context.serial_socket}),
                element("log", {"file": context.serial_log, "append": "on"}) if log else None,
                element("target", {"port": 0}),
                element("alias", {"name": "ua-serial0"}),
            )
        )
    elements.append(
        element(
            "channel",
            {"type": "unix"},
            element("source", {"mode": "bind", "path": context.agent_socket}),
            element("target", {"type": "virtio", "name": "org.qemu.guest_agent.0"}),
        )
    )
    return elements


def display_elements(domain: kubevirt.DomainSpec, context: Context) -> list[Element]:
    """Return VNC on a UNIX socket and a video card; with EFI bochs, which OVMF drives."""
    if domain.devices.autoattach_graphics_device is False:
        return []
    model = (domain.devices.video.type if domain.devices.video else None) or (
        "bochs" if firmware.efi(domain) else "vga"
    )
    if model not in VIDEO_MODELS:
        raise errors.BadInput(
            f"{model[:40]!r} is not a video model",
            field="spec.domain.devices.video.type",
            hint=f"use one of {', '.join(VIDEO_MODELS)}",
        )
    vram = 16384 if model in ("vga", "bochs", "cirrus") else None
    listen = element("listen", {"type": "socket", "socket": context.vnc_socket})
    return [
        element("graphics", {"type": "vnc"}, listen),
        element("video", None, element("model", {"type": model, "heads": 1, "vram": vram})),
    ]


def _inputs(domain: kubevirt.DomainSpec) -> list[tuple[kubevirt.Input, str]]:
    """Return the inputs with their bus: the spec's, and a tablet where one is asked for."""
    listed = list(domain.devices.inputs)
    if not listed and domain.devices.autoattach_input_device:
        listed = [kubevirt.Input(name="default-0", type="tablet", bus="usb")]
    return [(one, one.bus or "usb") for one in listed]


def input_elements(domain: kubevirt.DomainSpec) -> list[Element]:
    """Return pointers and keyboards."""
    elements = []
    for one, bus in _inputs(domain):
        field = f"spec.domain.devices.inputs[{one.name}]"
        if one.type not in ("tablet", "keyboard") or bus not in ("usb", "virtio"):
            raise errors.BadInput(
                f"{one.type[:40]!r} on bus {bus[:40]!r} is not an input",
                field=field,
                hint="use a tablet or keyboard on usb or virtio",
            )
        model = disks.virtio_model(domain) if bus == "virtio" else None
        attributes = {"type": one.type, "bus": bus, "model": model}
        elements.append(element("input", attributes, alias(one.name, field)))
    return elements


def balloon_element(domain: kubevirt.DomainSpec) -> Element:
    """Return the memory balloon, which also tells the guest's free memory."""
    if domain.devices.autoattach_mem_balloon is False:
        return element("memballoon", {"model": "none"})
    return element(
        "memballoon",
        {"model": disks.virtio_model(domain), "freePageReporting": "on"},
        element("stats", {"period": BALLOON_PERIOD_S}),
    )


def small_elements(domain: kubevirt.DomainSpec) -> list[Element]:
    """Return random numbers, TPM, watchdog, sound and panic devices."""
    devices = domain.devices
    elements = []
    if devices.rng is not None:
        backend = element("backend", {"model": "random"}, text="/dev/urandom")
        elements.append(element("rng", {"model": disks.virtio_model(domain)}, backend))
    if devices.tpm is not None and devices.tpm.enabled is not False:
        model = "tpm-crb" if devices.tpm.persistent else "tpm-tis"
        kept = "yes" if devices.tpm.persistent else None
        attributes = {"type": "emulator", "version": "2.0", "persistent_state": kept}
        backend = element("backend", attributes)
        elements.append(element("tpm", {"model": model}, backend))
    if devices.watchdog is not None:
        elements.append(_watchdog(devices.watchdog))
    if devices.sound is not None:
        model = devices.sound.model or "ich9"
        if model not in SOUND_MODELS:
            raise errors.BadInput(
                f"{model[:40]!r} is not a sound card",
                field="spec.domain.devices.sound.model",
                hint=f"use one of {', '.join(SOUND_MODELS)}",
            )
        name = alias(devices.sound.name, "spec.domain.devices.sound.name")
        elements.append(element("sound", {"model": model}, name))
    for panic in devices.panic_devices:
        model = panic.model or "isa"
        if model not in PANIC_MODELS:
            raise errors.BadInput(
                f"{model[:40]!r} is not a panic device",
                field="spec.domain.devices.panicDevices",
                hint=f"use one of {', '.join(PANIC_MODELS)}",
            )
        elements.append(element("panic", {"model": PANIC_MODELS[model]}))
    return elements


def _watchdog(watchdog: kubevirt.Watchdog) -> Element:
    field = f"spec.domain.devices.watchdog[{watchdog.name}]"
    if watchdog.i6300esb is None:
        raise errors.BadInput(
            "a PC has the i6300esb watchdog only", field=field, hint="set i6300esb: {action: reset}"
        )
    action = watchdog.i6300esb.action or "reset"
    if action not in WATCHDOG_ACTIONS:
        raise errors.BadInput(
            f"{action[:40]!r} is not a watchdog action",
            field=f"{field}.i6300esb.action",
            hint=f"use one of {', '.join(WATCHDOG_ACTIONS)}",
        )
    attributes = {"model": "i6300esb", "action": action}
    return element("watchdog", attributes, alias(watchdog.name, field))
