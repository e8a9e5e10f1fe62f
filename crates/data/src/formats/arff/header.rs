//! Everything before `@data`: the relation and the attributes.

use std::collections::HashMap;

use super::cells::{Cells, unquote};
use crate::DataError;
use crate::formats::lines::{Lines, decode, quote};

/// What an attribute's cells may hold.
pub(super) enum Kind {
    Numeric,
    /// Position and number of each value.
    Nominal {
        values: HashMap<String, usize>,
        codes: Vec<f32>,
    },
    /// Text, dates: no use as a feature.
    Other(String),
}

pub(super) struct Attribute {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) line: usize,
}

/// Everything before `@data`: the relation's name and the attributes.
pub(super) fn read_header(lines: &mut Lines) -> Result<(String, Vec<Attribute>), DataError> {
    let mut relation = String::new();
    let mut attributes = Vec::new();
    let mut buffer = Vec::new();
    while lines.next(&mut buffer)? {
        let line = buffer.trim_ascii();
        if line.is_empty() || line[0] == b'%' {
            continue;
        }
        let (word, rest) = split_word(line);
        match decode(word).to_ascii_lowercase().as_str() {
            "@relation" => relation = unquote(rest),
            "@attribute" => attributes.push(parse_attribute(lines, rest)?),
            "@data" => {
                if attributes.is_empty() {
                    return Err(lines.error(0, "@data before any @attribute"));
                }
                return Ok((relation, attributes));
            }
            _ => {
                let message = format!("{} where @relation, @attribute or @data is expected", quote(word));
                return Err(lines.error(0, message));
            }
        }
    }
    Err(lines.file_error("no @data line: not an ARFF file, or cut short"))
}

fn split_word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
    (&text[..end], text[end..].trim_ascii())
}

fn parse_attribute(lines: &Lines, text: &[u8]) -> Result<Attribute, DataError> {
    // The name ends at the first white space or `{` outside quotes.
    let mut quoted = None;
    let mut end = 0;
    while end < text.len() {
        match (text[end], quoted) {
            (b'\\', _) => end += 1,
            (b, Some(q)) if b == q => {
                quoted = None;
                end += 1;
                break;
            }
            (b @ (b'\'' | b'"'), None) if end == 0 => quoted = Some(b),
            (b, None) if b.is_ascii_whitespace() || b == b'{' => break,
            _ => {}
        }
        end += 1;
    }
    let end = end.min(text.len());
    let (name, kind) = (unquote(&text[..end]), text[end..].trim_ascii());
    if quoted.is_some() || name.is_empty() || kind.is_empty() {
        return Err(lines.error(0, format!("{} is no attribute, expected: @attribute name type", quote(text))));
    }
    let kind = if let Some(body) = kind.strip_prefix(b"{") {
        let Some(end) = body.iter().rposition(|&b| b == b'}') else {
            return Err(lines.error(0, format!("the values of attribute `{name}` have no closing `}}`")));
        };
        nominal(&body[..end])
    } else {
        let word = decode(split_word(kind).0).to_ascii_lowercase();
        match word.as_str() {
            "numeric" | "real" | "integer" => Kind::Numeric,
            _ => Kind::Other(word),
        }
    };
    Ok(Attribute { name, kind, line: lines.number() })
}

fn nominal(body: &[u8]) -> Kind {
    let mut cells = Cells::new(body, b',');
    let mut list = Vec::new();
    while let Some((_, text)) = cells.next() {
        list.push(unquote(text.trim_ascii()));
    }
    let numbers: Option<Vec<f32>> = list.iter().map(|v| v.parse().ok().filter(|v: &f32| v.is_finite())).collect();
    let codes = numbers.unwrap_or_else(|| (0..list.len()).map(|i| i as f32).collect());
    Kind::Nominal { values: list.into_iter().enumerate().map(|(i, v)| (v, i)).collect(), codes }
}
