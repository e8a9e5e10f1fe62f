//! The banks against brute force in 64 bits, ties included; memory limits; one query against many.

use burn::tensor::Device;
use data::{FeatureRows, LabelRows};
use losses::neighbours::{DenseBank, LabelBank, MemoryLimit, Neighbours, SparseBank};
use proptest::prelude::*;

const LIMIT: MemoryLimit = MemoryLimit { mebibytes: 64 };

/// All rows by descending cosine, then index, those with a positive similarity; the first k of them.
fn brute_force(rows: &FeatureRows, query: &[f32], k: usize, own: Option<usize>) -> Vec<(u32, f64)> {
    let width = rows.columns();
    let dense = rows.to_dense();
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    let length = |a: &[f32]| dot(a, a).sqrt();
    let mut all: Vec<(f64, usize)> = (0..rows.len())
        .filter(|j| Some(*j) != own)
        .map(|j| {
            let row = &dense[j * width..(j + 1) * width];
            let scale = length(row) * length(query);
            (if scale > 0.0 { dot(row, query) / scale } else { 0.0 }, j)
        })
        .filter(|s| s.0 > 0.0)
        .collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    all.truncate(k);
    let total: f64 = all.iter().map(|s| s.0).sum();
    all.iter().map(|s| (s.1 as u32, s.0 / total)).collect()
}

fn same(found: &Neighbours, i: usize, expected: &[(u32, f64)]) {
    let (rows, weights) = found.of(i);
    assert_eq!(rows, expected.iter().map(|e| e.0).collect::<Vec<_>>(), "query {i}");
    for (w, e) in weights.iter().zip(expected) {
        assert!((f64::from(*w) - e.1).abs() < 1e-6, "query {i}: {w} against {}", e.1);
    }
}

/// Rows whose values come from few numbers: many of them are equal, or equally similar.
fn rows() -> impl Strategy<Value = FeatureRows> {
    let value = prop_oneof![3 => Just(0.0f32), 1 => Just(1.0f32), 1 => Just(-0.5f32), 1 => -2.0f32..2.0];
    proptest::collection::vec(proptest::collection::vec(value, 6), 3..60).prop_map(|all| {
        let mut out = FeatureRows::new(6);
        for row in &all {
            let entries: Vec<(u32, f32)> = (0..).zip(row.iter().copied()).filter(|e| e.1 != 0.0).collect();
            out.push(&entries);
        }
        out
    })
}

proptest! {
    #[test]
    fn both_banks_find_what_brute_force_finds(rows in rows(), k in 1usize..8) {
        let device = Device::flex();
        let all: Vec<usize> = (0..rows.len()).collect();
        let dense = rows.to_dense();
        let bank = DenseBank::new(dense.clone(), 6, &device, LIMIT).unwrap();
        let sparse = SparseBank::new(&rows, LIMIT).unwrap();
        for own in [None, Some(&all[..])] {
            let by_matmul = bank.nearest(&dense, k, own, &device);
            let by_products = sparse.nearest(&rows, k, own);
            for i in 0..rows.len() {
                let expected = brute_force(&rows, &dense[i * 6..(i + 1) * 6], k, own.map(|o| o[i]));
                same(&by_matmul, i, &expected);
                same(&by_products, i, &expected);
            }
        }
    }

    #[test]
    fn a_label_bank_ranks_by_the_summed_probabilities(
        truth in proptest::collection::vec(proptest::collection::btree_set(0u32..5, 0..4), 3..30),
        p in proptest::collection::vec(0.0f32..1.0, 10),
        k in 1usize..6,
    ) {
        let mut labels = LabelRows::new(5);
        truth.iter().for_each(|t| labels.push(&t.iter().copied().collect::<Vec<_>>()));
        let found = LabelBank::new(&labels).nearest(&p, k, Some(&[0, 1]));
        for i in 0..2 {
            let sum = |j: usize| labels.row(j).iter().map(|&l| f64::from(p[i * 5 + l as usize])).sum::<f64>();
            let mut all: Vec<(f64, usize)> = (0..labels.len()).filter(|j| *j != i).map(|j| (sum(j), j)).collect();
            all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            all.retain(|s| s.0 > 0.0);
            all.truncate(k);
            let total: f64 = all.iter().map(|s| s.0).sum();
            same(&found, i, &all.iter().map(|s| (s.1 as u32, s.0 / total)).collect::<Vec<_>>());
        }
    }
}

/// Rows that differ little, more than a block of the bank and of the queries holds.
fn many(count: usize) -> FeatureRows {
    let mut out = FeatureRows::new(8);
    for i in 0..count {
        let row: Vec<(u32, f32)> =
            (0..8).map(|c| (c, ((i * 31 + c as usize * 17) % 997) as f32 / 997.0 + 0.1)).collect();
        out.push(&row);
    }
    out
}

#[test]
fn blocks_of_bank_and_queries_change_nothing() {
    let device = Device::flex();
    let rows = many(17_000);
    let dense = rows.to_dense();
    let bank = DenseBank::new(dense.clone(), 8, &device, LIMIT).unwrap();
    let queries = &dense[..1_200 * 8];
    let found = bank.nearest(queries, 5, None, &device);
    for i in [0, 1, 511, 512, 1_199] {
        let query = &queries[i * 8..(i + 1) * 8];
        same(&found, i, &brute_force(&rows, query, 5, None));
        let alone = bank.nearest(query, 5, None, &device);
        assert_eq!(alone.of(0), found.of(i));
    }
}

#[test]
fn a_bank_beyond_its_memory_is_refused_with_what_it_needs() {
    let rows = many(40_000);
    let limit = MemoryLimit { mebibytes: 1 };
    let error = DenseBank::new(rows.to_dense(), 8, &Device::flex(), limit).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("loss.memory_limit = 1 MiB is too little for the bank of 40000 training rows: "),
        "{text}"
    );
    assert!(text.ends_with("at least 3 MiB are needed, in chunks"), "{text}");
    assert!(DenseBank::new(rows.to_dense(), 8, &Device::flex(), MemoryLimit { mebibytes: 3 }).is_ok());
    assert!(SparseBank::new(&rows, limit).is_err());
}
