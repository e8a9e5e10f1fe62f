//! ARFF as multi-label collections use it: Mulan (an XML file names the label attributes) and MEKA (`-C n` in the
//! relation: the first n attributes, or the last for a negative n). Dense rows and sparse `{index value, …}` rows.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use crate::formats::lines::{Lines, decode, quote};
use crate::formats::{Nominal, ReadOptions, Row, RowReader, Summary, open, same_labels, sort_labels};
use crate::{DataError, Names, Schema};

/// What an attribute's cells may hold.
enum Kind {
    Numeric,
    /// Position and number of each value.
    Nominal {
        values: HashMap<String, usize>,
        codes: Vec<f32>,
    },
    /// Text, dates: no use as a feature.
    Other(String),
}

struct Attribute {
    name: String,
    kind: Kind,
    line: usize,
}

/// Where a cell goes.
#[derive(Clone, Copy)]
enum Target {
    Feature(u32),
    /// First of the columns, one for each value.
    OneHot(u32),
    Label(u32),
    /// The known schema has no such feature.
    Ignored,
}

pub(super) struct Reader {
    lines: Lines,
    buffer: Vec<u8>,
    attributes: Vec<Attribute>,
    targets: Vec<Target>,
    /// Attributes whose value where a sparse row is silent is not 0, with that value's position.
    silent: Vec<usize>,
    schema: Schema,
    unknown_features: usize,
    unlabelled: bool,
    seen: Vec<bool>,
}

impl Reader {
    pub(super) fn new(mut lines: Lines, options: &ReadOptions, known: Option<&Schema>) -> Result<Self, DataError> {
        let (relation, attributes) = read_header(&mut lines)?;
        let labels = label_attributes(&lines, &relation, &attributes, options, known)?;
        let mut reader = Self {
            lines,
            buffer: Vec::new(),
            targets: Vec::with_capacity(attributes.len()),
            silent: Vec::new(),
            schema: Schema::default(),
            unknown_features: 0,
            unlabelled: options.unlabelled,
            seen: vec![false; attributes.len()],
            attributes,
        };
        reader.assign(&labels, options.nominal, known)?;
        Ok(reader)
    }

    /// Gives every attribute its columns.
    fn assign(
        &mut self,
        labels: &HashMap<String, u32>,
        nominal: Nominal,
        known: Option<&Schema>,
    ) -> Result<(), DataError> {
        let mut names = Names::default();
        let known_features = known.and_then(|k| k.feature_names.as_deref());
        for attribute in &self.attributes {
            if let Some(&label) = labels.get(&attribute.name) {
                self.targets.push(Target::Label(label));
                continue;
            }
            let columns: Vec<String> = match &attribute.kind {
                Kind::Other(kind) => {
                    let message =
                        format!("attribute `{}` is {kind}; features must be numeric or nominal", attribute.name);
                    return Err(self.lines.error_at(attribute.line, 0, message));
                }
                Kind::Nominal { values, codes } if nominal == Nominal::OneHot && *codes != [0.0, 1.0] => {
                    let mut ordered: Vec<(&String, &usize)> = values.iter().collect();
                    ordered.sort_by_key(|v| v.1);
                    ordered.iter().map(|(v, _)| format!("{}={v}", attribute.name)).collect()
                }
                _ => vec![attribute.name.clone()],
            };
            let first = match known_features {
                Some(known) => columns.first().and_then(|c| known.get(c)),
                None => {
                    let first = names.len() as u32;
                    for column in &columns {
                        if names.get(column).is_some() {
                            let message = format!("attribute `{}` stands twice", attribute.name);
                            return Err(self.lines.error_at(attribute.line, 0, message));
                        }
                        names.intern(column);
                    }
                    Some(first)
                }
            };
            self.targets.push(match first {
                None => {
                    self.unknown_features += 1;
                    Target::Ignored
                }
                Some(first) if columns.len() > 1 => Target::OneHot(first),
                Some(first) => Target::Feature(first),
            });
        }
        for (i, attribute) in self.attributes.iter().enumerate() {
            let one_hot = matches!(self.targets[i], Target::OneHot(_));
            if matches!(&attribute.kind, Kind::Nominal { codes, .. } if one_hot || codes.first() != Some(&0.0)) {
                self.silent.push(i);
            }
        }
        self.schema = known.cloned().unwrap_or_default();
        if known_features.is_none() {
            self.schema.features = names.len();
            self.schema.feature_names = Some(Arc::new(names));
        }
        if known.is_none_or(|k| k.label_names.is_none()) {
            let mut ordered: Vec<(&String, &u32)> = labels.iter().collect();
            ordered.sort_by_key(|l| l.1);
            self.schema.labels = ordered.len();
            self.schema.label_names = Some(Arc::new(ordered.iter().map(|l| l.0).collect()));
        }
        Ok(())
    }

    /// Puts the value of attribute `a` into the row.
    fn cell(&self, row: &mut Row, a: usize, text: &[u8], at: usize) -> Result<(), DataError> {
        let attribute = &self.attributes[a];
        let trimmed = text.trim_ascii();
        let missing = trimmed == b"?";
        let position = match &attribute.kind {
            Kind::Nominal { values, .. } if !missing => {
                let value = unquote(trimmed);
                Some(*values.get(&value).ok_or_else(|| {
                    let message = format!("`{value}` is no value of attribute `{}`", attribute.name);
                    self.lines.error(at, message)
                })?)
            }
            _ => None,
        };
        let number = match (&attribute.kind, position) {
            _ if missing => f32::NAN,
            (Kind::Nominal { codes, .. }, Some(position)) => codes[position],
            _ => self.number(trimmed, attribute, at)?,
        };
        match self.targets[a] {
            Target::Ignored => {}
            Target::OneHot(first) => match position {
                Some(position) => row.features.push((first + position as u32, 1.0)),
                None => row.features.push((first, f32::NAN)),
            },
            Target::Feature(column) if number != 0.0 => row.features.push((column, number)),
            Target::Feature(_) => {}
            Target::Label(label) => {
                if number == 1.0 {
                    row.labels.push(label);
                } else if number != 0.0 && !self.unlabelled {
                    let message = format!("label `{}` is {}, expected 0 or 1", attribute.name, quote(trimmed));
                    return Err(self.lines.error(at, message));
                }
            }
        }
        Ok(())
    }

    fn number(&self, text: &[u8], attribute: &Attribute, at: usize) -> Result<f32, DataError> {
        match fast_float2::parse::<f32, _>(text) {
            Ok(v) if v.is_finite() => Ok(v),
            Ok(_) => Err(self.lines.error(at, format!("{} is no finite number", quote(text)))),
            Err(_) => {
                let message = format!("{} is no number (attribute `{}`)", quote(text), attribute.name);
                Err(self.lines.error(at, message))
            }
        }
    }

    fn dense(&self, line: &[u8], row: &mut Row) -> Result<(), DataError> {
        let mut cells = Cells::new(line, b',');
        let mut a = 0;
        while let Some((at, text)) = cells.next() {
            if a == self.attributes.len() {
                let message = format!("more cells than the {} attributes", self.attributes.len());
                return Err(self.lines.error(at, message));
            }
            self.cell(row, a, text, at)?;
            a += 1;
        }
        if a < self.attributes.len() {
            let message = format!("{a} cells, expected {} attributes", self.attributes.len());
            return Err(self.lines.error(line.len(), message));
        }
        Ok(())
    }

    fn sparse(&mut self, line: &[u8], row: &mut Row) -> Result<(), DataError> {
        let Some(end) = line.iter().rposition(|&b| b == b'}') else {
            return Err(self.lines.error(line.len(), "the sparse row has no closing `}`"));
        };
        self.seen.fill(false);
        let mut cells = Cells::new(&line[..end], b',');
        cells.at = 1;
        while let Some((start, text)) = cells.next() {
            let lead = text.iter().take_while(|b| b.is_ascii_whitespace()).count();
            let (start, text) = (start + lead, text.trim_ascii());
            if text.is_empty() {
                continue;
            }
            let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
            let index = decode(&text[..digits]).parse::<usize>().ok().filter(|_| digits < text.len());
            let Some(index) = index.filter(|_| text[digits].is_ascii_whitespace()) else {
                return Err(self.lines.error(start, format!("{} is no `index value` pair", quote(text))));
            };
            if index >= self.attributes.len() {
                let message = format!("index {index} is beyond the {} attributes", self.attributes.len());
                return Err(self.lines.error(start, message));
            }
            if std::mem::replace(&mut self.seen[index], true) {
                return Err(self.lines.error(start, format!("index {index} stands twice in this row")));
            }
            self.cell(row, index, &text[digits..], start + digits + 1)?;
        }
        for &a in self.silent.iter().filter(|&&a| !self.seen[a]) {
            let (Target::Feature(_) | Target::OneHot(_) | Target::Label(_), Kind::Nominal { codes, .. }) =
                (self.targets[a], &self.attributes[a].kind)
            else {
                continue;
            };
            match self.targets[a] {
                Target::OneHot(first) => row.features.push((first, 1.0)),
                Target::Feature(column) => row.features.push((column, codes[0])),
                Target::Label(label) if codes[0] == 1.0 => row.labels.push(label),
                _ => {}
            }
        }
        Ok(())
    }
}

impl RowReader for Reader {
    fn next_row(&mut self, row: &mut Row) -> Result<bool, DataError> {
        row.features.clear();
        row.labels.clear();
        loop {
            if !self.lines.next(&mut self.buffer)? {
                return Ok(false);
            }
            let text = self.buffer.trim_ascii();
            if !text.is_empty() && text[0] != b'%' {
                break;
            }
        }
        let line = std::mem::take(&mut self.buffer);
        let lead = line.iter().take_while(|b| b.is_ascii_whitespace()).count();
        let result = match line.get(lead) {
            Some(b'{') => self.sparse(&line[lead..], row),
            _ => self.dense(&line, row),
        };
        self.buffer = line;
        result?;
        row.features.sort_unstable_by_key(|e| e.0);
        if let Err(label) = sort_labels(&mut row.labels) {
            return Err(self.lines.error(0, format!("label {label} stands twice")));
        }
        Ok(true)
    }

    fn finish(&mut self) -> Result<Summary, DataError> {
        let schema = self.schema.clone();
        Ok(Summary { schema, shift_down: false, unknown_features: self.unknown_features })
    }
}

/// Cells between separators that are not inside quotes, with their byte offsets.
struct Cells<'a> {
    line: &'a [u8],
    at: usize,
    separator: u8,
    done: bool,
}

impl<'a> Cells<'a> {
    fn new(line: &'a [u8], separator: u8) -> Self {
        Self { line, at: 0, separator, done: false }
    }

    fn next(&mut self) -> Option<(usize, &'a [u8])> {
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
fn unquote(text: &[u8]) -> String {
    let text = decode(text);
    let text = text.trim();
    match ['\'', '"'].iter().find_map(|&q| text.strip_prefix(q)?.strip_suffix(q)) {
        Some(body) => unescape(body),
        None => text.to_owned(),
    }
}

fn unescape(text: &str) -> String {
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

/// Everything before `@data`: the relation's name and the attributes.
fn read_header(lines: &mut Lines) -> Result<(String, Vec<Attribute>), DataError> {
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

/// Which attributes are labels, and the index of each.
fn label_attributes(
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
