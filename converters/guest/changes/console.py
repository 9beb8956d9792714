"""A serial console, where one is asked for: the kernel's parameter is all that systemd needs."""

from __future__ import annotations

import re

_CONSOLE = "console=tty0 console=ttyS0,115200"
_LINE = re.compile(r"^(\s*(?:linux(?:16|efi)?|options|append)\s+[^\n]*?)\s*$", re.M | re.I)
_DEFAULT = re.compile(r"^(GRUB_CMDLINE_LINUX=)([\"']?)(.*?)\2\s*$", re.M)


def with_console(path: str, text: str) -> str:
    """Return a boot loader's configuration, or `/etc/default/grub`, with a serial console."""
    if path == "/etc/default/grub":
        return _DEFAULT.sub(_quoted, text)
    return _LINE.sub(_with_console, text)


def _with_console(match: re.Match[str]) -> str:
    return match[1] if "console=ttyS" in match[1] else f"{match[1]} {_CONSOLE}"


def _quoted(match: re.Match[str]) -> str:
    words = match[3] if "console=ttyS" in match[3] else f"{match[3]} {_CONSOLE}".strip()
    return f'{match[1]}"{words}"'
