from collections.abc import Sequence

def inflate_grains(
    packed: bytes | bytearray | memoryview,
    grains: Sequence[tuple[int, int, int]],
    room: bytearray | memoryview,
    grain_bytes: int,
) -> list[int]: ...
def scan(
    buffer: bytes | bytearray,
    pieces: Sequence[tuple[int, int, int]],
    block_bytes: int,
    sums: bool,
) -> tuple[list[tuple[int, int, int]], list[tuple[int, int]]]: ...
def scan_and_write(
    buffer: bytes | bytearray,
    pieces: Sequence[tuple[int, int, int]],
    block_bytes: int,
    sums: bool,
    file: int,
) -> tuple[int, list[tuple[int, int]]]: ...
