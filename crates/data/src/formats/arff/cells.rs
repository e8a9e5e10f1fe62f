//! Cells of a row, names and values: what stands between separators, without its quotes.

use crate::formats::lines::decode;

/// Cells between separators that are not inside quotes, with their byte offsets.
pub(super) struct Cells<'a> {
    line: &'a [u8],
    pub(super) at: usize,
    separator: u8,
    done: bool,
}

impl<'a> Cells<'a> {
    pub(super) fn new(line: &'a [u8], separator: u8) -> Self {
        Self { line, at: 0, separator, done: false }
    }

    pub(super) fn next(&mut self) -> Option<(usize, &'a [u8])> {
        if self.done {
            return None;
        }
        let start = self.at;
        let mut quoted = None;
        let mut i = start;
        while i < self.line.len() {
            match (self.line[i], quoted) {
                (b'\\', _) => i += 1,
                (b, Some(q)) if b == q => quoted = None,
                (b @ (b'\'' | b'"'), None) => quoted = Some(b),
                (b, None) if b == self.separator => break,
                _ => {}
            }
            i += 1;
        }
        let end = i.min(self.line.len());
        self.done = i >= self.line.len();
        self.at = end + 1;
        Some((start.min(end), &self.line[start.min(end)..end]))
    }
}

/// A name or value without its quotes, escapes resolved; outside quotes a backslash is a character like any other.
pub(super) fn unquote(text: &[u8]) -> String {
    let text = decode(text);
    let text = text.trim();
    match ['\'', '"'].iter().find_map(|&q| text.strip_prefix(q)?.strip_suffix(q)) {
        Some(body) => unescape(body),
        None => text.to_owned(),
    }
}

pub(super) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut escaped = false;
    for c in text.chars() {
        if c == '\\' && !escaped {
            escaped = true;
        } else {
            out.push(c);
            escaped = false;
        }
    }
    out
}
