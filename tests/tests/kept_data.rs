//! Data kept in binary files between runs, as a user meets it.

use tests::Workspace;

const CONFIG: &str = "[data]\ntrain = \"big.txt\"\ntest = 0.2\nvalidation = 0.1\nscale = \"tfidf\"\n[model]\nkind = \"mlp\"\nhidden = [8]\n\
                      [train]\nepochs = 1\n";
const ARGUMENTS: &[&str] = &["--backend", "flex", "--config", "c.toml", "--force"];

#[test]
fn the_second_run_maps_what_the_first_one_read() {
    let w = Workspace::default();
    w.ok(&[
        "data",
        "generate",
        "big.txt",
        "--instances",
        "16000",
        "--features",
        "3000",
        "--labels",
        "20",
        "--active",
        "60",
    ]);
    assert!(std::fs::metadata(w.path("big.txt")).unwrap().len() > 4 << 20);
    w.file("c.toml", CONFIG);
    let run = |out: &str, more: &[&str]| w.ok(&[ARGUMENTS, &["--out", out], more].concat()).err;
    let (read, kept) = ("data as it was read before, from ", "data kept for the next start: ");
    let first = run("first", &[]);
    assert!(first.contains(kept) && !first.contains(read), "{first}");
    let second = run("second", &[]);
    assert!(second.contains(read) && !second.contains(kept), "{second}");
    assert_eq!(w.timeless_events("first"), w.timeless_events("second"));
    let metrics = |run: &str| w.json(&format!("{run}/metrics.json"))["split"].clone();
    assert_eq!(metrics("first"), metrics("second"));
    assert_eq!(w.json("first/environment.json")["data_sha256"], w.json("second/environment.json")["data_sha256"]);

    // Another seed splits otherwise: another entry. Without the cache there is none.
    let other = run("other", &["--set", "seed=1"]);
    assert!(other.contains(kept) && !other.contains(read), "{other}");
    let without = run("without", &["--set", "data.cache=false"]);
    assert!(!without.contains(read) && !without.contains(kept), "{without}");
    assert_eq!(w.timeless_events("first"), w.timeless_events("without"));

    // A damaged entry is named, not used, and made anew.
    let entries = || std::fs::read_dir(w.path("cache/data")).unwrap().map(|e| e.unwrap().path());
    assert_eq!(entries().count(), 2);
    for entry in entries() {
        let rows = entry.join("train.rows");
        let mut bytes = std::fs::read(&rows).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&rows, bytes).unwrap();
    }
    let damaged = run("damaged", &[]);
    assert!(damaged.contains("corrupted: its checksum does not fit: the data is read from its files"), "{damaged}");
    assert!(damaged.contains(kept) && run("mended", &[]).contains(read));
    assert_eq!(w.timeless_events("first"), w.timeless_events("mended"));

    // A changed file is other data.
    let mut text = std::fs::read_to_string(w.path("big.txt")).unwrap();
    let last = text.trim_end().rfind('\n').unwrap();
    text.truncate(last + 1);
    w.file("big.txt", &text.replacen("16000 ", "15999 ", 1));
    let changed = run("changed", &[]);
    assert!(changed.contains(kept) && !changed.contains(read), "{changed}");
}
