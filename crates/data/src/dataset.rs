//! The one shape of data that everything downstream takes.

use std::collections::HashMap;
use std::sync::Arc;

use crate::{FeatureRows, LabelRows};

/// Names in index order, with look-up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    list: Vec<String>,
    index: HashMap<String, u32>,
}

impl Names {
    /// The index of `name`.
    pub fn get(&self, name: &str) -> Option<u32> {
        self.index.get(name).copied()
    }

    /// The index of `name`, which is added if new.
    pub fn intern(&mut self, name: &str) -> u32 {
        match self.index.get(name) {
            Some(&i) => i,
            None => {
                let i = self.list.len() as u32;
                self.list.push(name.to_owned());
                self.index.insert(name.to_owned(), i);
                i
            }
        }
    }

    /// The names in index order.
    pub fn list(&self) -> &[String] {
        &self.list
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl<S: AsRef<str>> FromIterator<S> for Names {
    fn from_iter<I: IntoIterator<Item = S>>(iter: I) -> Self {
        let mut names = Self::default();
        for name in iter {
            names.intern(name.as_ref());
        }
        names
    }
}

/// What the columns of a data set are: how many, and their names where known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Schema {
    /// Number of features.
    pub features: usize,
    /// Number of labels.
    pub labels: usize,
    /// Feature names, where the format has them.
    pub feature_names: Option<Arc<Names>>,
    /// Label names, where the format has them.
    pub label_names: Option<Arc<Names>>,
    /// svmlight only: whether feature indices in the file count from 1.
    pub one_based: Option<bool>,
}

impl Schema {
    /// The same with only the given labels. Labels without names get their old indices for names.
    pub fn keep_labels(&self, kept: &[u32]) -> Self {
        let names: Names = kept.iter().map(|&l| self.label_name(l as usize)).collect();
        Self { labels: kept.len(), label_names: Some(Arc::new(names)), ..self.clone() }
    }

    /// The name of label `l`, or its index where labels have no names.
    pub fn label_name(&self, l: usize) -> String {
        match &self.label_names {
            Some(names) => names.list()[l].clone(),
            None => l.to_string(),
        }
    }
}

/// Features and labels of N instances, with what is known of their columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// `[N, features]`.
    pub features: FeatureRows,
    /// `[N, labels]`.
    pub labels: LabelRows,
    /// Names and counts of the columns.
    pub schema: Schema,
    /// Entries given as missing (`?`, `null`, an empty cell).
    pub missing: usize,
    /// Entries whose feature name the known schema lacks; they were left out.
    pub unknown_features: usize,
}

impl Dataset {
    /// Number of instances.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// True without any instance.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The given instances, in the given order.
    pub fn select(&self, rows: &[usize]) -> Self {
        Self {
            features: self.features.select(rows),
            labels: self.labels.select(rows),
            schema: self.schema.clone(),
            missing: self.missing,
            unknown_features: self.unknown_features,
        }
    }

    /// Appends the instances of `other`, which must have the same columns.
    pub fn append(&mut self, other: &Self) {
        for i in 0..other.len() {
            let (indices, values) = other.features.row(i);
            let row: Vec<(u32, f32)> = indices.iter().copied().zip(values.iter().copied()).collect();
            self.features.push(&row);
            self.labels.push(other.labels.row(i));
        }
        self.missing += other.missing;
        self.unknown_features += other.unknown_features;
    }

    /// Keeps the given labels, ascending, and leaves out all others.
    pub fn keep_labels(&mut self, kept: &[u32]) {
        let mut place = vec![None; self.labels.columns()];
        (0u32..).zip(kept).for_each(|(new, &old)| place[old as usize] = Some(new));
        let mut labels = LabelRows::new(kept.len());
        for row in self.labels.rows() {
            labels.push(&row.iter().filter_map(|&l| place[l as usize]).collect::<Vec<_>>());
        }
        self.labels = labels;
        self.schema = self.schema.keep_labels(kept);
    }

    /// Widens the label columns to `schema`, which must extend this data set's own.
    pub fn widen_labels(&mut self, schema: &Schema) {
        self.labels.set_columns(schema.labels);
        self.schema.labels = schema.labels;
        self.schema.label_names.clone_from(&schema.label_names);
    }
}
