"""Compressed clusters of qcow2: where they are, and what is in them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from converters import zstd
from converters.errors import CorruptImage, UnsupportedImage
from converters.images.layers import ImageBytes

_PACKED = 1 << 62
_SECTOR = 512
DEFLATE, ZSTD = 0, 1  # compression_type of the header


@dataclass(frozen=True, slots=True)
class Clusters:
    """Clusters packed one by one; a cluster's number is its L2 entry."""

    cluster_bits: int
    compression: int
    deflated: bool = False  # without zlib's header: not what is inflated by batches

    @property
    def unit_bytes(self) -> int:
        """The size of a cluster."""
        return 1 << self.cluster_bits

    def place(self, entry: int) -> tuple[int, int]:
        """Return where a cluster is, and how many bytes it takes at most.

        "Compressed Clusters Descriptor": offset below bit x, count of further sectors above it.
        """
        split = 62 - (self.cluster_bits - 8)
        place = entry & ((1 << split) - 1)
        sectors = (entry & (_PACKED - 1)) >> split
        return place, (place // _SECTOR + 1 + sectors) * _SECTOR - place

    def locate(
        self, packed: memoryview, number: int, image: ImageBytes, place: int
    ) -> tuple[int, int]:
        """Return that all of it is the stream."""
        return 0, len(packed)

    def unpack(
        self, packed: memoryview, number: int, image: ImageBytes, place: int
    ) -> bytes | bytearray:
        """Return the cluster. Raises CorruptImage or UnsupportedImage."""
        try:
            if self.compression == ZSTD:
                content = zstd.unpack(packed, self.unit_bytes)
            elif self.compression == DEFLATE:
                content = zlib.decompressobj(-15).decompress(packed, self.unit_bytes)
            else:
                raise UnsupportedImage(
                    file=image.name, offset=104, field="compression_type", value=self.compression,
                    expected="0 (deflate) or 1 (zstd)",
                )  # fmt: skip
        except (zlib.error, zstd.ZstdError) as fault:
            raise self.damaged(number, image, place, str(fault)) from fault
        except zstd.Missing as fault:
            raise UnsupportedImage(
                "is packed by zstd, and libzstd.so.1 is not here", file=image.name,
                hint="install libzstd (Debian: libzstd1)",
            ) from fault  # fmt: skip
        if len(content) < self.unit_bytes:
            raise self.damaged(number, image, place, f"it has {len(content)} bytes")
        return content

    def damaged(self, number: int, image: ImageBytes, place: int, problem: str) -> CorruptImage:
        """Return the error for a cluster that cannot be unpacked."""
        return CorruptImage(
            f"a compressed cluster is damaged: {problem}", file=image.name, offset=place,
            expected=f"a packed stream of {self.unit_bytes} bytes",
        )  # fmt: skip
