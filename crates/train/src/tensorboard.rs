//! A run's events as TensorBoard reads them: one file of TFRecords, each a protocol buffer `Event`.
//!
//! A record is the length of its bytes, a masked CRC-32C of the length, the bytes and a masked CRC-32C of them. Only the
//! few fields that scalars need are written.

use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};
use crate::run_folder::Event;

/// The file in a run folder; TensorBoard finds it by `tfevents`.
pub const FILE: &str = "tensorboard/events.out.tfevents.0.longtail";

/// Appends events to the file of a run, which begins with its first.
///
/// # Errors
/// When the disk refuses.
pub fn append(run: &Path, events: &[Event]) -> Result<()> {
    let path = run.join(FILE);
    let fail = |e: std::io::Error| Error::write(&path, &e);
    let folder = path.parent().unwrap_or(run);
    std::fs::create_dir_all(folder).map_err(fail)?;
    let mut bytes = Vec::new();
    if !path.exists() {
        let mut first = number(1, now());
        // Field 3: file_version.
        first.extend(text(3, b"brain.Event:2"));
        bytes.extend(record(&first));
    }
    events.iter().for_each(|event| bytes.extend(record(&of(event))));
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path).map_err(fail)?;
    file.write_all(&bytes).map_err(fail)
}

/// Writes the file of a run anew: its events up to here.
///
/// # Errors
/// When the disk refuses.
pub fn rewrite(run: &Path, events: &[Event]) -> Result<()> {
    let path = run.join(FILE);
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::write(&path, &e)),
        _ => append(run, events),
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// `Event { wall_time = 1, step = 2, summary = 5 }`, with a `Value { tag = 1, simple_value = 2 }` for every number.
fn of(event: &Event) -> Vec<u8> {
    let mut summary = Vec::new();
    let mut scalar = |tag: &str, value: f64| {
        let mut own = text(1, tag.as_bytes());
        own.push(2 << 3 | 5);
        own.extend((value as f32).to_le_bytes());
        summary.extend(text(1, &own));
    };
    scalar("loss/training", event.loss);
    for (name, part) in &event.loss_parts {
        scalar(&format!("loss/part {name}"), *part);
    }
    scalar("training/learning rate", event.learning_rate);
    scalar("training/instances per second", event.instances_per_second);
    for (name, value) in event.validation.iter().flatten() {
        if let Some(value) = value.as_f64() {
            let tag = if name == "loss" { "loss/validation".to_owned() } else { format!("validation/{name}") };
            scalar(&tag, value);
        }
    }
    let mut out = number(1, now());
    out.push(2 << 3);
    out.extend(varint(event.epoch as u64));
    out.extend(text(5, &summary));
    out
}

/// A field of 64-bit floating point.
fn number(field: u8, value: f64) -> Vec<u8> {
    let mut out = vec![field << 3 | 1];
    out.extend(value.to_le_bytes());
    out
}

/// A field of bytes: text or a message.
fn text(field: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![field << 3 | 2];
    out.extend(varint(bytes.len() as u64));
    out.extend(bytes);
    out
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn record(bytes: &[u8]) -> Vec<u8> {
    let masked = |part: &[u8]| crc32c::crc32c(part).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes();
    let length = (bytes.len() as u64).to_le_bytes();
    [&length, &masked(&length)[..], bytes, &masked(bytes)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_framed_and_fields_encoded_as_the_formats_say() {
        assert_eq!(varint(300), [0xac, 0x02]);
        assert_eq!(text(1, b"ab"), [0x0a, 2, b'a', b'b']);
        assert_eq!(number(1, 1.0)[..2], [0x09, 0]);
        let found = record(b"x");
        assert_eq!((found.len(), &found[..8], found[12]), (17, &[1, 0, 0, 0, 0, 0, 0, 0][..], b'x'));
        // The checksum of "123456789" is the polynomial's check value.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    }
}
