"""Addresses of a node's pods: one file per address, which says whose it is.

As CNI's host-local plugin keeps them. A file is made before the address is used and removed after
the pod's network is gone, so a crash can lose an address for a while, never give it out twice.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Container
from pathlib import Path

from mtv import errors

LAST = "last"  # addresses are given out in turn, so that a stale ARP entry finds nobody


class Pool:
    """The addresses of one node's pod network, kept in a folder."""

    def __init__(self, folder: Path, network: str) -> None:
        self.folder = folder
        self.network = ipaddress.IPv4Network(network)
        folder.mkdir(parents=True, exist_ok=True)

    def taken(self) -> dict[str, str]:
        """Return address to owner."""
        return {
            path.name: path.read_text()
            for path in self.folder.iterdir()
            if path.name != LAST and not path.name.startswith(".")
        }

    def take(self, owner: str) -> str:
        """Return the owner's address, a new one if it has none.

        Raises TargetRefused when all are taken.
        """
        taken = self.taken()
        for address, other in taken.items():
            if other == owner:
                return address
        for address in self._in_turn():
            if address not in taken:
                # The name appears with its contents: a file without an owner cannot be.
                fresh = self.folder / f".{address}"
                fresh.write_text(owner)
                fresh.rename(self.folder / address)
                (self.folder / LAST).write_text(address)
                return address
        raise errors.TargetRefused(
            f"all {len(taken)} pod addresses of {self.network} are taken",
            hint="delete pods, or start the node with a larger pod network",
        )

    def give_back(self, owner: str) -> None:
        """Free every address of an owner; fine when it has none."""
        for address, other in self.taken().items():
            if other == owner:
                (self.folder / address).unlink(missing_ok=True)

    def keep_only(self, owners: Container[str]) -> list[str]:
        """Free the addresses of all other owners; return these owners."""
        gone = [owner for owner in self.taken().values() if owner not in owners]
        for owner in gone:
            self.give_back(owner)
        return gone

    def _in_turn(self) -> list[str]:
        hosts = [str(address) for address in self.network.hosts()]
        try:
            start = hosts.index((self.folder / LAST).read_text()) + 1
        except (FileNotFoundError, ValueError):
            start = 0
        return hosts[start:] + hosts[:start]
