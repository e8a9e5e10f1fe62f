//! Pages and event files, as a browser and other tools read them.

use std::path::{Path, PathBuf};
use std::process::Command;

use tests::{SMALL, Workspace};

/// A browser without a window; says so and returns none where there is none.
fn browser() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = names.iter().map(|n| Path::new("/usr/bin").join(n)).find(|p| p.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: no chromium, pages are not opened in a browser");
    }
    found
}

/// Opens a page with `script` run at its end; returns the title that the script set.
fn title_after(browser: &Path, w: &Workspace, page: &str, script: &str) -> String {
    let html = std::fs::read_to_string(w.path(page)).unwrap();
    let copy = w.file("opened.html", &format!("{html}<script>{script}</script>"));
    let profile = w.path("profile");
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("file://{}", copy.display()))
        .env("HOME", w.path(""))
        .output()
        .unwrap();
    let (dom, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!log.contains("CONSOLE") || !log.contains("Uncaught"), "{page}: {log}");
    let title = dom.split("<title>").nth(1).and_then(|t| t.split("</title>").next()).unwrap_or_default();
    title.to_owned()
}

#[test]
fn pages_hold_what_they_should_sort_and_search() {
    let w = Workspace::default();
    let more = ["--set", "thresholds.method=per_label", "--set", "data.validation=0.3", "--set", "train.epochs=8"];
    w.ok(&[SMALL, &more, &["--out", "a"]].concat());
    w.ok(&[SMALL, &more, &["--set", "loss.kind=any_class", "--out", "b"]].concat());
    let html = std::fs::read_to_string(w.path("a/report.html")).unwrap();
    for words in [
        "On the test split: macro-F1 <b>",
        "labels that occur are never predicted",
        "precision against recall",
        "threshold by training positives",
        "Labels in the place of others",
        "reliability, test",
        "train --config config.toml --backend flex",
        "prefers-color-scheme:dark",
        "name=\"viewport\"",
    ] {
        assert!(html.contains(words), "no {words}");
    }
    let said = w.ok(&["report", "a", "b", "--output", "both.html"]).out;
    assert_eq!(said, "report: both.html\n");
    let both = std::fs::read_to_string(w.path("both.html")).unwrap();
    for words in ["loss.kind", "&quot;any_class&quot;", "validation: f1_macro", "class=\"best\""] {
        assert!(both.contains(words), "no {words}");
    }
    assert_eq!(w.run(&["report", "a", "none"]).error(), "error: none: no run here (no config.toml)");

    let Some(browser) = browser() else { return };
    // By training positives, the second column: falling at the second click.
    let click = "const h=document.querySelector('#labels th:nth-child(2)');h.click();h.click();\
                 document.title=[...document.querySelectorAll('#labels tbody tr')].map(r=>r.cells[1].textContent).join(' ');";
    let numbers: Vec<usize> =
        title_after(&browser, &w, "a/report.html", click).split(' ').map(|n| n.parse().unwrap()).collect();
    assert_eq!(numbers.len(), 12);
    assert!(numbers.is_sorted_by(|a, b| a >= b), "{numbers:?}");
    let search = "const f=document.querySelector('input[data-table=metrics]');f.value='f1_ma';f.oninput();\
                  document.title=[...document.querySelectorAll('#metrics tbody tr')].filter(r=>!r.hidden).map(r=>r.cells[0].textContent).join(' ');";
    assert_eq!(title_after(&browser, &w, "both.html", search), "f1_macro");
}

/// The records of a TensorBoard file: their bytes.
fn records(path: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(path).unwrap();
    let (mut at, mut out) = (0, Vec::new());
    while at < bytes.len() {
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        out.push(bytes[at + 12..at + 12 + length].to_vec());
        at += 16 + length;
    }
    assert_eq!(at, bytes.len());
    out
}

#[test]
fn tensorboards_file_has_an_event_for_every_epoch_also_after_a_restart() {
    let w = Workspace::default();
    let log = ["--log", "jsonl,tensorboard", "--set", "train.checkpoint_seconds=0", "--set", "data.validation=0.2"];
    w.ok(&[SMALL, &log, &["--set", "train.epochs=3", "--out", "run"]].concat());
    let file = w.path("run/tensorboard/events.out.tfevents.0.longtail");
    let has = |record: &Vec<u8>, words: &str| record.windows(words.len()).any(|w| w == words.as_bytes());
    let first = records(&file);
    assert_eq!(first.len(), 4);
    assert!(
        has(&first[0], "brain.Event:2") && has(&first[1], "loss/training") && has(&first[3], "validation/f1_macro")
    );
    // Continued, without asking again.
    w.ok(&["--quiet", "--backend", "flex", "--out", "run", "--resume", "--set", "train.epochs=5"]);
    assert_eq!(records(&file).len(), 6);
    w.ok(&[SMALL, &["--set", "train.epochs=1", "--out", "plain"]].concat());
    assert!(!w.path("plain/tensorboard").exists());
}
