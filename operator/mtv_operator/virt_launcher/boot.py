"""What a start of the domain is made of: the context of its XML and the guest's DHCP lease. Pure,
but for the folders and firmware files that are looked for.
"""

from __future__ import annotations

from pathlib import Path

from mtv.api import kubevirt
from mtv_operator.virt_launcher import cloud_init, dhcp, images, persistent_state
from mtv_operator.virt_launcher.domain.context import Accelerator, Context, Image, Tap
from mtv_operator.virt_launcher.protocol import GuestNetwork, Options
from mtv_operator.virt_launcher.volumes import Paths

SERIAL_LOG = "virt-serial0-log"
TPM_FOLDER = "config/libvirt/qemu/swtpm"  # libvirt's, below its own folder


def private_folder(vmi: kubevirt.VirtualMachineInstance, paths: Paths) -> Path:
    """Return the folder of this VMI's sockets: console, VNC, guest agent."""
    return paths.private / vmi.metadata.uid


def context(
    vmi: kubevirt.VirtualMachineInstance,
    options: Options,
    found: dict[str, Image],
    paths: Paths,
    grace_period_s: int,
) -> Context:
    """Return what the domain's XML needs besides the VMI; makes the folders it names."""
    private = private_folder(vmi, paths)
    private.mkdir(parents=True, exist_ok=True)
    nvram = persistent_state.variables(vmi, paths.private)
    persistent_state.place_tpm(vmi, paths.private, paths.libvirt / TPM_FOLDER)
    taps = {
        tap.interface: Tap(
            device=tap.device, mac=tap.mac, mtu=tap.mtu, queues=tap.queues, vhost=tap.vhost
        )
        for tap in options.taps
    }
    return Context(
        accelerator=Accelerator(options.accelerator),
        images=found,
        taps=taps,
        serial_socket=str(private / "virt-serial0"),
        serial_log=str(private / SERIAL_LOG),
        vnc_socket=str(private / "virt-vnc"),
        agent_socket=str(private / "guest-agent"),
        nvram=str(nvram),
        efi=images.find_firmware(images.EFI_FILES),
        efi_secure=images.find_firmware(images.EFI_SECURE_FILES),
        cpu_features_off=options.cpu_features_off,
        targets=options.targets,
        grace_period_s=grace_period_s,
    )


def lease(
    vmi: kubevirt.VirtualMachineInstance, network: GuestNetwork, resolver: dhcp.Resolver
) -> dhcp.Lease:
    """Return what the guest is told by DHCP: the pod's resolver, the spec's `dhcpOptions`."""
    interfaces = vmi.spec.domain.devices.interfaces
    given = next((one.dhcp_options for one in interfaces if one.name == network.interface), None)
    base = dhcp.Lease(
        mac=network.mac,
        address=network.address,
        router=network.router,
        server=network.server,
        prefix=network.prefix,
        dns=resolver.servers,
        mtu=network.mtu,
        hostname=cloud_init.hostname(vmi),
        domain=network.domain or (resolver.search[0] if resolver.search else ""),
        search=resolver.search,
    )
    if given is None:
        return base
    return dhcp.with_given_options(
        base,
        ntp=tuple(given.ntp_servers),
        tftp_server=given.tftp_server_name or "",
        boot_file=given.boot_file_name or "",
        private=tuple((one.option, one.value) for one in given.private_options),
    )
