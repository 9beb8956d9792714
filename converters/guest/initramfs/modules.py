"""Kernel modules of a guest: what a driver needs, what an initramfs lacks, its new index."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from converters.guest.initramfs import kmod_index

_SUFFIX = re.compile(r"\.ko(\.(gz|xz|zst))?$")


def name(path: str) -> str:
    """Return a module's name, as the kernel calls it: `a/virtio-rng.ko.xz` is virtio_rng."""
    return _SUFFIX.sub("", path.rsplit("/", 1)[-1]).replace("-", "_")


def is_module(path: str) -> bool:
    """Whether a path is that of a module."""
    return bool(_SUFFIX.search(path))


def parse_dependencies(text: str) -> dict[str, tuple[str, ...]]:
    """Return modules.dep: each module's path and those it needs, relative to its tree."""
    found = {}
    for line in text.splitlines():
        path, colon, needs = line.partition(":")
        if colon and is_module(path) and _inside(path):
            found[path] = tuple(need for need in needs.split() if _inside(need))
    return found


def _inside(path: str) -> bool:
    """Whether a path stays in the tree of modules. Absolute ones are of older kmods: not read."""
    return not path.startswith("/") and ".." not in path.split("/") and path != ""


def parse_builtin(text: str) -> set[str]:
    """Return the names in modules.builtin."""
    return {name(line) for line in text.split()}


def closure(drivers: Iterable[str], dependencies: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the paths of drivers and of all that they need; an unknown driver has none."""
    paths = {name(path): path for path in dependencies}
    files: list[str] = []
    for driver in drivers:
        if path := paths.get(driver):
            files += [one for one in (path, *dependencies[path]) if one not in files]
    return files


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """The text indexes of a tree of modules."""

    dependencies: Mapping[str, Sequence[str]]
    aliases: str = ""
    soft_dependencies: str = ""


def build_index(present: Iterable[str], texts: Texts) -> dict[str, bytes]:
    """Return the index files of a tree that has the modules `present` (paths relative to it).

    A module may be there under another suffix than in `texts`: some tools unpack modules. One that
    the guest's index does not know stands without dependencies.
    """
    here = {name(path): path for path in present if is_module(path)}
    known = {name(path): needs for path, needs in texts.dependencies.items()}
    rows = []
    for number, (module, path) in enumerate(sorted(here.items())):
        needs = [here[name(need)] for need in known.get(module, ()) if name(need) in here]
        rows.append((module, " ".join([f"{path}:", *needs]), number))
    order = {module: number for module, _, number in rows}
    aliases = []
    for line in texts.aliases.splitlines():
        words = line.split()
        if len(words) == 3 and words[0] == "alias" and words[2].replace("-", "_") in order:
            aliases.append((normalize(words[1]), words[2], order[words[2].replace("-", "_")]))
    soft = [
        line
        for line in texts.soft_dependencies.splitlines()
        if line.startswith("#") or (line.split()[1:2] or [""])[0].replace("-", "_") in order
    ]
    return {
        "modules.dep": "".join(f"{row}\n" for _, row, _ in rows).encode(),
        "modules.dep.bin": kmod_index.build(rows),
        "modules.alias": "".join(f"alias {key} {to}\n" for key, to, _ in aliases).encode(),
        "modules.alias.bin": kmod_index.build(aliases),
        "modules.softdep": "".join(f"{line}\n" for line in soft).encode(),
    }


def normalize(alias: str) -> str:
    """Return an alias as modprobe looks for it: dashes are underscores, except in brackets."""
    return "".join(
        part if part.startswith("[") else part.replace("-", "_")
        for part in re.split(r"(\[[^\]]*\])", alias)
    )
