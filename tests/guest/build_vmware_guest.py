#!/usr/bin/env python3
"""Build a Linux guest disk that looks as if it had been installed under VMware.

The guest is Debian 12 with the stock kernel.  Its initramfs holds VMware's
storage drivers and nothing of virtio, its network configuration names the
interface ens192, and open-vm-tools is installed.  It therefore boots on
pvscsi and does not boot on virtio until somebody adapts it.

    sudo ./build_vmware_guest.py --firmware bios --fstab device out.raw
    sudo ./build_vmware_guest.py --firmware efi --fstab uuid out-efi.raw

It needs root, mmdebstrap, mtools and a kernel with loop and ext4; it needs
neither nbd nor vfat nor device-mapper. The packages are kept in `--cache`:
the first disk takes minutes, the next ones 10 to 20 s.
"""

import argparse
import contextlib
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import uuid

MIB = 1 << 20
SUITE = "bookworm"

COMMON_PACKAGES = [
    "linux-image-amd64",
    "initramfs-tools",
    "systemd-sysv",
    "udev",
    "dbus",
    "ifupdown",
    "iproute2",
    "iputils-ping",
    "netbase",
    "openssh-server",
    "open-vm-tools",
    "e2fsprogs",
    "kmod",
    "procps",
    "pciutils",
]
FIRMWARE_PACKAGES = {
    "bios": ["grub-pc"],
    "efi": ["grub-efi-amd64", "grub-efi-amd64-signed", "shim-signed"],
}
# What MODULES=dep would have chosen on a VM with a paravirtual SCSI adapter.
VMWARE_INITRAMFS_MODULES = [
    "ext4",
    "crc32c_generic",
    "sd_mod",
    "sr_mod",
    "scsi_mod",
    "vmw_pvscsi",
    "mptspi",
    "mptsas",
    "ahci",
    "ata_piix",
    "ata_generic",
    "vmxnet3",
    "e1000e",
]

COUNTER_SH = """\
#!/bin/sh
# Counts the seconds this guest has lived, across reboots.
state=/var/lib/counter/value
mkdir -p /var/lib/counter
n=$(cat $state 2>/dev/null || echo 0)
echo "READY boot=$(cat /proc/sys/kernel/random/boot_id) count=$n" >/dev/ttyS0 || true
while sleep 1; do
    n=$((n + 1))
    echo $n >$state.new && mv $state.new $state
done
"""

HTTP_SH = """\
#!/bin/sh
# Answers one HTTP request with what a test wants to know about this guest.
while IFS= read -r line; do [ "${line%?}" ] || break; done
root=$(findmnt -no SOURCE /)
disk=$(lsblk -no PKNAME "$root" 2>/dev/null | head -1)
nics=$(for n in /sys/class/net/*; do
    [ -e "$n/device" ] || continue
    printf '{"name":"%s","mac":"%s","driver":"%s","addresses":"%s"},' \\
        "${n##*/}" "$(cat "$n/address")" \\
        "$(basename "$(readlink -f "$n/device/driver")")" \\
        "$(ip -o -4 addr show dev "${n##*/}" | awk '{printf "%s ", $4}')"
done)
failed=$(systemctl --failed --no-legend --plain | awk '{printf "%s ", $1}')
body=$(printf '{"host":"%s","boot":"%s","count":%s,"kernel":"%s","root":"%s",' \\
    "$(hostname)" "$(cat /proc/sys/kernel/random/boot_id)" \\
    "$(cat /var/lib/counter/value)" "$(uname -r)" "$root"
printf '"disk":"%s","storage":"%s","uptime":"%s","failed":"%s",' "$disk" \\
    "$(readlink -f "/sys/block/$disk/device/driver" 2>/dev/null)" \\
    "$(cut -d' ' -f1 /proc/uptime)" "$failed"
printf '"secureboot":"%s","nics":[%s]}' \\
    "$(od -An -t u1 -j4 -N1 /sys/firmware/efi/efivars/SecureBoot-* 2>/dev/null | tr -d ' ')" "${nics%,}")
printf 'HTTP/1.0 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %s\\r\\n\\r\\n%s' \\
    "${#body}" "$body"
"""

UNITS = {
    "counter.service": "[Unit]\nDescription=Second counter\n\n"
    "[Service]\nExecStart=/usr/local/sbin/counter\n\n"
    "[Install]\nWantedBy=multi-user.target\n",
    "status.socket": "[Socket]\nListenStream=8080\nAccept=yes\n\n"
    "[Install]\nWantedBy=sockets.target\n",
    "status@.service": "[Unit]\nDescription=Answer a status request\n\n"
    "[Service]\nExecStart=-/usr/local/sbin/status\n"
    "StandardInput=socket\nStandardOutput=socket\nStandardError=journal\n",
}


def run(*command, **kwargs):
    return subprocess.run([str(c) for c in command], check=True, **kwargs)


def output(*command):
    return run(*command, stdout=subprocess.PIPE, text=True).stdout.strip()


class Clock:
    """Prints how long each phase took."""

    def __init__(self):
        self.begin = self.last = time.monotonic()

    def __call__(self, phase):
        now = time.monotonic()
        print(f"{now - self.begin:7.1f}s  {phase} ({now - self.last:.1f}s)", flush=True)
        self.last = now


def base_tree(firmware, cache):
    """Return the path of a tarball with the packages installed."""
    packages = COMMON_PACKAGES + FIRMWARE_PACKAGES[firmware]
    key = hashlib.sha256(" ".join([SUITE, *packages]).encode()).hexdigest()[:12]
    tar = cache / f"{SUITE}-{firmware}-{key}.tar"
    if tar.exists():
        return tar
    cache.mkdir(parents=True, exist_ok=True)
    partial = tar.with_suffix(".part.tar")
    run(
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        "--mode=root",
        "--include=" + ",".join(packages),
        "--aptopt=APT::Install-Recommends false",
        "--dpkgopt=force-unsafe-io",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        # The real initramfs is made later, once.
        "--customize-hook=rm -f $1/boot/initrd.img*",
        SUITE,
        partial,
    )
    partial.rename(tar)
    return tar


def partition(disk, size, firmware):
    """Write the partition table; return {name: (start, size)} in bytes."""
    with open(disk, "wb") as handle:
        handle.truncate(size)
    if firmware == "bios":
        layout = {"root": (MIB, size - MIB)}
        table = f"label: dos\nstart={MIB // 512}, type=83, bootable\n"
    else:
        esp, end = 64 * MIB, size - 2 * MIB
        layout = {"esp": (MIB, esp), "root": (MIB + esp, end - MIB - esp)}
        table = "label: gpt\n" + "".join(
            f"start={layout[name][0] // 512}, size={layout[name][1] // 512}, type={kind}\n"
            for name, kind in (("esp", "uefi"), ("root", "linux"))
        )
    run("sfdisk", "--quiet", disk, input=table, text=True)
    return layout


@contextlib.contextmanager
def loop(path, offset=0, size=0):
    device = output("losetup", "--find", "--show", "--offset", offset, "--sizelimit", size, path)
    try:
        yield device
    finally:
        run("losetup", "--detach", device)


@contextlib.contextmanager
def mounted(device, root):
    """Mount a file system with what a chroot needs below it."""
    inner = [("proc", "proc"), ("sysfs", "sys"), ("tmpfs", "run"), ("tmpfs", "dev")]
    run("mount", device, root)
    try:
        for kind, where in inner:
            run("mount", "-t", kind, kind, root / where)
        for name, minor in (("null", 3), ("zero", 5), ("random", 8), ("urandom", 9)):
            os.mknod(root / "dev" / name, 0o20666, os.makedev(1, minor))
        (root / "dev/fd").symlink_to("/proc/self/fd")
        yield
    finally:
        for _, where in reversed(inner):
            subprocess.run(["umount", "--lazy", str(root / where)])
        run("umount", root)


def write(root, path, text, mode=0o644):
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    target.chmod(mode)


def configure(root, options, root_uuid, esp_serial):
    """Write the configuration an administrator under VMware would have."""
    by_device = options.fstab == "device"
    number = 1 if options.firmware == "bios" else 2
    source = f"/dev/sda{number}" if by_device else f"UUID={root_uuid}"
    fstab = f"{source} / ext4 errors=remount-ro 0 1\n"
    if options.firmware == "efi":
        esp = "/dev/sda1" if by_device else f"UUID={esp_serial}"
        fstab += f"{esp} /boot/efi vfat umask=0077,nofail 0 1\n"
    write(root, "/etc/fstab", fstab)
    write(root, "/etc/hostname", options.hostname + "\n")
    write(
        root,
        "/etc/hosts",
        f"127.0.0.1 localhost\n{options.address.split('/')[0]} {options.hostname}\n",
    )
    write(
        root,
        "/etc/network/interfaces",
        "auto lo\niface lo inet loopback\n\n"
        f"auto {options.interface}\niface {options.interface} inet static\n"
        f"    address {options.address}\n    gateway {options.gateway}\n",
    )
    write(root, "/etc/resolv.conf", f"nameserver {options.gateway}\n")
    write(root, "/usr/local/sbin/counter", COUNTER_SH, 0o755)
    write(root, "/usr/local/sbin/status", HTTP_SH, 0o755)
    for name, text in UNITS.items():
        write(root, "/etc/systemd/system/" + name, text)
    run(
        "systemctl",
        "--quiet",
        "--root",
        root,
        "enable",
        "counter.service",
        "status.socket",
        stderr=subprocess.DEVNULL,
    )
    console = " console=tty0 console=ttyS0,115200" if options.serial else ""
    write(
        root,
        "/etc/default/grub",
        "GRUB_DEFAULT=0\nGRUB_TIMEOUT=1\nGRUB_DISTRIBUTOR=Debian\n"
        'GRUB_CMDLINE_LINUX_DEFAULT=""\n'
        f'GRUB_CMDLINE_LINUX="{console.strip()}"\n'
        "GRUB_DISABLE_OS_PROBER=true\n" + ("GRUB_DISABLE_LINUX_UUID=true\n" if by_device else ""),
    )
    run("chroot", root, "chpasswd", input="root:vmware\n", text=True)
    write(root, "/etc/machine-id", uuid.uuid4().hex + "\n")


def build_initramfs(root):
    """Make an initramfs with VMware's drivers only.

    MODULES=dep asks the sysfs of the machine it runs on, which is not the
    VMware host, so its answer is given by hand and the setting put back.
    """
    conf = root / "etc/initramfs-tools/initramfs.conf"
    original = conf.read_text()
    modules = root / "etc/initramfs-tools/modules"
    comment = modules.read_text()
    conf.write_text(original.replace("MODULES=most", "MODULES=list"))
    modules.write_text("\n".join(VMWARE_INITRAMFS_MODULES) + "\n")
    for kernel in sorted(p.name for p in (root / "lib/modules").iterdir()):
        run("chroot", root, "update-initramfs", "-c", "-k", kernel, stdout=subprocess.DEVNULL)
    conf.write_text(original.replace("MODULES=most", "MODULES=dep"))
    modules.write_text(comment)


def grub_config(root, options, root_uuid):
    """Run update-grub with a stub grub-probe.

    The chroot sees a loop device; the guest will see a disk.  The stub gives
    the guest's answers.
    """
    number = 1 if options.firmware == "bios" else 2
    map_name = "msdos" if options.firmware == "bios" else "gpt"
    stub = f"""#!/bin/sh
for a; do
    case $a in
    --target=*) t=${{a#--target=}} ;;
    -t) n=1 ;;
    *) [ "$n" ] && t=$a; n= ;;
    esac
done
case $t in
device) echo /dev/sda{number} ;;
fs) echo ext2 ;;
fs_uuid) echo {root_uuid} ;;
partuuid) echo ;;
partmap) echo {map_name} ;;
abstraction|cryptodisk_uuid) ;;
drive|bios_hints|compatibility_hint) echo hd0,{map_name}{number} ;;
hints_string) echo "--hint-bios=hd0,{map_name}{number}" ;;
baremetal_hints|arc_hints|efi_hints|ieee1275_hints) echo hd0,{map_name}{number} ;;
*) exit 1 ;;
esac
"""
    probe = root / "usr/sbin/grub-probe"
    real = root / "usr/sbin/grub-probe.real"
    probe.rename(real)
    try:
        write(root, "/usr/sbin/grub-probe", stub, 0o755)
        # 10_linux writes root=UUID= only if this exists.
        by_uuid = root / "dev/disk/by-uuid"
        by_uuid.mkdir(parents=True)
        (by_uuid / root_uuid).touch()
        (root / "boot/grub").mkdir(exist_ok=True)
        run("chroot", root, "grub-mkconfig", "-o", "/boot/grub/grub.cfg", stderr=subprocess.DEVNULL)
    finally:
        real.rename(probe)


def install_grub_bios(root, disk, root_uuid):
    """Put GRUB in the gap before the first partition, as grub-install does."""
    modules = root / "usr/lib/grub/i386-pc"
    target = root / "boot/grub/i386-pc"
    shutil.copytree(modules, target, dirs_exist_ok=True)
    config = root / "boot/grub/i386-pc/load.cfg"
    config.write_text(f"search.fs_uuid {root_uuid} root\nset prefix=($root)'/boot/grub'\n")
    run(
        "chroot",
        root,
        "grub-mkimage",
        "-O",
        "i386-pc",
        "-o",
        "/boot/grub/i386-pc/core.img",
        "-p",
        "/boot/grub",
        "-c",
        "/boot/grub/i386-pc/load.cfg",
        "biosdisk",
        "part_msdos",
        "ext2",
        "search_fs_uuid",
    )
    core = (target / "core.img").read_bytes()
    if len(core) > MIB - 512:
        raise RuntimeError("core.img does not fit before the partition")
    boot = (modules / "boot.img").read_bytes()
    with open(disk, "r+b") as handle:
        # Bytes 440-511 are the disk signature and the partition table.
        handle.write(boot[:440])
        handle.seek(512)
        handle.write(core)
    write(root, "/boot/grub/device.map", "(hd0)\t/dev/sda\n")


def install_grub_efi(root, disk, offset, root_uuid):
    """Fill the EFI system partition with the signed shim and GRUB."""
    esp = f"{disk}@@{offset}"
    run("mmd", "-i", esp, "::/EFI", "::/EFI/debian", "::/EFI/BOOT")
    shim = root / "usr/lib/shim/shimx64.efi.signed"
    fallback = root / "usr/lib/shim/fbx64.efi.signed"
    manager = root / "usr/lib/shim/mmx64.efi.signed"
    grub = root / "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"
    with tempfile.TemporaryDirectory() as scratch:
        stub = pathlib.Path(scratch, "grub.cfg")
        stub.write_text(
            f"search.fs_uuid {root_uuid} root\n"
            "set prefix=($root)'/boot/grub'\n"
            "configfile $prefix/grub.cfg\n"
        )
        table = pathlib.Path(scratch, "BOOTX64.CSV")
        table.write_text(
            "shimx64.efi,debian,,This is the boot entry for debian\n", encoding="utf-16"
        )
        for source, name in [
            (shim, "EFI/BOOT/BOOTX64.EFI"),
            (fallback, "EFI/BOOT/fbx64.efi"),
            (shim, "EFI/debian/shimx64.efi"),
            (manager, "EFI/debian/mmx64.efi"),
            (grub, "EFI/debian/grubx64.efi"),
            (stub, "EFI/debian/grub.cfg"),
            (table, "EFI/debian/BOOTX64.CSV"),
        ]:
            run("mcopy", "-i", esp, source, "::/" + name)
    (root / "boot/efi").mkdir(exist_ok=True)
    shutil.copytree(
        root / "usr/lib/grub/x86_64-efi", root / "boot/grub/x86_64-efi", dirs_exist_ok=True
    )


def build(options):
    clock = Clock()
    tar = base_tree(options.firmware, options.cache)
    clock("packages")
    disk, size = options.disk, options.size * MIB
    layout = partition(disk, size, options.firmware)
    root_uuid = str(uuid.uuid4())
    esp_serial = uuid.uuid4().hex[:8].upper()
    if "esp" in layout:
        start, length = layout["esp"]
        run(
            "mkfs.vfat",
            "-F",
            "32",
            "-s",
            "1",
            "-n",
            "ESP",
            "-i",
            esp_serial,
            "--offset",
            start // 512,
            disk,
            length // 1024,
            stdout=subprocess.DEVNULL,
        )
    start, length = layout["root"]
    with (
        tempfile.TemporaryDirectory(prefix="guest-") as scratch,
        loop(disk, start, length) as device,
    ):
        root = pathlib.Path(scratch)
        run(
            "mkfs.ext4",
            "-q",
            "-F",
            "-L",
            "root",
            "-U",
            root_uuid,
            # GRUB 2.06 cannot read a file system with this feature.
            "-O",
            "^metadata_csum_seed",
            device,
        )
        run("mount", device, root)
        try:
            run("tar", "-C", root, "-xf", tar, "--numeric-owner", "--xattrs")
        finally:
            run("umount", root)
        clock("file system")
        with mounted(device, root):
            configure(root, options, root_uuid, f"{esp_serial[:4]}-{esp_serial[4:]}")
            build_initramfs(root)
            clock("initramfs")
            if options.firmware == "bios":
                install_grub_bios(root, disk, root_uuid)
            else:
                install_grub_efi(root, disk, layout["esp"][0], root_uuid)
            grub_config(root, options, root_uuid)
            clock("boot loader")
    used = os.stat(disk).st_blocks * 512 // MIB
    print(f"{disk}: {options.size} MiB, {used} MiB on disk, root {root_uuid}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("disk", type=pathlib.Path)
    parser.add_argument("--firmware", choices=["bios", "efi"], default="bios")
    parser.add_argument(
        "--fstab",
        choices=["device", "uuid"],
        default="device",
        help="how fstab and GRUB name the root",
    )
    parser.add_argument("--size", type=int, default=2048, metavar="MIB")
    parser.add_argument("--hostname", default="legacy-app")
    parser.add_argument("--interface", default="ens192")
    parser.add_argument("--address", default="192.168.77.50/24")
    parser.add_argument("--gateway", default="192.168.77.1")
    parser.add_argument(
        "--serial", action="store_true", help="boot with a serial console (VMware guests seldom do)"
    )
    parser.add_argument(
        "--cache", type=pathlib.Path, default=pathlib.Path("~/.cache/vmware-guest").expanduser()
    )
    options = parser.parse_args()
    if os.geteuid():
        parser.error("needs root for loop devices and chroot")
    build(options)


if __name__ == "__main__":
    sys.exit(main())
