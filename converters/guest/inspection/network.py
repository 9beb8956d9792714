"""How a guest configures its network: the names it counts on, and the MACs it knows.

Seven ways of doing so are read. The files are only looked through for names, MACs and addresses;
what else they say is the guest's own affair, since an interface that keeps its name keeps all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import yaml

from converters.guest import limits
from converters.guest.filesystems.tree import Tree
from converters.guest.inspection.facts import Interface, Network

_NAME = re.compile(r"(?!\.)[^\s/:]{1,15}$")  # what Linux takes as a name (dev_valid_name)
_MAC = re.compile(r"(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}$")
_VIRTUAL = re.compile(
    r"(lo|bond\d+|br\d+|br-.*|docker\d*|veth.*|virbr\d+|tun\d+|tap\d+|vlan\d+|dummy\d+|wg\d+)$|.*[.@].*"
)


def mac(text: str) -> str:
    """Return a MAC as Linux writes it, or nothing."""
    text = text.strip().strip("\"'").replace("-", ":").lower()
    return text if _MAC.match(text) else ""


def is_name(text: str) -> bool:
    """Whether a text can be the name of a physical interface."""
    return bool(_NAME.match(text)) and text.isascii() and not _VIRTUAL.match(text)


def read(tree: Tree, parameters: tuple[str, ...], udev_names: bool) -> Network:
    """Return what the guest's network files say. `udev_names`: its udev names NICs by place."""
    found: dict[str, list[Interface]] = {}
    for tool, reader in _READERS.items():
        interfaces = [one for one in reader(tree) if is_name(one.name)]
        if interfaces:
            found[tool] = interfaces[: limits.MOST_INTERFACES]
    pinned = dict(_pinned(tree))
    merged: dict[str, Interface] = {}
    for interfaces in found.values():
        for one in interfaces:
            old = merged.get(one.name)
            known = one.mac or (old.mac if old else "") or pinned.get(one.name, "")
            merged[one.name] = Interface(
                name=one.name,
                mac=known,
                addresses=tuple(dict.fromkeys([*(old.addresses if old else ()), *one.addresses])),
                file=old.file if old else one.file,
                pinned=one.pinned or one.name in pinned or bool(old and old.pinned),
            )
    return Network(
        tools=tuple(found),
        interfaces=tuple(merged.values()),
        classic_names="net.ifnames=0" in parameters or not udev_names,
    )


def _lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        line = line.strip()
        if line and not line.startswith(("#", ";")):
            yield line


def _ifupdown(tree: Tree) -> Iterator[Interface]:
    for path in ["/etc/network/interfaces", *tree.glob("/etc/network/interfaces.d", "*")]:
        name, address = "", ""
        for line in _lines(tree.text(path)):
            words = line.split()
            if words[0] in ("iface", "auto", "mapping") or words[0].startswith("allow-"):
                if words[0] == "iface" and len(words) > 1:
                    name = words[1]
                    yield Interface(name=name, file=path)
                continue
            if name and words[0] == "address" and len(words) > 1:
                address = words[1]
                yield Interface(name=name, addresses=(address,), file=path)
            if name and words[0] in ("hwaddress", "hwaddr") and mac(words[-1]):
                yield Interface(name=name, mac="", file=path)  # sets a MAC, does not ask for one


def _sections(text: str) -> dict[str, dict[str, list[str]]]:
    """Return a file of sections and keys; a key may stand several times."""
    found: dict[str, dict[str, list[str]]] = {}
    section = ""
    for line in _lines(text):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip().lower()
            continue
        key, equals, value = line.partition("=")
        if equals:
            keys = found.setdefault(section, {})
            keys.setdefault(key.strip().lower(), []).append(value.strip())
    return found


def _one(sections: dict[str, dict[str, list[str]]], section: str, key: str) -> str:
    return sections.get(section, {}).get(key, [""])[0]


def _network_manager(tree: Tree) -> Iterator[Interface]:
    for folder in (
        "/etc/NetworkManager/system-connections",
        "/usr/lib/NetworkManager/system-connections",
    ):
        for path in tree.glob(folder, "*"):
            keys = _sections(tree.text(path))
            if _one(keys, "connection", "type") not in ("ethernet", "802-3-ethernet"):
                continue
            addresses = tuple(
                values[0].split(",")[0]
                for section in ("ipv4", "ipv6")
                for key, values in keys.get(section, {}).items()
                if re.fullmatch(r"address\d*", key)
            )
            hardware = mac(_one(keys, "ethernet", "mac-address"))
            name = _one(keys, "connection", "interface-name")
            yield Interface(name=name, mac=hardware, addresses=addresses, file=path)


def _shell_values(text: str) -> dict[str, str]:
    found = {}
    for line in _lines(text):
        key, equals, value = line.partition("=")
        if equals and key.isidentifier():
            found[key.upper()] = value.strip().strip("\"'")
    return found


def _ifcfg(tree: Tree, folder: str) -> Iterator[Interface]:
    for path in tree.glob(folder, "ifcfg-*"):
        keys = _shell_values(tree.text(path))
        name = keys.get("DEVICE") or path.rsplit("/ifcfg-", 1)[-1]
        kind = keys.get("TYPE", "Ethernet")
        if kind.lower() != "ethernet" or path.endswith((".bak", "~", ".rpmsave", ".orig")):
            continue
        addresses = tuple(
            value
            for key, value in keys.items()
            if re.fullmatch(r"IPADDR\d*|IPV6ADDR", key) and value
        )
        hardware = mac(keys.get("HWADDR", ""))
        yield Interface(name=name, mac=hardware, addresses=addresses, file=path)


def _netplan(tree: Tree) -> Iterator[Interface]:
    for folder in ("/usr/lib/netplan", "/etc/netplan"):
        for path in tree.glob(folder, "*.yaml"):
            yield from _ethernets(_network_of(tree, path), path)


def _network_of(tree: Tree, path: str) -> dict[str, object]:
    """Return the network of a YAML file of netplan or cloud-init; {} where there is none."""
    try:
        document = yaml.load(tree.text(path), Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError):
        return {}
    network = document.get("network", document) if isinstance(document, dict) else None
    return network if isinstance(network, dict) else {}


def _ethernets(network: dict[str, object], path: str) -> Iterator[Interface]:
    ethernets = network.get("ethernets")
    for key, value in ethernets.items() if isinstance(ethernets, dict) else ():
        if isinstance(value, dict):
            yield _netplan_interface(str(key), value, path)


def _netplan_interface(key: str, value: dict[str, object], path: str) -> Interface:
    match = value.get("match")
    match = match if isinstance(match, dict) else {}
    hardware = mac(str(match.get("macaddress", "")))
    given = value.get("addresses")
    addresses = tuple(
        str(next(iter(one)) if isinstance(one, dict) and one else one)
        for one in (given if isinstance(given, list) else ())
    )
    renamed = isinstance(value.get("set-name"), str) and bool(hardware)
    name = str(value["set-name"]) if renamed else str(match.get("name", "") or key)
    # With a MAC and no set-name the key is a mere label: netplan asks for the MAC alone.
    return Interface(name=name, mac=hardware, addresses=addresses, file=path, pinned=bool(hardware))


def _networkd(tree: Tree) -> Iterator[Interface]:
    for folder in ("/etc/systemd/network",):
        for path in tree.glob(folder, "*.network"):
            keys = _sections(tree.text(path))
            hardware = mac(_one(keys, "match", "macaddress").split(" ")[0])
            addresses = (
                *keys.get("network", {}).get("address", ()),
                *keys.get("address", {}).get("address", ()),
            )
            for name in _one(keys, "match", "name").split():
                if not set(name) & set("*?[!"):
                    yield Interface(name=name, mac=hardware, addresses=addresses, file=path)


def _cloud_init(tree: Tree) -> Iterator[Interface]:
    """Read what cloud-init was given; what it makes of that is read as netplan etc."""
    for path in tree.glob("/etc/cloud/cloud.cfg.d", "*.cfg"):
        network = _network_of(tree, path)
        yield from _ethernets(network, path)
        listed = network.get("config")
        for one in listed if isinstance(listed, list) else ():
            if isinstance(one, dict) and one.get("type") == "physical" and one.get("name"):
                hardware = mac(str(one.get("mac_address", "")))
                subnets = one.get("subnets")
                addresses = tuple(
                    str(subnet["address"])
                    for subnet in (subnets if isinstance(subnets, list) else ())
                    if isinstance(subnet, dict) and subnet.get("address")
                )
                yield Interface(name=str(one["name"]), mac=hardware, addresses=addresses, file=path)


def _pinned(tree: Tree) -> Iterator[tuple[str, str]]:
    """Yield (name, MAC) of rules and .link files by which the guest names a MAC itself."""
    for path in tree.glob("/etc/systemd/network", "*.link"):
        keys = _sections(tree.text(path))
        hardware = mac(
            _one(keys, "match", "macaddress") or _one(keys, "match", "permanentmacaddress")
        )
        if hardware and (name := _one(keys, "link", "name")):
            yield name, hardware
    for path in tree.glob("/etc/udev/rules.d", "*net*.rules"):
        for line in _lines(tree.text(path)):
            address = re.search(r'ATTRS?\{address\}=="([^"]*)"', line)
            called = re.search(r'NAME="([^"]*)"', line)
            if address and called and mac(address[1]):
                yield called[1], mac(address[1])


_READERS: dict[str, Callable[[Tree], Iterator[Interface]]] = {
    "ifupdown": _ifupdown,
    "netplan": _netplan,
    "NetworkManager": _network_manager,
    "ifcfg": lambda tree: _ifcfg(tree, "/etc/sysconfig/network-scripts"),
    "wicked": lambda tree: _ifcfg(tree, "/etc/sysconfig/network"),
    "networkd": _networkd,
    "cloud-init": _cloud_init,
}
