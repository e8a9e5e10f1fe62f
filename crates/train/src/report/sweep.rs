//! The page of a sweep: leaderboard, ranks, what each setting does; one HTML file without network access.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use super::{escape, plots};
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

const STYLE: &str = ":root{--text:#222;--ground:#fff;--line:#ddd;--soft:#f4f4f4;--best:#e6f4e6}\
@media(prefers-color-scheme:dark){:root{--text:#ddd;--ground:#16181c;--line:#3a3d44;--soft:#22252b;--best:#1f3524}\
svg{background:#fff;border-radius:4px}}\
body{font:15px/1.5 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem;color:var(--text);background:var(--ground)}\
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .8rem;border-bottom:1px solid var(--line);text-align:right}\
td{white-space:nowrap}td:first-child,th:first-child{text-align:left;white-space:normal}th{cursor:pointer;position:sticky;top:0;background:var(--ground)}\
tr.best td{background:var(--best)}h2{margin-top:2.5rem}.plots{display:flex;flex-wrap:wrap;gap:1rem}.plots svg{max-width:100%;height:auto}\
.scroll{max-height:36rem;overflow:auto}input{font:inherit;padding:.3rem .6rem;width:min(24rem,100%);color:inherit;background:var(--soft);border:1px solid var(--line)}\
pre{background:var(--soft);padding:1rem;overflow:auto}";

const SCRIPT: &str = "document.querySelectorAll('table').forEach(t=>{const b=t.tBodies[0];\
t.querySelectorAll('th').forEach((h,i)=>{let up=false;h.onclick=()=>{up=!up;\
const v=r=>r.cells[i].textContent,n=s=>parseFloat(s);\
[...b.rows].sort((x,y)=>{const p=n(v(x)),q=n(v(y)),c=isNaN(p)||isNaN(q)?v(x).localeCompare(v(y)):p-q;return up?c:-c}).forEach(r=>b.append(r))}})});\
document.querySelectorAll('input[data-table]').forEach(f=>{f.oninput=()=>{const w=f.value.toLowerCase();\
for(const r of document.getElementById(f.dataset.table).tBodies[0].rows)r.hidden=!r.textContent.toLowerCase().includes(w)}});";

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
    let title = escape(name);
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style><h1>Sweep {title}</h1>\
         <p>{} of {trials} trials have ended; compared by {}.",
        finished.len(),
        escape(&spec.metric)
    );
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
    let _ = write!(out, "<script>{SCRIPT}</script></html>");
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
    let _ = write!(
        out,
        "<h2>Trials</h2><p><input data-table=\"trials\" placeholder=\"search\" aria-label=\"search trials\"></p>\
         <div class=\"scroll\"><table id=\"trials\"><thead><tr><th>settings</th><th>data</th><th>seed</th><th>fold</th>\
         <th>{}</th><th>epoch</th><th>seconds</th><th>trial</th></tr></thead><tbody>",
        escape(metric)
    );
    for Finished { trial, metrics } in finished.iter().take(SHOWN) {
        let value = Finished { trial, metrics: metrics.clone() }.metric(metric);
        let _ = write!(
            out,
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
    *out += "</tbody></table></div>";
    if finished.len() > SHOWN {
        let _ = write!(out, "<p>The first {SHOWN} of {} trials; results.csv has all.</p>", finished.len());
    }
}
