"""The header of a qcow2 image: where its tables are, and what it needs to be understood."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from converters.errors import CorruptImage, UnsupportedImage
from converters.images.layers import ImageBytes

MAGIC = b"QFI\xfb"
# magic, version, backing_file_offset, backing_file_size, cluster_bits, size, crypt_method, l1_size,
# l1_table_offset, refcount_table_offset, refcount_table_clusters, nb_snapshots, snapshots_offset
V2 = struct.Struct(">4sIQIIQIIQQIIQ")
# incompatible_features, compatible_features, autoclear_features, refcount_order, header_length
V3 = struct.Struct(">QQQII")
LEAST_BITS, MOST_BITS = 9, 21  # clusters of 512 bytes to 2 MiB, as QEMU
MOST_CAPACITY = 128 << 40
_MOST_NAME = 1023  # "Maximum backing file name length"
MOST_L1 = 4 << 20  # entries, 32 MiB: QEMU's QCOW_MAX_L1_SIZE

DIRTY, CORRUPT, EXTERNAL_DATA, COMPRESSION, EXTENDED_L2 = (1 << bit for bit in range(5))
_KNOWN = DIRTY | CORRUPT | EXTERNAL_DATA | COMPRESSION | EXTENDED_L2
_END, _BACKING_FORMAT = 0, 0xE279_2ACA  # header extensions


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A checked header; places and sizes in bytes."""

    version: int
    capacity_bytes: int
    cluster_bits: int
    l1_entries: int
    l1_place: int
    snapshots: int
    features: int
    compression: int
    backing_file: str
    backing_format: str

    @property
    def cluster_bytes(self) -> int:
        """The size of a cluster."""
        return 1 << self.cluster_bits

    @property
    def extended(self) -> bool:
        """Whether clusters have 32 subclusters, and entries 16 bytes."""
        return bool(self.features & EXTENDED_L2)

    @property
    def l2_entries(self) -> int:
        """How many entries an L2 table (one cluster) has."""
        return self.cluster_bytes // (16 if self.extended else 8)


def read_header(image: ImageBytes) -> Header:
    """Return the header. Raises CorruptImage or UnsupportedImage, naming the field."""
    if image.size_bytes < V2.size:
        raise CorruptImage(
            f"the image has {image.size_bytes} bytes", file=image.name,
            expected=f"a header of {V2.size}",
        )  # fmt: skip
    # fmt: off
    (magic, version, backing_at, backing_size, bits, size, crypt, l1_size, l1_at, _refcounts,
     _refcount_clusters, snapshots, _snapshots_at) = V2.unpack(image.read_at(0, V2.size))
    # fmt: on

    def check(good: bool, at: int, field: str, value: object, expected: str) -> None:
        if not good:
            raise CorruptImage(
                file=image.name, offset=at, field=field, value=value, expected=expected
            )

    def need(good: bool, at: int, field: str, value: object, expected: str, hint: str = "") -> None:
        if not good:
            raise UnsupportedImage(
                file=image.name, offset=at, field=field, value=value, expected=expected, hint=hint
            )

    check(magic == MAGIC, 0, "magic", magic, f"{MAGIC!r}")
    need(version in (2, 3), 4, "version", version, "2 or 3")
    check(LEAST_BITS <= bits <= MOST_BITS, 20, "cluster_bits", bits, f"{LEAST_BITS} to {MOST_BITS}")
    check(0 < size <= MOST_CAPACITY, 24, "size", size, f"1 to {MOST_CAPACITY} bytes")
    need(crypt == 0, 32, "crypt_method", crypt, "0 (not encrypted)", "decrypt the image first")
    features, order, length, compression = 0, 4, V2.size, 0
    if version == 3:
        features, _, _, order, length = V3.unpack(image.read_at(V2.size, V3.size))
        check(
            V2.size + V3.size <= length <= 1 << bits and length % 8 == 0, 100, "header_length",
            length, f"a multiple of 8 from {V2.size + V3.size} to a cluster",
        )  # fmt: skip
        check(order <= 6, 96, "refcount_order", order, "at most 6")
        if features & COMPRESSION and length > 104:
            compression = image.read_at(104, 1)[0]
    need(not features & ~_KNOWN, 72, "incompatible_features", features, f"bits of {_KNOWN}")
    need(
        not features & EXTERNAL_DATA, 72, "incompatible_features", features, "no external data file"
    )
    check(
        not features & CORRUPT, 72, "incompatible_features", features,
        "an image that is not marked corrupt",
    )  # fmt: skip
    header = Header(
        version=version,
        capacity_bytes=size,
        cluster_bits=bits,
        l1_entries=l1_size,
        l1_place=l1_at,
        snapshots=snapshots,
        features=features,
        compression=compression,
        backing_file=_backing_file(image, backing_at, backing_size, 1 << bits),
        backing_format=_backing_format(image, length, 1 << bits) if backing_at else "",
    )
    needed = -(-size // (header.cluster_bytes * header.l2_entries))
    check(needed <= l1_size <= MOST_L1, 36, "l1_size", l1_size, f"{needed} to {MOST_L1}")
    check(
        l1_at % (1 << bits) == 0 and 0 < l1_at <= image.size_bytes - needed * 8, 40,
        "l1_table_offset", l1_at, f"the start of a cluster within the file's {image.size_bytes}",
    )  # fmt: skip
    return header


def _backing_file(image: ImageBytes, at: int, size: int, cluster: int) -> str:
    if not at:
        return ""
    if not 0 < size <= _MOST_NAME or at + size > min(image.size_bytes, cluster):
        raise CorruptImage(
            file=image.name, offset=16, field="backing_file_size", value=size,
            expected=f"1 to {_MOST_NAME}, within the first cluster",
        )  # fmt: skip
    return image.read_at(at, size).decode("utf-8", "surrogateescape")


def _backing_format(image: ImageBytes, at: int, cluster: int) -> str:
    """Return what the header extension says of the backing file's format, if it is there."""
    most = min(cluster, image.size_bytes)
    while at + 8 <= most:
        kind, length = struct.unpack(">II", image.read_at(at, 8))
        if kind == _END or at + 8 + length > most:
            break
        if kind == _BACKING_FORMAT:
            return image.read_at(at + 8, length).decode("ascii", "replace")
        at += 8 + -(-length // 8) * 8
    return ""
