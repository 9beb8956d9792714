#!/usr/bin/env python3
"""Build a small bootable Linux test guest from Debian packages.

One raw disk image boots by BIOS (syslinux) and by UEFI (systemd-boot) from
the same kernel and initrd on a FAT partition, then mounts an ext4 root from
its second partition.  See README.md for what the guest does once it is up.

Needs: apt-get (download only), dpkg-deb, kmod (depmod), mke2fs, mkfs.vfat,
mtools, syslinux, and xorriso or genisoimage for seed images.  No root, no
mounts, no loop devices.
"""

import argparse
import gzip
import os
import shutil
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path

KERNEL_META = "linux-image-cloud-amd64"
PACKAGES = ["busybox-static"]
AGENT_PACKAGES = ["qemu-guest-agent"]
SYSTEMD_BOOT = "systemd-boot-efi"

# Loaded by the initrd, in this order; dependencies are added by modules.dep.
INITRD_MODULES = ["virtio_pci", "virtio_blk", "virtio_scsi", "ata_piix", "vmw_pvscsi", "sd_mod"]
# Loaded by /etc/rc once the root is mounted.
ROOT_MODULES = [
    "virtio_net",
    "virtio_console",
    "virtio_rng",
    "virtio_balloon",
    "sr_mod",
    "isofs",
    "vfat",
    "nls_iso8859-1",
    "nls_ascii",
    "nls_cp437",
    "evdev",
    "button",
    "vmxnet3",
    "af_packet",
    "acpiphp",
    "virtiofs",
    "pvpanic_mmio",
]

FOLDERS = [
    *("bin", "sbin", "usr/bin", "usr/sbin", "etc/acpi/PWRF", "dev", "proc", "sys", "run", "tmp"),
    *("var/lib", "var/run", "www/cgi-bin", "lib/kvmodules", "mnt", "root"),
]

SECTOR = 512
MIB = 1024 * 1024

INITRD_INIT = """#!/bin/sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
for m in $(/bin/busybox cat /modules.list); do
    /bin/busybox insmod /modules/$m 2>/dev/null
done
root=LABEL=kvroot
for word in $(/bin/busybox cat /proc/cmdline); do
    case $word in root=*) root=${word#root=} ;; esac
done
tries=0
while [ $tries -lt 100 ]; do
    dev=$root
    case $root in LABEL=*|UUID=*) dev=$(/bin/busybox findfs $root 2>/dev/null) ;; esac
    [ -b "$dev" ] && break
    tries=$((tries + 1))
    /bin/busybox usleep 100000
done
if ! /bin/busybox mount -t ext4 -o rw "$dev" /root; then
    echo "KVGUEST FAIL no root $root" > /dev/ttyS0
    exec /bin/busybox sh
fi
/bin/busybox mount -o move /dev /root/dev
/bin/busybox umount /sys
/bin/busybox umount /proc
exec /bin/busybox switch_root /root /sbin/init
"""

INITTAB = """::sysinit:/etc/rc
::respawn:/sbin/kvcounter
ttyS0::respawn:/sbin/getty -n -l /bin/sh -L 115200 ttyS0 vt100
::ctrlaltdel:/sbin/reboot
::shutdown:/bin/sync
::shutdown:/bin/umount -a -r
"""

RC = r"""#!/bin/sh
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mkdir -p /dev/pts /run/seed /run/kv
mount -t devpts devpts /dev/pts
for m in $(cat /etc/modules.list); do insmod /lib/kvmodules/$m 2>/dev/null; done
mdev -s 2>/dev/null
say() { echo "KVGUEST $*" > /dev/ttyS0; }
say BOOT kernel=$(uname -r) firmware=$([ -d /sys/firmware/efi ] && echo uefi || echo bios)

# virtio-console ports by name, for qemu-guest-agent
for port in /sys/class/virtio-ports/*; do
    [ -f $port/name ] || continue
    name=$(cat $port/name)
    [ -n "$name" ] && mkdir -p /dev/virtio-ports && ln -sf /dev/${port##*/} /dev/virtio-ports/$name
done

# NoCloud seed: any block device that carries the label cidata
hostname kvguest
seed=$(findfs LABEL=cidata 2>/dev/null || findfs LABEL=CIDATA 2>/dev/null)
instance=none
if [ -n "$seed" ]; then
    mount -o ro "$seed" /run/seed || say WARN cannot mount seed $seed
    # meta-data is YAML or (as KubeVirt writes it) JSON on one line
    value() { tr '{},' '\n\n\n' < /run/seed/$2 2>/dev/null | sed -n "s/^ *[\"']\{0,1\}$1[\"']\{0,1\} *: *//p" | head -n 1 | tr -d "\"'"; }
    name=$(value local-hostname meta-data)
    [ -n "$name" ] || name=$(sed -n 's/^hostname: *//p' /run/seed/user-data 2>/dev/null | head -n 1 | tr -d "\"'")
    [ -n "$name" ] && hostname "$name"
    instance=$(value instance-id meta-data)
    instance=${instance:-unnamed}
fi

ip link set lo up
first=
for net in /sys/class/net/e*; do
    [ -e "$net" ] || continue
    dev=${net##*/}
    ip link set $dev up
    if [ -z "$first" ]; then
        first=$dev
        udhcpc -i $dev -t 5 -T 1 -A 1 -b -S -x hostname:$(hostname) -s /etc/udhcpc.script >/dev/null 2>&1
    else
        udhcpc -i $dev -t 5 -T 1 -b -S -s /etc/udhcpc.script >/dev/null 2>&1 &
    fi
done

httpd -p 8080 -h /www
[ -x /usr/sbin/qemu-ga ] && [ -e /dev/virtio-ports/org.qemu.guest_agent.0 ] && \
    mkdir -p /var/run && /usr/sbin/qemu-ga -d -m virtio-serial \
        -p /dev/virtio-ports/org.qemu.guest_agent.0 -l /run/qga.log
acpid -c /etc/acpi -l /run/acpid.log -p /run/acpid.pid

addr=$(ip -4 -o addr show dev ${first:-lo} 2>/dev/null | sed -n 's/.*inet \([0-9.]*\).*/\1/p')
boot=$(cat /proc/sys/kernel/random/boot_id)
echo "$instance" > /run/kv/instance
say READY hostname=$(hostname) ip=${addr:-none} instance=$instance boot=$boot uptime=$(cut -d' ' -f1 /proc/uptime)

# user-data runs once per instance-id, in the background (it may serve for
# ever): a script as it is, of a cloud-config the commands under runcmd.
run_user_data() {
    case $(head -n 1 /run/seed/user-data) in
    "#!"*) cp /run/seed/user-data /run/user-data ;;
    "#cloud-config"*) { echo "#!/bin/sh"; awk -f /etc/runcmd.awk /run/seed/user-data; } > /run/user-data ;;
    *) return ;;
    esac
    chmod +x /run/user-data
    say USERDATA start
    /run/user-data > /dev/ttyS0 2>&1
    say USERDATA rc=$?
}
if [ -f /run/seed/user-data ] && [ "$(cat /var/lib/kv/instance 2>/dev/null)" != "$instance" ]; then
    mkdir -p /var/lib/kv
    echo "$instance" > /var/lib/kv/instance
    sync
    run_user_data &
fi
"""

# The items under runcmd: as shell lines: plain, quoted, a list in brackets
# ([sh, -c, "..."]), or a block (- |).  Nested lists of lists are not read.
RUNCMD_AWK = r"""
function quote(w) { gsub(/'/, "'\\''", w); return "'" w "'" }
function indent(l) { match(l, /^ */); return RLENGTH }
function unquote(w,   q) {
    q = substr(w, 1, 1)
    if (length(w) > 1 && (q == "\"" || q == "'") && substr(w, length(w)) == q) {
        w = substr(w, 2, length(w) - 2)
        if (q == "\"") { gsub(/\\"/, "\"", w); gsub(/\\\\/, "\\", w) } else gsub(/''/, "'", w)
    }
    return w
}
function list(l,   i, c, q, w, out, seen) {     # [a, "b c", 'd'] as shell words
    for (i = 2; i <= length(l); i++) {
        c = substr(l, i, 1)
        if (q != "") {
            if (q == "\"" && c == "\\") { i++; w = w substr(l, i, 1) }
            else if (c == q) q = ""
            else w = w c
        } else if (c == "\"" || c == "'") { q = c; seen = 1 }
        else if (c == "," || c == "]") {
            if (!seen) sub(/ +$/, "", w)
            if (w != "" || seen) out = out quote(w) " "
            w = ""; seen = 0
            if (c == "]") break
        } else if (c != " " || (w != "" && !seen)) w = w c
    }
    return out
}
block { if ($0 ~ /^ *$/ || indent($0) > depth) { print; next } block = 0 }
/^runcmd:/ { on = 1; next }
on && /^[^ #-]/ { on = 0 }
on && /^ *- / {
    depth = indent($0); l = $0; sub(/^ *- +/, "", l); sub(/[ \r]+$/, "", l)
    if (l ~ /^[|>][-+]?$/) block = 1
    else if (l ~ /^\[/) print list(l)
    else print unquote(l)
}
"""

UDHCPC = """#!/bin/sh
case $1 in
deconfig) ip addr flush dev $interface; ip link set $interface up ;;
bound|renew)
    ip addr flush dev $interface
    ip addr add $ip/${mask:-24} dev $interface
    [ -n "$mtu" ] && ip link set $interface mtu $mtu
    for r in $router; do ip route replace default via $r dev $interface onlink; done
    : > /etc/resolv.conf
    for d in $dns; do echo "nameserver $d" >> /etc/resolv.conf; done ;;
esac
"""

# Ticks five times a second in memory, writes to the disk once a second, and
# reports on the serial line every ten seconds (kvtick=N on the kernel command
# line changes that to every N ticks).
COUNTER = r"""#!/bin/sh
n=0
every=50
for word in $(cat /proc/cmdline); do
    case $word in kvtick=*) every=${word#kvtick=} ;; esac
done
while :; do
    n=$((n + 1))
    echo $n > /run/kv/counter
    [ $((n % 5)) = 0 ] && echo $n > /var/counter && sync /var/counter 2>/dev/null
    [ $((n % every)) = 0 ] && echo "KVGUEST TICK $n" > /dev/ttyS0
    usleep 200000
done
"""

STATUS = r"""#!/bin/sh
echo "Content-Type: text/plain"
echo
echo "hostname=$(hostname)"
echo "instance=$(cat /run/kv/instance)"
echo "boot=$(cat /proc/sys/kernel/random/boot_id)"
echo "counter=$(cat /run/kv/counter)"
echo "disk_counter=$(cat /var/counter)"
echo "uptime=$(cut -d' ' -f1 /proc/uptime)"
echo "mem_kb=$(sed -n 's/MemTotal: *\([0-9]*\).*/\1/p' /proc/meminfo)"
echo "cpus=$(nproc)"
"""

SYSLINUX_CFG = """DEFAULT kv
PROMPT 0
TIMEOUT 0
LABEL kv
  LINUX /vmlinuz
  INITRD /initrd.img
  APPEND {cmdline}
"""

LOADER_CONF = "default kv.conf\ntimeout 0\n"
LOADER_ENTRY = """title kvguest
linux /vmlinuz
initrd /initrd.img
options {cmdline}
"""


def run(*argv, **kw):
    return subprocess.run(
        [str(a) for a in argv], check=True, text=True, capture_output=True, **kw
    ).stdout


def download(packages, cache):
    """apt-get download into cache, keeping what is already there."""
    debs = []
    for package in packages:
        found = sorted(cache.glob(f"{package}_*.deb"))
        if not found:
            run("apt-get", "download", package, cwd=cache)
            found = sorted(cache.glob(f"{package}_*.deb"))
        debs.append(found[-1])
    return debs


def kernel_package():
    for line in run("apt-cache", "depends", KERNEL_META).splitlines():
        if "Depends: linux-image-" in line:
            return line.split()[-1]
    raise SystemExit(f"{KERNEL_META} has no kernel dependency")


class Modules:
    """Module files of one kernel and what each must be loaded after."""

    def __init__(self, tree, version):
        self.base = tree / "lib/modules" / version
        run("/sbin/depmod", "-b", tree, version)
        self.deps = {}
        for line in (self.base / "modules.dep").read_text().splitlines():
            path, _, rest = line.partition(":")
            self.deps[path] = list(reversed(rest.split()))
        self.by_name = {Path(p).name.split(".ko")[0].replace("-", "_"): p for p in self.deps}

    def closure(self, names):
        order = []
        for name in names:
            path = self.by_name.get(name.replace("-", "_"))
            if path is None:  # built in, or not in this kernel
                continue
            for item in self.deps[path] + [path]:
                if item not in order:
                    order.append(item)
        return order


class Cpio:
    """A newc archive, written without root."""

    def __init__(self):
        self.data = bytearray()
        self.ino = 0

    def add(self, name, mode, body=b"", rdev=(0, 0)):
        self.ino += 1
        name_b = name.encode() + b"\0"
        fields = [self.ino, mode, 0, 0, 1, 0, len(body), 0, 0, *rdev, len(name_b), 0]
        self.data += b"070701" + b"".join(b"%08X" % f for f in fields) + name_b
        self.data += b"\0" * (-len(self.data) % 4)
        self.data += body
        self.data += b"\0" * (-len(self.data) % 4)

    def directory(self, name):
        self.add(name, stat.S_IFDIR | 0o755)

    def file(self, name, body, mode=0o644):
        self.add(name, stat.S_IFREG | mode, body)

    def finish(self):
        self.add("TRAILER!!!", 0)
        return bytes(self.data)


def build_initrd(busybox, modules):
    cpio = Cpio()
    for d in ("bin", "dev", "proc", "sys", "root", "modules"):
        cpio.directory(d)
    cpio.add("dev/console", stat.S_IFCHR | 0o600, rdev=(5, 1))
    cpio.file("bin/busybox", busybox.read_bytes(), 0o755)
    cpio.add("bin/sh", stat.S_IFLNK | 0o777, b"busybox")
    cpio.file("init", INITRD_INIT.encode(), 0o755)
    order = modules.closure(INITRD_MODULES)
    for path in order:
        cpio.file("modules/" + Path(path).name, (modules.base / path).read_bytes())
    cpio.file("modules.list", "\n".join(Path(p).name for p in order).encode())
    return gzip.compress(cpio.finish(), 6, mtime=0)


def libraries(binary):
    """Shared objects a binary needs, as ldd on this host resolves them."""
    out = []
    for line in run("ldd", binary).splitlines():
        words = line.split()
        path = words[2] if "=>" in words else words[0]
        if path.startswith("/"):
            out.append(Path(path))
    return out


def build_root(root, busybox, modules, agent_tree):
    for d in FOLDERS:
        (root / d).mkdir(parents=True, exist_ok=True)
    shutil.copy2(busybox, root / "bin/busybox")
    for applet in run(busybox, "--list-full").split():
        link = root / applet
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists() and not link.is_symlink():
            link.symlink_to("/bin/busybox")

    def script(path, text, mode=0o755):
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    script("etc/inittab", INITTAB, 0o644)
    script("etc/rc", RC)
    script("etc/runcmd.awk", RUNCMD_AWK, 0o644)
    script("etc/udhcpc.script", UDHCPC)
    script("sbin/kvcounter", COUNTER)
    script("www/cgi-bin/status", STATUS)
    script("www/index.html", "kvguest\n", 0o644)
    script("etc/passwd", "root::0:0:root:/root:/bin/sh\n", 0o644)
    script("etc/group", "root:x:0:\n", 0o644)
    script("etc/os-release", 'ID=kvguest\nNAME="kvguest"\nVERSION_ID="1"\n', 0o644)
    # busybox acpid runs <dir>/PWRF/00000080 for the power button.  Its built-in
    # table is used only if there is no /etc/acpid.conf: an empty one means no action.
    script("etc/acpi/PWRF/00000080", "#!/bin/sh\n/sbin/poweroff\n")
    order = modules.closure(ROOT_MODULES)
    for path in order:
        shutil.copy2(modules.base / path, root / "lib/kvmodules")
    (root / "etc/modules.list").write_text("\n".join(Path(p).name for p in order))
    if agent_tree:
        agent = agent_tree / "usr/sbin/qemu-ga"
        shutil.copy2(agent, root / "usr/sbin/qemu-ga")
        # qemu-ga shuts down through /sbin/shutdown
        script(
            "sbin/shutdown",
            '#!/bin/sh\ncase "$1" in *r*) exec /sbin/reboot;; esac\n'
            'case "$1" in *H*) exec /sbin/halt;; esac\nexec /sbin/poweroff\n',
        )
        for lib in libraries(agent):
            target = root / str(lib).lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(lib.resolve(), target)


def build_boot_partition(part, size, kernel, initrd, systemd_boot, cmdline, work):
    with open(part, "wb") as f:
        f.truncate(size)
    # syslinux needs the hidden-sector count to match the partition's start
    run(
        "mkfs.vfat",
        "-F",
        "16" if size < 512 * MIB else "32",
        "-n",
        "KVBOOT",
        "-h",
        MIB // SECTOR,
        part,
    )
    files = {
        "vmlinuz": kernel,
        "initrd.img": initrd,
        "syslinux.cfg": SYSLINUX_CFG.format(cmdline=cmdline).encode(),
    }
    for name, body in files.items():
        (work / name).write_bytes(body)
        run("mcopy", "-i", part, work / name, f"::/{name}")
    if systemd_boot:
        for d in ("EFI", "EFI/BOOT", "loader", "loader/entries"):
            run("mmd", "-i", part, f"::/{d}")
        run("mcopy", "-i", part, systemd_boot, "::/EFI/BOOT/BOOTX64.EFI")
        (work / "loader.conf").write_text(LOADER_CONF)
        (work / "kv.conf").write_text(LOADER_ENTRY.format(cmdline=cmdline))
        run("mcopy", "-i", part, work / "loader.conf", "::/loader/loader.conf")
        run("mcopy", "-i", part, work / "kv.conf", "::/loader/entries/kv.conf")
    run("syslinux", "--install", part)


def mbr(boot_size, root_size):
    code = Path("/usr/lib/syslinux/mbr/mbr.bin").read_bytes()[:440]
    start = MIB // SECTOR

    def entry(active, kind, first, count):
        return struct.pack(
            "<B3sB3sII", 0x80 if active else 0, b"\xfe\xff\xff", kind, b"\xfe\xff\xff", first, count
        )

    table = entry(True, 0xEF, start, boot_size // SECTOR)
    table += entry(False, 0x83, start + boot_size // SECTOR, root_size // SECTOR)
    return (
        code.ljust(440, b"\0")
        + struct.pack("<IH", 0x4B564755, 0)
        + table.ljust(64, b"\0")
        + b"\x55\xaa"
    )


def copy_sparse(src, dst, offset):
    with open(src, "rb") as s, open(dst, "r+b") as d:
        pos = 0
        while block := s.read(64 * 1024):
            if block.count(0) != len(block):
                d.seek(offset + pos)
                d.write(block)
            pos += len(block)


def build(args):
    began = time.monotonic()
    work = Path(args.work).resolve()
    cache = work / "debs"
    cache.mkdir(parents=True, exist_ok=True)
    kpkg = kernel_package()
    names = [kpkg, *PACKAGES, SYSTEMD_BOOT] + (AGENT_PACKAGES if args.agent else [])
    debs = dict(zip(names, download(names, cache), strict=True))
    trees = {}
    for name, deb in debs.items():
        tree = work / "tree" / deb.stem
        if not tree.exists():
            tree.mkdir(parents=True)
            run("dpkg-deb", "-x", deb, tree)
        trees[name] = tree
    version = kpkg.removeprefix("linux-image-")
    ktree = trees[kpkg]
    modules = Modules(ktree, version)
    busybox = trees["busybox-static"] / "bin/busybox"
    kernel = (ktree / f"boot/vmlinuz-{version}").read_bytes()
    initrd = build_initrd(busybox, modules)

    root = work / "root"
    shutil.rmtree(root, ignore_errors=True)
    build_root(root, busybox, modules, trees.get("qemu-guest-agent"))

    boot_size = args.boot_mib * MIB
    root_size = args.root_mib * MIB
    part = work / "boot.part"
    sdboot = trees[SYSTEMD_BOOT] / "usr/lib/systemd/boot/efi/systemd-bootx64.efi"
    build_boot_partition(part, boot_size, kernel, initrd, sdboot, args.cmdline, work)
    rootfs = work / "root.ext4"
    rootfs.unlink(missing_ok=True)
    run(
        "/sbin/mke2fs",
        "-q",
        "-t",
        "ext4",
        "-O",
        "^has_journal,^metadata_csum",
        "-E",
        "root_owner=0:0",
        "-m",
        "0",
        "-L",
        "kvroot",
        "-d",
        root,
        rootfs,
        f"{args.root_mib}M",
    )
    out = Path(args.out)
    with open(out, "wb") as f:
        f.write(mbr(boot_size, root_size))
        f.truncate(MIB + boot_size + root_size)
    copy_sparse(part, out, MIB)
    copy_sparse(rootfs, out, MIB + boot_size)
    for extra, body in (("vmlinuz", kernel), ("initrd.img", initrd)):
        if args.direct:
            (out.parent / extra).write_bytes(body)
    print(
        f"{out}: {out.stat().st_size // MIB} MiB "
        f"({out.stat().st_blocks * 512 // MIB} MiB on disk), kernel {version}, "
        f"initrd {len(initrd) // 1024} KiB, {time.monotonic() - began:.1f} s"
    )


def seed(args):
    """A NoCloud seed image (ISO 9660, label cidata)."""
    work = Path(args.out + ".d")
    work.mkdir(parents=True, exist_ok=True)
    (work / "meta-data").write_text(
        f"instance-id: {args.instance or args.hostname}\nlocal-hostname: {args.hostname}\n"
    )
    body = Path(args.user_data).read_text() if args.user_data else "#cloud-config\n{}\n"
    (work / "user-data").write_text(body)
    run("genisoimage", "-quiet", "-o", args.out, "-V", "cidata", "-J", "-r", work)
    shutil.rmtree(work)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    sub = p.add_subparsers(dest="cmd", required=True)
    b = sub.add_parser("disk", help="build the disk image")
    b.add_argument("--out", default="kvguest.raw")
    b.add_argument("--work", default="build")
    b.add_argument("--boot-mib", type=int, default=20)
    b.add_argument("--root-mib", type=int, default=16)
    b.add_argument("--no-agent", dest="agent", action="store_false")
    b.add_argument(
        "--direct", action="store_true", help="also write vmlinuz and initrd.img beside the image"
    )
    b.add_argument(
        "--cmdline",
        default="console=ttyS0 quiet loglevel=3 panic=-1 "
        "mitigations=off nokaslr random.trust_cpu=on tsc=reliable rootwait",
    )
    b.set_defaults(func=build)
    s = sub.add_parser("seed", help="build a NoCloud seed image")
    s.add_argument("--out", default="seed.iso")
    s.add_argument("--hostname", default="kvguest")
    s.add_argument("--instance")
    s.add_argument("--user-data")
    s.set_defaults(func=seed)
    args = p.parse_args()
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    try:
        args.func(args)
    except subprocess.CalledProcessError as e:
        sys.exit(f"{' '.join(e.cmd)}: {e.stderr.strip()}")


if __name__ == "__main__":
    main()
