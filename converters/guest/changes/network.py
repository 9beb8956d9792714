"""Names of NICs: each name stays with its MAC, so that no network file has to change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from converters.errors import UnsupportedGuest
from converters.guest.changes.change import Change, write
from converters.guest.changes.initramfs import NOTE
from converters.guest.filesystems.tree import Tree
from converters.guest.inspection import network

RULES = "/etc/udev/rules.d/70-mtv-net.rules"


def link_files(names: Sequence[tuple[str, str]]) -> dict[str, bytes]:
    """Return systemd's .link files for (MAC, name). Raises UnsupportedGuest."""
    found = {}
    for mac, name in names:
        _check(mac, name)
        text = f"{NOTE}[Match]\nMACAddress={mac}\nType=ether\n\n[Link]\nName={name}\n"
        found[f"/etc/systemd/network/05-mtv-{name}.link"] = text.encode()
    return found


def rules(names: Sequence[tuple[str, str]]) -> bytes:
    """Return udev rules for (MAC, name), for guests whose udev knows no .link files."""
    lines = [NOTE]
    for mac, name in names:
        _check(mac, name)
        lines.append(
            f'SUBSYSTEM=="net", ACTION=="add", ATTR{{address}}=="{mac}", ATTR{{type}}=="1", '
            f'NAME="{name}"\n'
        )
    return "".join(lines).encode()


def _check(mac: str, name: str) -> None:
    if network.mac(mac) != mac or not network.is_name(name) or not name.isprintable():
        raise UnsupportedGuest("a NIC's MAC or name is unusable", value=f"{mac}={name}")
    if set(name) & set("\"'\\%$*?[]"):
        raise UnsupportedGuest("a NIC's name is unusable", value=name)


def knows_link_files(tree: Tree) -> bool:
    """Whether the guest's udev asks .link files (systemd 209 and later do)."""
    return any(
        tree.exists(f"{folder}/80-net-setup-link.rules")
        for folder in ("/usr/lib/udev/rules.d", "/lib/udev/rules.d")
    )


def change(tree: Tree, names: Sequence[tuple[str, str]]) -> Iterator[Change]:
    """Yield the files that keep names."""
    if not names:
        return
    if knows_link_files(tree):
        for path, content in link_files(names).items():
            if not tree.is_file(path) or tree.read(path) != content:
                yield write(path, content, "keeps the interface's name by its MAC")
    elif not tree.is_file(RULES) or tree.read(RULES) != rules(names):
        yield write(RULES, rules(names), "keeps the interfaces' names by their MACs")
