//! Data sets in binary files: written once, mapped into memory from then on.
//!
//! A file is the line `LTDATA01`, six 64-bit sizes (instances, features, feature entries, labels, label entries, 0), the
//! arrays of both kinds of rows (starts as 64-bit, indices and values as 32-bit numbers, little-endian, each array at a
//! multiple of 8 bytes) and the SHA-256 of all that. Names of columns are not in it.

use std::fmt;
use std::io::{BufWriter, Write};
use std::marker::PhantomData;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

use bytemuck::Pod;
use memmap2::Mmap;
use sha2::{Digest, Sha256};

use crate::{DataError, FeatureRows, LabelRows};

const MAGIC: &[u8; 8] = b"LTDATA01";
/// Sizes after the magic.
const SIZES: usize = 6;
const CHECKSUM: usize = 32;

/// Numbers in memory of their own, or in a mapped file.
#[derive(Clone)]
pub(crate) enum Array<T> {
    Owned(Vec<T>),
    Mapped(Arc<Mmap>, Range<usize>, PhantomData<T>),
}

impl<T: Pod> Array<T> {
    /// To be changed: a copy of what is mapped.
    pub(crate) fn to_mut(&mut self) -> &mut Vec<T> {
        if let Self::Mapped(..) = self {
            *self = Self::Owned(self.to_vec());
        }
        match self {
            Self::Owned(values) => values,
            // It was made an owned one.
            Self::Mapped(..) => unreachable!("a mapped array after it was copied"),
        }
    }
}

impl<T: Pod> Deref for Array<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Owned(values) => values,
            Self::Mapped(map, range, _) => bytemuck::cast_slice(&map[range.clone()]),
        }
    }
}

impl<T> From<Vec<T>> for Array<T> {
    fn from(values: Vec<T>) -> Self {
        Self::Owned(values)
    }
}

impl<T> Default for Array<T> {
    fn default() -> Self {
        Self::Owned(Vec::new())
    }
}

impl<T: Pod + PartialEq> PartialEq for Array<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Pod + Eq> Eq for Array<T> {}

impl<T: Pod + fmt::Debug> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Writes rows to a new file.
///
/// # Errors
/// When the disk refuses.
pub fn write(path: &Path, features: &FeatureRows, labels: &LabelRows) -> Result<(), DataError> {
    let fail = |e: std::io::Error| DataError::io(path, e);
    let mut file = BufWriter::with_capacity(1 << 20, std::fs::File::create(path).map_err(fail)?);
    let mut hasher = Sha256::new();
    let mut put = |bytes: &[u8]| {
        hasher.update(bytes);
        file.write_all(bytes)
    };
    let sizes = [features.len(), features.columns(), features.nnz(), labels.columns(), labels.nnz(), 0];
    let words = |values: &[usize]| values.iter().flat_map(|v| (*v as u64).to_le_bytes()).collect::<Vec<u8>>();
    let mut put_all = || {
        put(MAGIC)?;
        put(&words(&sizes))?;
        for starts in [features.starts(), labels.starts()] {
            starts.chunks(1 << 16).try_for_each(|s| put(&words(s)))?;
        }
        for bytes in [
            bytemuck::cast_slice(features.indices()),
            bytemuck::cast_slice(features.values()),
            bytemuck::cast_slice(labels.indices()),
        ] {
            put(bytes)?;
            put(&[0; 8][..(8 - bytes.len() % 8) % 8])?;
        }
        Ok(())
    };
    put_all().map_err(fail)?;
    file.write_all(&hasher.finalize()).map_err(fail)?;
    file.into_inner().map_err(|e| fail(e.into_error()))?.sync_data().map_err(fail)
}

/// Maps a file that [`write()`] wrote, after a look at its checksum.
///
/// # Errors
/// For a file that is none, is not whole, or was changed.
pub fn open(path: &Path) -> Result<(FeatureRows, LabelRows), DataError> {
    let fail = |e: std::io::Error| DataError::io(path, e);
    let broken = |what: &str| DataError::Request(format!("{}: {what}", path.display()));
    let map = Arc::new(map(&std::fs::File::open(path).map_err(fail)?).map_err(fail)?);
    let head = MAGIC.len() + 8 * SIZES;
    if map.len() < head + CHECKSUM || !map.starts_with(MAGIC) {
        return Err(broken("not a file of this version"));
    }
    let (bytes, checksum) = map.split_at(map.len() - CHECKSUM);
    if Sha256::digest(bytes).as_slice() != checksum {
        return Err(broken("corrupted: its checksum does not fit"));
    }
    let size = |i: usize| {
        let at = MAGIC.len() + 8 * i;
        bytes[at..at + 8].iter().rev().fold(0usize, |sum, b| sum << 8 | usize::from(*b))
    };
    let [instances, columns, entries, label_columns, label_entries, _] = std::array::from_fn::<usize, SIZES, _>(size);
    let mut at = head;
    let mut next = |len: usize, width: usize| {
        let range = at..at + len * width;
        at = range.end.next_multiple_of(8);
        range
    };
    let (starts, label_starts) = (next(instances + 1, 8), next(instances + 1, 8));
    let (indices, values, labels) = (next(entries, 4), next(entries, 4), next(label_entries, 4));
    if at != bytes.len() {
        return Err(broken("not whole"));
    }
    let features = FeatureRows::mapped(positions(&map, starts), of(&map, indices), of(&map, values), columns);
    let labels = LabelRows::mapped(positions(&map, label_starts), of(&map, labels), label_columns);
    Ok((features, labels))
}

fn of<T: Pod>(map: &Arc<Mmap>, range: Range<usize>) -> Array<T> {
    Array::Mapped(map.clone(), range, PhantomData)
}

/// 64-bit numbers as positions: where they are, if those of this machine are of the same size.
fn positions(map: &Arc<Mmap>, range: Range<usize>) -> Array<usize> {
    if size_of::<usize>() == 8 {
        return of(map, range);
    }
    bytemuck::cast_slice::<u8, u64>(&map[range]).iter().map(|v| *v as usize).collect::<Vec<_>>().into()
}

#[expect(unsafe_code, reason = "mapping a file is unsafe: another process may change it")]
fn map(file: &std::fs::File) -> std::io::Result<Mmap> {
    // SAFETY: such files lie in a cache folder of the user's own, are written under another name, renamed when whole and
    // never changed after that. Who changes one by hand while a training reads it gets other numbers in it; all accesses
    // through indices found in it are checked.
    unsafe { Mmap::map(file) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> (FeatureRows, LabelRows) {
        let (mut features, mut labels) = (FeatureRows::new(7), LabelRows::new(3));
        for i in 0..5u32 {
            features.push(&[(i % 3, 0.5 * i as f32), (6, -1.0)][..(i as usize % 3).min(2)]);
            labels.push(if i % 2 == 0 { &[0, 2] } else { &[] });
        }
        (features, labels)
    }

    #[test]
    fn rows_come_back_mapped_and_can_be_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        let (features, labels) = rows();
        write(&path, &features, &labels).unwrap();
        let (mut mapped, mapped_labels) = open(&path).unwrap();
        assert_eq!((&mapped, &mapped_labels), (&features, &labels));
        assert_eq!(mapped.select(&[4, 1]), features.select(&[4, 1]));
        mapped.push(&[(2, 9.0)]);
        assert_eq!((mapped.len(), mapped.row(5)), (6, (&[2u32][..], &[9.0f32][..])));
        assert_eq!(open(&path).unwrap().0, features);
    }

    #[test]
    fn a_changed_or_cut_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        let (features, labels) = rows();
        write(&path, &features, &labels).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let mut changed = whole.clone();
        changed[100] ^= 1;
        for (bytes, message) in [
            (&changed[..], "corrupted: its checksum does not fit"),
            (&whole[..whole.len() - 1], "corrupted: its checksum does not fit"),
            (
                b"something else, longer than the head of such a file and its checksum, but not one of them at all, no",
                "not a file of this version",
            ),
        ] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(open(&path).unwrap_err().to_string(), format!("{}: {message}", path.display()));
        }
    }
}
