//! Opening a file as it is, packed or not.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use crate::DataError;

const BUFFER: usize = 1 << 17;

/// Opens a file for reading, unpacking gzip, bzip2, xz and zstd by their magic bytes; `-` is standard input.
///
/// # Errors
/// When the file is absent, is a directory or cannot be read.
pub fn open(path: &Path) -> Result<Box<dyn BufRead + Send>, DataError> {
    let fail = |e| DataError::io(path, e);
    let raw: Box<dyn Read + Send> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        let file = File::open(path).map_err(fail)?;
        if file.metadata().map_err(fail)?.is_dir() {
            return Err(fail(std::io::ErrorKind::IsADirectory.into()));
        }
        Box::new(file)
    };
    let mut raw = BufReader::with_capacity(BUFFER, raw);
    let head = raw.fill_buf().map_err(fail)?;
    let unpacked: Box<dyn Read + Send> = match head {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(raw)),
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::bufread::MultiBzDecoder::new(raw)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Box::new(lzma_rust2::XzReader::new(raw, true)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(ZstdFrames::new(path, raw)?),
        _ => return Ok(Box::new(raw)),
    };
    Ok(Box::new(BufReader::with_capacity(BUFFER, unpacked)))
}

/// Zstd files may hold several frames after each other; the decoder reads one.
struct ZstdFrames<R: BufRead> {
    decoder: Option<ruzstd::decoding::StreamingDecoder<R, ruzstd::decoding::FrameDecoder>>,
}

impl<R: BufRead> ZstdFrames<R> {
    fn new(path: &Path, input: R) -> Result<Self, DataError> {
        let decoder = ruzstd::decoding::StreamingDecoder::new(input)
            .map_err(|e| DataError::file(path, format!("the compressed file is damaged ({e})")))?;
        Ok(Self { decoder: Some(decoder) })
    }
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        while let Some(decoder) = &mut self.decoder {
            let n = decoder.read(out).map_err(damaged)?;
            if n > 0 || out.is_empty() {
                return Ok(n);
            }
            let mut rest = match self.decoder.take() {
                Some(done) => done.into_inner(),
                None => break,
            };
            if rest.fill_buf()?.is_empty() {
                break;
            }
            let next = ruzstd::decoding::StreamingDecoder::new(rest).map_err(damaged)?;
            self.decoder = Some(next);
        }
        Ok(0)
    }
}

/// The decoder's errors come as any kind; what they mean is a damaged file.
fn damaged(error: impl std::fmt::Display) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, error.to_string())
}
