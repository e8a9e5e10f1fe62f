//! The page of a sweep: leaderboard, ranks, what each setting does; one HTML file without network access.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use super::page::{self, escape};
use super::plots;
use crate::checkpoint::write_atomically;
use crate::error::Result;
use crate::sweep::Places;
use crate::sweep::leaderboard::Leaderboard;
use crate::sweep::results::Finished;
use crate::sweep::spec::Spec;
use crate::sweep::trials::plain;

/// Metrics that get a leaderboard beside the sweep's own.
const ALSO: [&str; 4] = ["f1_macro", "f1_micro", "map_macro", "precision_at_1"];

/// Trials of the table of all trials, at most: the page stays small, `results.csv` has all.
const SHOWN: usize = 2_000;

/// Writes `report.html` of a sweep; returns its path.
///
/// # Errors
/// When the disk refuses.
pub fn write(places: &Places, finished: &[Finished], spec: &Spec, trials: usize) -> Result<PathBuf> {
    let path = places.sweep.join("report.html");
    let name = places.sweep.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    write_atomically(&path, &[page(&name, finished, spec, trials).as_bytes()])?;
    Ok(path)
}

fn page(name: &str, finished: &[Finished], spec: &Spec, trials: usize) -> String {
    let mut out = String::new();
    out += &page::head(&format!("Sweep {name}"));
    let _ = write!(out, "<p>{} of {trials} trials have ended; compared by {}.", finished.len(), escape(&spec.metric));
    let boards: Vec<Leaderboard> = std::iter::once(spec.metric.as_str())
        .chain(ALSO.into_iter().filter(|m| *m != spec.metric))
        .filter_map(|metric| Leaderboard::new(finished, metric))
        .collect();
    if let Some(best) = boards.first().and_then(|b| b.entries.first()) {
        let same = boards[0].entries.iter().filter(|e| e.among_best).count() - 1;
        let _ =
            write!(out, " The best is <b>{}</b>; {same} others are not distinguishable from it.", escape(&best.label));
    }
    out += "</p>";
    for (i, board) in boards.iter().enumerate() {
        let _ = write!(out, "<h2>{}</h2>", escape(&board.metric));
        leaderboard(&mut out, board);
        let ranks: Vec<(String, f64)> = board.entries.iter().filter_map(|e| Some((e.label.clone(), e.rank?))).collect();
        if let (0, Some(critical)) = (i, board.critical_difference) {
            let _ = write!(out, "<div class=\"plots\">{}</div>", plots::critical_difference(&ranks, critical));
        }
    }
    sensitivity(&mut out, finished, &spec.metric);
    all_trials(&mut out, finished, &spec.metric);
    out += &page::foot();
    out
}

fn leaderboard(out: &mut String, board: &Leaderboard) {
    *out += "<div class=\"scroll\"><table><thead><tr><th>settings</th>";
    for data in &board.data {
        let _ = write!(out, "<th>{}</th>", if data.is_empty() { "mean ± sd".into() } else { escape(data) });
    }
    *out += "<th>average rank</th></tr></thead><tbody>";
    for entry in &board.entries {
        let class = if entry.among_best { " class=\"best\"" } else { "" };
        let _ = write!(out, "<tr{class}><td>{}</td>", escape(&entry.label));
        for cell in &entry.cells {
            let _ = match cell {
                Some((mean, deviation, n)) => write!(out, "<td>{mean:.4} ± {deviation:.4} ({n})</td>"),
                None => write!(out, "<td>–</td>"),
            };
        }
        let _ = write!(out, "<td>{}</td></tr>", entry.rank.map_or_else(|| "–".into(), |r| format!("{r:.2}")));
    }
    *out += "</tbody></table></div><p>Shaded: the best, or not distinguishable from it.";
    for line in board.words() {
        let _ = write!(out, "<br>{}", escape(&line));
    }
    *out += "</p>";
}

/// For every setting the values it had and what came of them.
fn sensitivity(out: &mut String, finished: &[Finished], metric: &str) {
    let mut by_key: BTreeMap<&str, Vec<(String, f64)>> = BTreeMap::new();
    for done in finished {
        let Some(value) = done.metric(metric) else { continue };
        for (key, setting) in &done.trial.settings {
            by_key.entry(key).or_default().push((plain(setting), value));
        }
    }
    if by_key.is_empty() {
        return;
    }
    let _ = write!(out, "<h2>What each setting does to {}</h2><div class=\"plots\">", escape(metric));
    for (key, points) in &by_key {
        *out += &plots::by_setting(key, points);
    }
    *out += "</div>";
    if by_key.len() > 1 {
        let lines: Vec<(Vec<Option<String>>, f64)> = finished
            .iter()
            .filter_map(|done| {
                let value = |key: &&&str| done.trial.settings.iter().find(|s| s.0 == **key).map(|s| plain(&s.1));
                let values = by_key.keys().collect::<Vec<_>>().iter().map(value).collect();
                Some((values, done.metric(metric)?))
            })
            .take(SHOWN)
            .collect();
        let keys: Vec<&str> = by_key.keys().copied().collect();
        let _ = write!(
            out,
            "<h2>Settings together</h2><div class=\"plots\">{}</div>",
            plots::parallel(&keys, metric, &lines)
        );
    }
}

fn all_trials(out: &mut String, finished: &[Finished], metric: &str) {
    *out += "<h2>Trials</h2>";
    let mut rows = String::new();
    for done in finished.iter().take(SHOWN) {
        let (Finished { trial, metrics }, value) = (done, done.metric(metric));
        let _ = write!(
            rows,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.2}</td><td>{}</td></tr>",
            escape(&trial.label()),
            escape(&trial.data),
            trial.seed,
            trial.fold.map(|f| f.to_string()).unwrap_or_default(),
            value.map_or_else(|| "–".into(), |v| format!("{v:.4}")),
            metrics.epoch,
            metrics.train_seconds,
            trial.id
        );
    }
    page::searchable(out, "trials", &["settings", "data", "seed", "fold", metric, "epoch", "seconds", "trial"], &rows);
    if finished.len() > SHOWN {
        let _ = write!(out, "<p>The first {SHOWN} of {} trials; results.csv has all.</p>", finished.len());
    }
}
