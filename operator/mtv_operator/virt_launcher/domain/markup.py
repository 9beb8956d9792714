"""XML elements with every name and value checked; nothing here knows of libvirt or VMIs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree.ElementTree import Element

from mtv import errors

# What XML 1.0 cannot carry at all, not even escaped (section 2.2, "Characters").
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# What libvirt takes as a user alias after `ua-` (virDomainDeviceAliasIsUserAlias and its checks).
_ALIAS = re.compile(r"[A-Za-z0-9_-]{1,200}")


def element(
    tag: str,
    attributes: Mapping[str, str | int | None] | None = None,
    *children: Element | None,
    text: str = "",
) -> Element:
    """Return an element; attributes and children that are None are left out.

    Raises BadInput for a value with a character that XML cannot carry.
    """
    node = Element(tag)
    for name, value in (attributes or {}).items():
        if value is not None:
            node.set(name, checked(str(value), f"{tag}/@{name}"))
    if text:
        node.text = checked(text, tag)
    node.extend(child for child in children if child is not None)
    return node


def checked(value: str, where: str) -> str:
    """Return `value` if XML can carry it; raises BadInput."""
    if found := _FORBIDDEN.search(value):
        raise errors.BadInput(
            f"{value[:80]!r} has the character U+{ord(found[0]):04X}, which XML cannot carry",
            field=where,
            hint="remove control characters from this field of the VirtualMachineInstance",
        )
    return value


def alias(name: str, field: str) -> Element:
    """Return the `<alias>` under which a device of the spec is found again in the domain."""
    if not _ALIAS.fullmatch(name):
        raise errors.BadInput(
            f"{name[:80]!r} is not a device name", field=field, hint="use letters, digits, - and _"
        )
    return element("alias", {"name": f"ua-{name}"})


def on_off(state: bool) -> str:
    """Return libvirt's word for a switch."""
    return "on" if state else "off"


def yes_no(state: bool) -> str:
    """Return libvirt's other word for a switch."""
    return "yes" if state else "no"
