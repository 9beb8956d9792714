//! The inner loops of a disk conversion, each over a whole batch, with the interpreter's lock let
//! go once. `converters/batching.py` has the same functions in Python: they are the oracle in the
//! tests, and what runs where this library was not built.

use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;

use libdeflate_sys::{
    libdeflate_alloc_decompressor, libdeflate_decompressor, libdeflate_free_decompressor,
    libdeflate_zlib_decompress,
};
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyMemoryError, PyOSError, PyValueError};
use pyo3::prelude::*;
use twox_hash::XxHash3_64;

/// The least that a sparse file can leave out.
const PIECE: usize = 4096;
/// What sums are kept by: `converters.checksum.EXTENT`.
const EXTENT: u64 = 1 << 20;
/// A length that says that a grain is damaged, or larger than it may be.
const BAD: i64 = -1;

type Piece = (u64, usize, usize);

struct Decompressor(NonNull<libdeflate_decompressor>);

impl Decompressor {
    fn new() -> Option<Self> {
        NonNull::new(unsafe { libdeflate_alloc_decompressor() }).map(Self)
    }

    /// Unpack a zlib stream; return how many bytes it had.
    fn unpack(&mut self, packed: &[u8], room: &mut [u8]) -> i64 {
        let mut length = 0usize;
        let code = unsafe {
            libdeflate_zlib_decompress(
                self.0.as_ptr(),
                packed.as_ptr().cast(),
                packed.len(),
                room.as_mut_ptr().cast(),
                room.len(),
                &mut length,
            )
        };
        if code == 0 {
            length as i64
        } else {
            BAD
        }
    }
}

impl Drop for Decompressor {
    fn drop(&mut self) {
        unsafe { libdeflate_free_decompressor(self.0.as_ptr()) }
    }
}

fn within(start: usize, length: usize, all: usize) -> PyResult<()> {
    match start.checked_add(length) {
        Some(end) if end <= all => Ok(()),
        _ => Err(PyValueError::new_err("a piece lies outside of its buffer")),
    }
}

/// Borrow the bytes of a buffer. Nobody else may write to them while the call runs.
fn bytes_of(buffer: &PyBuffer<u8>) -> PyResult<&[u8]> {
    if !buffer.is_c_contiguous() {
        return Err(PyValueError::new_err("the buffer is not contiguous"));
    }
    if buffer.len_bytes() == 0 {
        return Ok(&[]);
    }
    Ok(unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast(), buffer.len_bytes()) })
}

fn room_of(buffer: &PyBuffer<u8>) -> PyResult<&mut [u8]> {
    if !buffer.is_c_contiguous() || buffer.readonly() {
        return Err(PyValueError::new_err("the buffer cannot be written"));
    }
    if buffer.len_bytes() == 0 {
        return Ok(&mut []);
    }
    Ok(unsafe { std::slice::from_raw_parts_mut(buffer.buf_ptr().cast(), buffer.len_bytes()) })
}

/// Inflate grains (offset on the disk, start, packed size) into `room`, one each `grain_bytes`;
/// return their lengths, -1 for one that is damaged or larger, which is the last.
#[pyfunction]
fn inflate_grains(
    py: Python<'_>,
    packed: PyBuffer<u8>,
    grains: Vec<Piece>,
    room: PyBuffer<u8>,
    grain_bytes: usize,
) -> PyResult<Vec<i64>> {
    let from = bytes_of(&packed)?;
    let into = room_of(&room)?;
    if grain_bytes == 0 || grains.len() > into.len() / grain_bytes {
        return Err(PyValueError::new_err("the room is too small for the grains"));
    }
    for &(_, start, size) in &grains {
        within(start, size, from.len())?;
    }
    py.allow_threads(|| {
        let mut unpacker = Decompressor::new()?;
        let mut lengths = Vec::with_capacity(grains.len());
        for (&(_, start, size), place) in grains.iter().zip(into.chunks_exact_mut(grain_bytes)) {
            let length = unpacker.unpack(&from[start..start + size], place);
            lengths.push(length);
            if length == BAD {
                break;
            }
        }
        Some(lengths)
    })
    .ok_or_else(|| PyMemoryError::new_err("no memory for libdeflate"))
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(128).all(|part| part.iter().fold(0, |all, byte| all | byte) == 0)
}

#[derive(Default)]
struct Found {
    runs: Vec<Piece>,
    sums: Vec<(u64, u64)>,
}

impl Found {
    /// Add data; what follows the last run on the disk and in the buffer makes it longer.
    fn add(&mut self, offset: u64, start: usize, length: usize) {
        if let Some(last) = self.runs.last_mut() {
            if last.0 + last.2 as u64 == offset && last.1 + last.2 == start {
                last.2 += length;
                return;
            }
        }
        self.runs.push((offset, start, length));
    }

    fn count(&mut self, extent: u64, sum: u64) {
        match self.sums.last_mut() {
            Some(last) if last.0 == extent => last.1 = last.1.wrapping_add(sum),
            _ => self.sums.push((extent, sum)),
        }
    }

    /// Look through one block; return whether there is anything but zeros in it.
    fn look(&mut self, block: &[u8], offset: u64, start: usize) -> bool {
        let mut any = false;
        for (number, piece) in block.chunks(PIECE).enumerate() {
            if !is_zero(piece) {
                any = true;
                let at = number * PIECE;
                self.add(offset + at as u64, start + at, piece.len());
            }
        }
        any
    }
}

/// Look for zeros in pieces of a buffer, without the interpreter.
fn look_through(bytes: &[u8], pieces: &[Piece], block_bytes: usize, sums: bool) -> Found {
    let mut found = Found::default();
    for &(offset, start, length) in pieces {
        let piece = &bytes[start..start + length];
        for (number, block) in piece.chunks(block_bytes).enumerate() {
            let step = number * block_bytes;
            let at = offset + step as u64;
            if found.look(block, at, start + step) && sums {
                let sum = XxHash3_64::oneshot_with_seed(at / block_bytes as u64, block);
                found.count(at / EXTENT, sum);
            }
        }
    }
    found
}

fn check(bytes: &[u8], pieces: &[Piece], block_bytes: usize) -> PyResult<()> {
    if block_bytes == 0 || block_bytes % PIECE != 0 {
        return Err(PyValueError::new_err("blocks are multiples of 4 KiB"));
    }
    for &(_, start, length) in pieces {
        within(start, length, bytes.len())?;
    }
    Ok(())
}

/// Look for zeros in pieces of a buffer (offset on the disk, start, length); return the runs of
/// data, shaped alike, and the sums of blocks by extent. An extent may come twice.
#[pyfunction]
fn scan(
    py: Python<'_>,
    buffer: PyBuffer<u8>,
    pieces: Vec<Piece>,
    block_bytes: usize,
    sums: bool,
) -> PyResult<(Vec<Piece>, Vec<(u64, u64)>)> {
    let bytes = bytes_of(&buffer)?;
    check(bytes, &pieces, block_bytes)?;
    let found = py.allow_threads(|| look_through(bytes, &pieces, block_bytes, sums));
    Ok((found.runs, found.sums))
}

/// The same, but write the runs to a file that is open; return how many bytes that were, and sums.
#[pyfunction]
fn scan_and_write(
    py: Python<'_>,
    buffer: PyBuffer<u8>,
    pieces: Vec<Piece>,
    block_bytes: usize,
    sums: bool,
    file: i32,
) -> PyResult<(usize, Vec<(u64, u64)>)> {
    let bytes = bytes_of(&buffer)?;
    check(bytes, &pieces, block_bytes)?;
    let (written, found) = py.allow_threads(|| -> std::io::Result<_> {
        // The descriptor stays the caller's: it is not closed here.
        let target = ManuallyDrop::new(unsafe { File::from_raw_fd(file) });
        let found = look_through(bytes, &pieces, block_bytes, sums);
        let mut written = 0;
        for &(offset, start, length) in &found.runs {
            target.write_all_at(&bytes[start..start + length], offset)?;
            written += length;
        }
        Ok((written, found.sums))
    })
    // Python's own classes look at the number; the sentence alone would tell them nothing.
    .map_err(|fault| PyOSError::new_err((fault.raw_os_error().unwrap_or(0), fault.to_string())))?;
    Ok((written, found))
}

#[pymodule]
#[pyo3(name = "_native")]
fn converters_native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(inflate_grains, module)?)?;
    module.add_function(wrap_pyfunction!(scan, module)?)?;
    module.add_function(wrap_pyfunction!(scan_and_write, module)?)
}
