"""What a Linux guest is, and what of it depends on the hardware it had."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

from converters.errors import ConversionError
from converters.guest import limits
from converters.guest.filesystems.tree import Tree
from converters.guest.initramfs import archive, modules
from converters.guest.inspection import boot, network
from converters.guest.inspection.facts import DRIVERS, Kernel, Linux, Mount, Volume
from converters.guest.inspection.volumes import meant

VMWARE_SERVICES = (
    "open-vm-tools.service",
    "vmtoolsd.service",
    "vgauth.service",
    "vgauthd.service",
    "vmware-tools.service",
    "vmware-tools-thinprint.service",
    "run-vmblock-fuse.mount",
    "run-vmblock\\x2dfuse.mount",
)
UNIT_FOLDERS = ("/usr/lib/systemd/system", "/lib/systemd/system", "/etc/systemd/system")
RECORD = "/var/lib/mtv/adaptation.json"
_EMULATED = ("ahci", "ata_piix", "vmw_pvscsi", "mptspi", "mptsas", "nvme")


def os_release(tree: Tree) -> dict[str, str]:
    """Return the keys of os-release; values without quotes."""
    text = tree.text("/etc/os-release") or tree.text("/usr/lib/os-release")
    found = {}
    for line in text.splitlines()[:200]:
        key, equals, value = line.partition("=")
        if equals and re.fullmatch(r"[A-Z_0-9]{1,64}", key):
            try:
                words = shlex.split(value[:1000])
            except ValueError:
                words = [value[:1000].strip("\"'")]
            found[key] = " ".join(words)
    return found


def fstab(text: str, volumes: Sequence[Volume]) -> Iterator[Mount]:
    """Yield the lines of an fstab."""
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 3 and not words[0].startswith("#"):
            volume = meant(words[0], volumes)
            yield Mount(
                source=words[0],
                where=words[1].replace("\\040", " "),
                type=words[2],
                options=words[3] if len(words) > 3 else "",
                volume=volume.device if volume else "",
            )


def read(
    tree: Tree, root: Volume, volumes: Sequence[Volume], esp: Tree | None, problems: list[str]
) -> Linux:
    """Return what a Linux guest is. What cannot be read is named in `problems`."""
    release = os_release(tree)
    name = release.get("PRETTY_NAME") or _old_release(tree)
    versions = [(one.rsplit("/", 1)[-1], one) for one in tree.glob("/lib/modules", "*")]
    booting = boot.read(tree, esp, [version for version, _ in versions])
    kernels = tuple(_kernels(tree, versions[: limits.MOST_KERNELS], problems))
    init = "systemd" if _has_unit(tree, "multi-user.target") else "other"
    has_link_files = tree.exists("/usr/lib/udev/rules.d/80-net-setup-link.rules") or tree.exists(
        "/lib/udev/rules.d/80-net-setup-link.rules"
    )
    places = ("/", "/boot", "/etc", "/var")
    return Linux(
        name=name[:200],
        id=release.get("ID", "")[:64] or ("rhel" if "Red Hat" in name or "CentOS" in name else ""),
        like=tuple(release.get("ID_LIKE", "").split()[:8]),
        version=release.get("VERSION_ID", "")[:64],
        host_name=tree.text("/etc/hostname").strip()[:64],
        architecture=_architecture(tree),
        root=root.device,
        kernels=kernels,
        boot=booting,
        mounts=tuple(fstab(tree.text("/etc/fstab"), volumes)),
        crypttab=tuple(
            " ".join(line.split()[:2])
            for line in tree.text("/etc/crypttab").splitlines()
            if line.strip() and not line.startswith("#")
        ),
        network=network.read(tree, booting.parameters, has_link_files),
        selinux=_selinux(tree),
        init=init,
        packages=_packages(tree),
        vmware_services=tuple(one for one in VMWARE_SERVICES if _has_unit(tree, one)),
        agent=tree.exists("/usr/sbin/qemu-ga") or tree.exists("/usr/bin/qemu-ga"),
        initramfs_tool=_initramfs_tool(tree),
        free_bytes={place: tree.free_bytes(place) for place in places},
        adapted=tree.exists(RECORD),
    )


def _old_release(tree: Tree) -> str:
    for path in ("/etc/redhat-release", "/etc/SuSE-release", "/etc/debian_version"):
        if text := tree.text(path):
            return text.splitlines()[0] if text.strip() else ""
    return "Linux"


def _architecture(tree: Tree) -> str:
    """Return the architecture of the guest's own programs, by an ELF header."""
    for path in ("/bin/sh", "/usr/bin/env", "/sbin/init"):
        if tree.is_file(path) and tree.size(path) <= limits.MOST_MODULE:
            head = tree.read(path, limits.MOST_MODULE)[:20]
            if head[:4] == b"\x7fELF":
                machine = int.from_bytes(head[18:20], "little")
                return {3: "i686", 62: "x86_64", 183: "aarch64"}.get(machine, f"ELF {machine}")
    return ""


def _has_unit(tree: Tree, name: str) -> bool:
    return any(tree.exists(f"{folder}/{name}") for folder in UNIT_FOLDERS)


def _selinux(tree: Tree) -> str:
    match = re.search(r"^\s*SELINUX=(\w+)", tree.text("/etc/selinux/config"), re.M)
    return match[1].lower() if match else ""


def _packages(tree: Tree) -> str:
    for path, kind in (
        ("/var/lib/dpkg/status", "deb"),
        ("/var/lib/rpm", "rpm"),
        ("/usr/lib/sysimage/rpm", "rpm"),
        ("/lib/apk/db", "apk"),
        ("/var/lib/pacman", "pacman"),
    ):
        if tree.exists(path):
            return kind
    return ""


def _initramfs_tool(tree: Tree) -> str:
    for path, tool in (
        ("/etc/initramfs-tools", "initramfs-tools"),
        ("/usr/lib/dracut", "dracut"),
        ("/etc/dracut.conf", "dracut"),
        ("/etc/mkinitcpio.conf", "mkinitcpio"),
        ("/etc/mkinitfs", "mkinitfs"),
        ("/sbin/mkinitrd", "mkinitrd"),
    ):
        if tree.exists(path):
            return tool
    return ""


# -- kernels


def initramfs_of(tree: Tree, version: str) -> str:
    """Return the path of a kernel's initramfs, links followed; empty where there is none."""
    for path in (
        f"/boot/initrd.img-{version}",
        f"/boot/initramfs-{version}.img",
        f"/boot/initrd-{version}",
        f"/boot/initrd-{version}.img",
        f"/boot/initramfs-{version}",
        f"/boot/initramfs-{version.rsplit('-', 1)[-1]}",
        f"/lib/modules/{version}/initrd",
    ):
        if tree.is_file(path):
            return tree.place(path).full
    if len(tree.names("/lib/modules")) == 1:
        for path in ("/boot/initramfs-linux.img", "/boot/initrd.img"):
            if tree.is_file(path):
                return tree.place(path).full
    return ""


def read_texts(tree: Tree, folder: str) -> modules.Texts:
    """Return the text indexes of a folder of modules."""

    def text(name: str) -> str:
        path = f"{folder}/{name}"
        if not tree.is_file(path):
            return ""
        return tree.read(path, limits.MOST_MODULE_INDEX).decode("utf-8", "replace")

    return modules.Texts(
        dependencies=modules.parse_dependencies(text("modules.dep")),
        aliases=text("modules.alias"),
        soft_dependencies=text("modules.softdep"),
    )


def _kernels(
    tree: Tree, versions: Sequence[tuple[str, str]], problems: list[str]
) -> Iterator[Kernel]:
    for version, folder in versions:
        if not tree.is_file(f"{folder}/modules.dep"):
            continue  # remains of a kernel that was removed
        kernel = _kernel(tree, version, tree.place(folder).full)
        if kernel.problem:
            problems.append(f"kernel {version}: {kernel.problem}")
        yield kernel


def _kernel(tree: Tree, version: str, folder: str) -> Kernel:
    initramfs = initramfs_of(tree, version)
    size, problem = 0, ""
    packed: tuple[str, ...] = ()
    inside: set[str] = set()
    builtin: set[str] = set()
    dependencies: Mapping[str, Sequence[str]] = {}
    try:
        dependencies = read_texts(tree, folder).dependencies
        builtin = modules.parse_builtin(tree.text(f"{folder}/modules.builtin"))
        if initramfs:
            size = tree.size(initramfs)
            contents = archive.read(tree.read(initramfs, limits.MOST_INITRAMFS))
            packed = contents.packed_by
            inside = present(contents, version)
    except ConversionError as fault:
        problem = str(fault)
    here = {modules.name(path) for path in inside}
    available = {modules.name(path) for path in dependencies}
    wanted = [driver for driver in DRIVERS if driver not in builtin]
    lacks = [
        path
        for path in modules.closure(wanted, dependencies)
        if modules.name(path) not in here and modules.name(path) not in builtin
    ]
    return Kernel(
        version=version,
        modules=folder,
        initramfs=initramfs,
        packed_by=packed,
        initramfs_bytes=size,
        builtin=tuple(one for one in DRIVERS if one in builtin),
        available=tuple(one for one in DRIVERS if one in available),
        in_initramfs=tuple(one for one in DRIVERS if one in here),
        lacks=tuple(lacks) if initramfs else (),
        storage=tuple(one for one in _EMULATED if one in here or one in builtin),
        problem=problem,
    )


def prefix(contents: archive.Contents, version: str) -> str:
    """Return what stands before `lib/modules/<version>/` in an initramfs: `usr/`, or nothing."""
    for name in contents.files:
        head, found, _ = name.partition(f"lib/modules/{version}/")
        if found and head in ("", "usr/"):
            return head
    return "usr/" if any(name.startswith("usr/lib/") for name in contents.files) else ""


def present(contents: archive.Contents, version: str) -> set[str]:
    """Return the modules in an initramfs, relative to the kernel's folder."""
    found = set()
    for name in contents.files:
        head, middle, rest = name.partition(f"lib/modules/{version}/")
        if middle and head in ("", "usr/") and modules.is_module(rest) and ".." not in rest:
            found.add(rest)
    return found
