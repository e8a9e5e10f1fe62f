//! Readers on good files, on bad ones, and on anything at all.

use std::io::Write;
use std::path::{Path, PathBuf};

use data::formats::{Format, ReadOptions, read, read_together, write};
use data::generate::{Recipe, dataset};
use data::statistics::Statistics;
use data::{Dataset, LabelRows};
use proptest::prelude::*;

fn file(folder: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn read_text(name: &str, content: &str) -> Result<Dataset, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), name, content.as_bytes());
    read(&path, &ReadOptions::default(), None).map_err(|e| e.to_string().replace(&path.display().to_string(), name))
}

fn labels(rows: &LabelRows) -> Vec<Vec<u32>> {
    rows.rows().map(<[u32]>::to_vec).collect()
}

#[test]
fn svmlight_with_header_counts_features_from_0() {
    let set = read_text("a.txt", "3 4 5\n0,4 0:1 3:0.5\n 1:2\n2 2:-1e-1\n").unwrap();
    assert_eq!((set.schema.features, set.schema.labels), (4, 5));
    assert_eq!(labels(&set.labels), [vec![0, 4], vec![], vec![2]]);
    assert_eq!(set.features.row(0), (&[0, 3][..], &[1.0, 0.5][..]));
    assert_eq!(set.features.row(2), (&[2][..], &[-0.1][..]));
}

#[test]
fn svmlight_without_header_counts_features_from_1_unless_a_0_is_there() {
    let one = read_text("a.txt", "0 1:1 3:1\n1 2:1 # comment\n").unwrap();
    assert_eq!((one.schema.features, one.schema.one_based), (3, Some(true)));
    assert_eq!(one.features.row(0).0, [0, 2]);
    let zero = read_text("a.txt", "0 0:1 3:1\n1 2:1\n").unwrap();
    assert_eq!((zero.schema.features, zero.schema.one_based), (4, Some(false)));
}

#[test]
fn mulan_arff_dense_and_sparse_agree() {
    let head = "@relation x\n@attribute 'a b' numeric\n@attribute c {0,1}\n@attribute 'l\\'1' {0,1}\n@attribute l2 {0,1}\n@data\n";
    let xml = "<?xml version=\"1.0\"?><labels><label name=\"l'1\"></label><label name='l2'/></labels>";
    let folder = tempfile::tempdir().unwrap();
    let options = ReadOptions { labels: Some(file(folder.path(), "x.xml", xml.as_bytes())), ..ReadOptions::default() };
    let dense = file(folder.path(), "d.arff", format!("{head}1.5, 0, 1, 0\n% comment\n0,1,0,1\n").as_bytes());
    let sparse = file(folder.path(), "s.arff", format!("{head}{{0 1.5, 2 1}}\n{{1 1,3 1}}\n").as_bytes());
    let (dense, sparse) = (read(&dense, &options, None).unwrap(), read(&sparse, &options, None).unwrap());
    assert_eq!(dense, sparse);
    assert_eq!(labels(&dense.labels), [vec![0], vec![1]]);
    assert_eq!(dense.schema.feature_names.as_ref().unwrap().list(), ["a b", "c"]);
    assert_eq!(dense.schema.label_names.as_ref().unwrap().list(), ["l'1", "l2"]);
}

#[test]
fn meka_relations_say_which_end_the_labels_are_on() {
    let body = "@attribute a {0,1}\n@attribute b {0,1}\n@attribute c numeric\n@data\n1,0,2.5\n";
    let first = read_text("m.arff", &format!("@relation 'set: -C 2'\n{body}")).unwrap();
    assert_eq!((labels(&first.labels), first.features.row(0).1), (vec![vec![0]], &[2.5][..]));
    let last = "@relation 'set: -C -1'\n@attribute c numeric\n@attribute a {0,1}\n@data\n2.5,1\n";
    assert_eq!(labels(&read_text("m.arff", last).unwrap().labels), [vec![0]]);
}

#[test]
fn a_sparse_row_silent_about_a_nominal_means_its_first_value() {
    let text = "@relation 'x: -C 1'\n@attribute l {0,1}\n@attribute c {3,0}\n@data\n{0 1}\n{1 0}\n";
    let set = read_text("x.arff", text).unwrap();
    assert_eq!((set.features.row(0).1, set.features.row(1).1), (&[3.0][..], &[][..]));
}

#[test]
fn missing_values_are_counted() {
    let text = "@relation 'x: -C 1'\n@attribute l {0,1}\n@attribute c numeric\n@data\n1,?\n0,2\n";
    assert_eq!(read_text("x.arff", text).unwrap().missing, 1);
    assert_eq!(read_text("x.csv", "a,labels\n,x\n2,y\n").unwrap().missing, 1);
    assert_eq!(read_text("x.jsonl", "{\"features\":[null,1],\"labels\":[0]}\n").unwrap().missing, 1);
}

#[test]
fn jsonl_and_csv_hold_the_same_set() {
    let json = read_text(
        "x.jsonl",
        "{\"features\":{\"u\":1,\"v\":2.5},\"labels\":[\"cat\",\"dog\"]}\n{\"features\":{\"v\":1}}\n",
    );
    let csv = read_text("x.csv", "u,v,labels\n1,2.5,cat;dog\n0,1,\n");
    assert_eq!(json.unwrap(), csv.unwrap());
    let columns = ReadOptions { label_columns: vec!["cat".into(), "dog".into()], ..ReadOptions::default() };
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "c.tsv", b"u\tv\tcat\tdog\n1\t2.5\t1\t1\n0\t1\t0\t0\n");
    let tsv = read(&path, &columns, None).unwrap();
    assert_eq!((tsv.features.row(0).1, labels(&tsv.labels)), (&[1.0, 2.5][..], vec![vec![0, 1], vec![]]));
}

#[test]
fn packed_files_open_as_they_are() {
    let text = b"0 1:1\n1 2:1\n".repeat(1000);
    let folder = tempfile::tempdir().unwrap();
    let plain = read(&file(folder.path(), "p.txt", &text), &ReadOptions::default(), None).unwrap();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&text).unwrap();
    let mut bz = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bz.write_all(&text).unwrap();
    let mut xz = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
    xz.write_all(&text).unwrap();
    let zst = ruzstd::encoding::compress_to_vec(&text[..], ruzstd::encoding::CompressionLevel::Fastest);
    let packed =
        [("gz", gz.finish().unwrap()), ("bz2", bz.finish().unwrap()), ("xz", xz.finish().unwrap()), ("zst", zst)];
    for (extension, bytes) in packed {
        let path = file(folder.path(), &format!("p.txt.{extension}"), &bytes);
        assert_eq!(read(&path, &ReadOptions::default(), None).unwrap(), plain, "{extension}");
        let cut = file(folder.path(), &format!("cut.txt.{extension}"), &bytes[..bytes.len() - 12]);
        let error = read(&cut, &ReadOptions::default(), None).unwrap_err().to_string();
        assert!(error.contains("compressed file is"), "{extension}: {error}");
    }
}

#[test]
fn latin_1_names_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(
        folder.path(),
        "x.arff",
        b"@relation 'x: -C 1'\n@attribute caf\xe9 {0,1}\n@attribute b numeric\n@data\n1,2\n",
    );
    let set = read(&path, &ReadOptions::default(), None).unwrap();
    assert_eq!(set.schema.label_name(0), "café");
}

#[test]
fn each_mistake_has_its_place_and_its_words() {
    let cases = [
        ("a.txt", "", "a.txt: the file is empty"),
        ("a.txt", "# nothing\n", "a.txt: no instances"),
        ("a.txt", "3 4 2\n0 1:1\n", "a.txt:1:1: the header says 3 instances, the file has 1"),
        ("a.txt", "1 4 2\n0 1:1\n1 2:1\n", "a.txt:3:1: more instances than the header's 1"),
        ("a.txt", "1 4 2\n0 9:1\n", "a.txt:2:3: feature index 9 is beyond the header's 4 features"),
        ("a.txt", "1 4 2\n0,7 1:1\n", "a.txt:2:3: label index 7 is beyond the header's 2 labels (0 to 1)"),
        ("a.txt", "1 4 0\n1:1\n", "a.txt:1:1: the header says 0 labels"),
        ("a.txt", "0 1:1 2:x\n", "a.txt:1:9: `x` is no number"),
        ("a.txt", "0 1:nan\n", "a.txt:1:5: `nan` is no finite number"),
        ("a.txt", "0 1:1e999\n", "a.txt:1:5: `1e999` is no finite number"),
        ("a.txt", "0 3:1 1:1 3:2\n", "a.txt:1:11: feature 3 stands twice in this row"),
        ("a.txt", "0,0 1:1\n", "a.txt:1:1: label 0 stands twice"),
        ("a.txt", "0 1\n", "a.txt:1:3: `1` is no feature, expected index:value"),
        ("a.txt", "x 1:1\n", "a.txt:1:1: `x` is no label index"),
        (
            "a.arff",
            "@relation x\n@attribute a numeric\n@data\n1\n",
            "a.arff: which attributes are labels? give the Mulan XML file (data.labels), or a MEKA relation with -C n",
        ),
        (
            "a.arff",
            "@relation 'x: -C 1'\n@attribute a {0,1}\n@attribute b numeric\n@data\n1\n",
            "a.arff:5:2: 1 cells, expected 2 attributes",
        ),
        (
            "a.arff",
            "@relation 'x: -C 1'\n@attribute a {0,1}\n@attribute b numeric\n@data\n1,z\n",
            "a.arff:5:3: `z` is no number (attribute `b`)",
        ),
        (
            "a.arff",
            "@relation 'x: -C 1'\n@attribute a {0,1}\n@attribute b {u,v}\n@data\n{0 1,1 w}\n",
            "a.arff:5:8: `w` is no value of attribute `b`",
        ),
        (
            "a.arff",
            "@relation 'x: -C 1'\n@attribute a {0,1}\n@attribute b string\n@data\n1,z\n",
            "a.arff:3:1: attribute `b` is string; features must be numeric or nominal",
        ),
        (
            "a.arff",
            "@relation 'x: -C 9'\n@attribute a {0,1}\n@data\n1\n",
            "a.arff: -C 9 in the relation, but there are 1 attributes",
        ),
        ("a.arff", "@relation x\n", "a.arff: no @data line: not an ARFF file, or cut short"),
        ("a.csv", "a,b\n1,2\n", "a.csv:1:1: no column `labels`; set data.label_column or data.label_columns"),
        ("a.csv", "a,labels\nx,y\n", "a.csv:2:1: `x` is no number (column `a`)"),
        ("a.csv", "a,labels\n1,2,3\n", "a.csv:2:1: 3 cells, the header has 2"),
        ("a.csv", "a,labels\ninf,y\n", "a.csv:2:1: `inf` is no finite number"),
        ("a.csv", "a,labels\n1,\n", "a.csv: 0 labels"),
        (
            "a.jsonl",
            "{\"features\": 3}\n",
            "a.jsonl:1:14: invalid type: integer `3`, expected an object or a list of numbers; expected {\"features\": …, \"labels\": […]}",
        ),
        (
            "a.jsonl",
            "{\"features\":{\"a\":1,\"a\":2},\"labels\":[0]}\n",
            "a.jsonl:1:1: feature `a` stands twice in this row",
        ),
        (
            "a.jsonl",
            "{\"features\":{\"a\":1e39},\"labels\":[0]}\n",
            "a.jsonl:1:21: number out of range; expected {\"features\": …, \"labels\": […]}",
        ),
    ];
    for (name, text, expected) in cases {
        assert_eq!(read_text(name, text).unwrap_err(), expected, "{text:?}");
    }
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let arff = |names: &str| format!("@relation 'x: -C 2'\n{names}@attribute f numeric\n@data\n1,0,1\n");
    let a = file(folder.path(), "a.arff", arff("@attribute p {0,1}\n@attribute q {0,1}\n").as_bytes());
    let b = file(folder.path(), "b.arff", arff("@attribute p {0,1}\n@attribute r {0,1}\n").as_bytes());
    let error = read_together(&[&a, &b], &ReadOptions::default()).unwrap_err().to_string();
    assert!(error.ends_with("b.arff: label 1 is `r` here and `q` in the training data"), "{error}");
    let a = file(folder.path(), "a.txt", b"1 2 3\n0 0:1\n");
    let b = file(folder.path(), "b.txt", b"1 2 4\n0 0:1\n");
    let error = read_together(&[&a, &b], &ReadOptions::default()).unwrap_err().to_string();
    assert!(error.ends_with("b.txt:1:1: the header says 4 labels, the training data has 3"), "{error}");
    let missing = read(&folder.path().join("none.txt"), &ReadOptions::default(), None).unwrap_err().to_string();
    assert!(missing.ends_with("none.txt: no such file"), "{missing}");
    let directory = read(folder.path(), &ReadOptions::default(), None).unwrap_err().to_string();
    assert!(directory.ends_with("is a directory, expected a data file"), "{directory}");
}

#[test]
fn an_xml_label_that_the_arff_lacks_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let xml = file(folder.path(), "x.xml", b"<labels><label name=\"q\"/></labels>");
    let arff = file(folder.path(), "x.arff", b"@relation x\n@attribute a numeric\n@data\n1\n");
    let options = ReadOptions { labels: Some(xml), ..ReadOptions::default() };
    let error = read(&arff, &options, None).unwrap_err().to_string();
    assert!(error.contains("x.xml: label `q` is no attribute of ") && error.ends_with("x.arff"), "{error}");
}

#[test]
fn what_is_written_reads_back_the_same() {
    let made = dataset(&Recipe { instances: 60, features: 30, labels: 8, ..Recipe::default() }).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made.txt");
    write(&path, Format::Svmlight, &made).unwrap();
    let back = read(&path, &ReadOptions::default(), None).unwrap();
    assert_eq!((&back.features, &back.labels), (&made.features, &made.labels));
    for name in ["made.jsonl", "made.csv", "made.tsv"] {
        let path = folder.path().join(name);
        write(&path, Format::from_path(&path).unwrap(), &made).unwrap();
        let back = read(&path, &ReadOptions::default(), None).unwrap();
        assert_eq!((back.len(), back.features.nnz(), back.labels.nnz()), (60, made.features.nnz(), made.labels.nnz()));
    }
}

/// The folder of the real data sets, or a word that says what is skipped.
fn real_data() -> Option<PathBuf> {
    let folder = std::env::var_os("LONGTAIL_DATA").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("SKIPPED: LONGTAIL_DATA is not set, no real data to read");
    }
    folder
}

fn mulan(folder: &Path, name: &str, file: &str) -> Dataset {
    let labels = folder.join(name).join(format!("{file}.xml.gz"));
    let options = ReadOptions { labels: Some(labels), ..ReadOptions::default() };
    let path = |part: &str| folder.join(name).join(format!("{file}-{part}.arff.gz"));
    let (train, test) = (path("train"), path("test"));
    let sets = read_together(&[&train, &test], &options).unwrap();
    let mut all = sets[0].clone();
    for i in 0..sets[1].len() {
        let (indices, values) = sets[1].features.row(i);
        let row: Vec<(u32, f32)> = indices.iter().copied().zip(values.iter().copied()).collect();
        all.features.push(&row);
        all.labels.push(sets[1].labels.row(i));
    }
    all
}

#[test]
fn real_sets_have_their_published_figures() {
    let Some(folder) = real_data() else { return };
    // instances, features, labels, cardinality, density, negatives %, mean IR: over all instances.
    let expected = [
        ("flags", 194, 19, 7, 3.392, 0.4845, 0.0, 2.3),
        ("emotions", 593, 72, 6, 1.868, 0.3114, 0.0, 1.5),
        ("birds", 645, 260, 19, 1.014, 0.0534, 45.58, 5.4),
        ("yeast", 2417, 103, 14, 4.237, 0.3026, 0.0, 7.2),
        ("scene", 2407, 294, 6, 1.074, 0.179, 0.0, 1.3),
        ("enron", 1702, 1001, 53, 3.378, 0.0637, 0.0, 74.0),
        ("medical", 978, 1449, 45, 1.245, 0.0277, 0.0, 89.5),
        ("bibtex", 7395, 1836, 159, 2.402, 0.0151, 0.0, 12.5),
        ("delicious", 16105, 500, 983, 19.02, 0.0193, 0.09, 71.1),
    ];
    for (name, n, d, l, cardinality, density, negatives, ir) in expected {
        let s = Statistics::of(&mulan(&folder, name, name));
        assert_eq!((s.instances, s.features, s.labels), (n, d, l), "{name}");
        for (found, expected, unit) in [
            (s.cardinality, cardinality, 0.001),
            (s.density, density, 0.0001),
            (100.0 * s.negatives, negatives, 0.01),
            (s.mean_ir, ir, 0.1),
        ] {
            assert!((found - expected).abs() <= unit / 2.0 + 1e-9, "{name}: {found}, expected {expected}");
        }
    }
}

#[test]
fn the_svmlight_copy_of_yeast_is_the_arff_one() {
    let Some(folder) = real_data() else { return };
    let arff = mulan(&folder, "yeast", "yeast");
    let path = |part: &str| folder.join("yeast-svmlight").join(format!("yeast_{part}.txt.gz"));
    let (train, test) = (path("train"), path("test"));
    let svm = read_together(&[&train, &test], &ReadOptions::default()).unwrap();
    let rows = svm.iter().flat_map(|s| (0..s.len()).map(move |i| (s.features.row(i), s.labels.row(i))));
    let mut count = 0;
    for (i, (features, labels)) in rows.enumerate() {
        // An explicit zero is stored by one format and left out by the other.
        let kept: Vec<(u32, f32)> =
            features.0.iter().copied().zip(features.1.iter().copied()).filter(|e| e.1 != 0.0).collect();
        let (indices, values) = arff.features.row(i);
        let expected: Vec<(u32, f32)> = indices.iter().copied().zip(values.iter().copied()).collect();
        assert_eq!((kept, labels), (expected, arff.labels.row(i)), "instance {i}");
        count += 1;
    }
    assert_eq!((count, svm[0].schema.features, svm[0].schema.labels), (2417, 103, 14));
}

const GOOD: &[(&str, &str)] = &[
    ("g.txt", "3 4 5\n0,4 0:1 3:0.5\n 1:2\n2 2:-1e-1\n"),
    (
        "g.arff",
        "@relation 'x: -C 1'\n@attribute 'a b' {0,1}\n@attribute c {u,'v w'}\n@attribute d numeric\n@data\n1,u,2\n{0 1,1 'v w',2 ?}\n",
    ),
    ("g.jsonl", "{\"features\":{\"u\":1,\"v\":2.5},\"labels\":[\"cat\"]}\n{\"features\":{},\"labels\":[]}\n"),
    ("g.csv", "u,v,labels\n1,\"2.5\",\"cat;dog\"\n0,,\n"),
    ("g.tsv", "u\tlabels\n1\tcat\n"),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_bytes_make_a_reader_panic(which in 0usize..5, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path(), GOOD[which].0, &bytes);
        let _ = read(&path, &ReadOptions::default(), None);
    }

    #[test]
    fn no_mutation_of_a_good_file_makes_a_reader_panic(
        which in 0usize..5,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..6),
        unlabelled in any::<bool>(),
    ) {
        let (name, text) = GOOD[which];
        let mut bytes = text.as_bytes().to_vec();
        for (at, byte, kind) in edits {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ if bytes.len() > 1 => { bytes.remove(at); }
                _ => {}
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path(), name, &bytes);
        let known = read(&file(folder.path(), &format!("good-{name}"), text.as_bytes()), &ReadOptions::default(), None).unwrap();
        let _ = read(&path, &ReadOptions::default(), None);
        let _ = read(&path, &ReadOptions { unlabelled, ..ReadOptions::default() }, Some(&known.schema));
    }
}
