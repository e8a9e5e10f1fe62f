//! Which attributes are labels: Mulan's XML file, MEKA's relation, or the names a model knows.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use super::cells::unescape;
use super::header::Attribute;
use crate::formats::lines::{Lines, decode};
use crate::formats::{ReadOptions, open, same_labels};
use crate::{DataError, Schema};

/// Which attributes are labels, and the index of each.
pub(super) fn label_attributes(
    lines: &Lines,
    relation: &str,
    attributes: &[Attribute],
    options: &ReadOptions,
    known: Option<&Schema>,
) -> Result<HashMap<String, u32>, DataError> {
    let (names, source) = match &options.labels {
        Some(xml) => (xml_labels(xml)?, Some(xml.as_path())),
        None => match meka_labels(relation) {
            Some(n) => {
                let count = n.unsigned_abs() as usize;
                if count == 0 || count > attributes.len() {
                    let message = format!("-C {n} in the relation, but there are {} attributes", attributes.len());
                    return Err(lines.file_error(message));
                }
                let range = if n > 0 { 0..count } else { attributes.len() - count..attributes.len() };
                (attributes[range].iter().map(|a| a.name.clone()).collect(), None)
            }
            None if options.unlabelled => {
                let known = known.and_then(|k| k.label_names.as_ref());
                (known.map(|n| n.list().to_vec()).unwrap_or_default(), None)
            }
            None => {
                let message = "which attributes are labels? give the Mulan XML file (data.labels), \
                               or a MEKA relation with -C n";
                return Err(lines.file_error(message));
            }
        },
    };
    if names.is_empty() && !options.unlabelled {
        return Err(source.map_or_else(|| lines.file_error("0 labels"), |p| DataError::file(p, "0 labels")));
    }
    let positions: HashMap<&str, usize> = attributes.iter().enumerate().map(|(i, a)| (a.name.as_str(), i)).collect();
    // The XML files of the collection keep the escapes of quoted ARFF names.
    let same = |name: String| if positions.contains_key(name.as_str()) { name } else { unescape(&name) };
    let names: Vec<String> = names.into_iter().map(same).collect();
    if let (Some(xml), false) = (source, options.unlabelled)
        && let Some(absent) = names.iter().find(|n| !positions.contains_key(n.as_str()))
    {
        let message = format!("label `{absent}` is no attribute of {}", lines.path().display());
        return Err(DataError::file(xml, message));
    }
    // Labels count in the order of the attributes, as in every file of the collection.
    let mut ordered: Vec<&String> = names.iter().filter(|n| positions.contains_key(n.as_str())).collect();
    ordered.sort_by_key(|n| positions[n.as_str()]);
    ordered.dedup();
    if let Some(known) = known.filter(|k| k.label_names.is_some()) {
        if !options.unlabelled {
            let found: Vec<String> = ordered.iter().map(|s| s.to_string()).collect();
            same_labels(&found, known).map_err(|m| lines.file_error(m))?;
        }
        let names = known.label_names.as_ref();
        return Ok(ordered.into_iter().filter_map(|n| Some((n.clone(), names?.get(n)?))).collect());
    }
    Ok(ordered.into_iter().enumerate().map(|(i, n)| (n.clone(), i as u32)).collect())
}

/// The n of `-C n` in a MEKA relation.
fn meka_labels(relation: &str) -> Option<i64> {
    let mut words = relation.split_whitespace();
    while let Some(word) = words.next() {
        if word == "-C" {
            return words.next()?.parse().ok();
        }
    }
    None
}

/// The names in a Mulan label file: the `name` of every `<label>`, however they are nested.
fn xml_labels(path: &Path) -> Result<Vec<String>, DataError> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes).map_err(|e| DataError::io(path, e))?;
    let text = decode(&bytes);
    let mut reader = quick_xml::Reader::from_str(&text);
    let mut names = Vec::new();
    let bad = |at: u64, message: String| {
        let before = &text[..(at as usize).min(text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |n| n + 1) + 1;
        DataError::Parse { path: path.to_owned(), line, column, message }
    };
    loop {
        let at = reader.buffer_position();
        match reader.read_event() {
            Ok(quick_xml::events::Event::Eof) => return Ok(names),
            Ok(quick_xml::events::Event::Start(e) | quick_xml::events::Event::Empty(e)) => {
                if e.local_name().as_ref() != "label" {
                    continue;
                }
                let name = e.attributes().flatten().find(|a| a.key.as_ref() == "name");
                let name = name.and_then(|a| quick_xml::escape::unescape(&a.value).ok().map(|n| n.into_owned()));
                names.push(name.ok_or_else(|| bad(at, "a <label> without a name".into()))?);
            }
            Ok(_) => {}
            Err(e) => return Err(bad(at, format!("not XML: {e}"))),
        }
    }
}
