//! What all pages share: style for light and dark and for phones, tables that sort and search, no network access.

use std::fmt::Write;

pub const STYLE: &str = ":root{--text:#222;--ground:#fff;--line:#ddd;--soft:#f4f4f4;--best:#e6f4e6;--alarm:#fdd}\
@media(prefers-color-scheme:dark){:root{--text:#ddd;--ground:#16181c;--line:#3a3d44;--soft:#22252b;--best:#1f3524;--alarm:#5a2020}\
svg{background:#fff;border-radius:4px}}\
*{box-sizing:border-box}body{font:15px/1.5 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem;color:var(--text);background:var(--ground)}\
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .8rem;border-bottom:1px solid var(--line);text-align:right}\
td{white-space:nowrap}td:first-child,th:first-child{text-align:left;white-space:normal}\
th{cursor:pointer;position:sticky;top:0;background:var(--ground)}tr.best td,td.best{background:var(--best)}\
h2{margin-top:2.5rem}.plots{display:flex;flex-wrap:wrap;gap:1rem}.plots svg{max-width:100%;height:auto}\
.scroll{max-height:36rem;overflow:auto}pre{background:var(--soft);padding:1rem;overflow:auto}\
input{font:inherit;padding:.3rem .6rem;width:min(24rem,100%);color:inherit;background:var(--soft);border:1px solid var(--line)}\
.oracle{background:var(--alarm);padding:.6rem 1rem;font-weight:bold}";

/// Sorts a table by the column whose head is clicked, by numbers where both cells begin with one; hides rows without the
/// words looked for.
pub const SCRIPT: &str = "document.querySelectorAll('table').forEach(t=>{const b=t.tBodies[0];\
t.querySelectorAll('th').forEach((h,i)=>{let up=false;h.onclick=()=>{up=!up;\
const v=r=>r.cells[i]?r.cells[i].textContent:'',n=s=>parseFloat(s);\
[...b.rows].filter(r=>!r.querySelector('th')).sort((x,y)=>{const p=n(v(x)),q=n(v(y)),\
c=isNaN(p)||isNaN(q)?v(x).localeCompare(v(y)):p-q;return up?c:-c}).forEach(r=>b.append(r))}})});\
document.querySelectorAll('input[data-table]').forEach(f=>{f.oninput=()=>{const w=f.value.toLowerCase();\
for(const r of document.getElementById(f.dataset.table).rows)if(!r.querySelector('th'))r.hidden=!r.textContent.toLowerCase().includes(w)}});";

/// The beginning of a page.
pub fn head(title: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title} – longtail</title><style>{STYLE}</style><h1>{title}</h1>"
    )
}

/// The end of a page.
pub fn foot() -> String {
    format!("<script>{SCRIPT}</script></html>\n")
}

/// A table that scrolls, sorts and can be searched.
pub fn searchable(out: &mut String, id: &str, columns: &[&str], rows: &str) {
    let _ = write!(
        out,
        "<p><input data-table=\"{id}\" placeholder=\"search\" aria-label=\"search {id}\"></p>\
         <div class=\"scroll\"><table id=\"{id}\"><thead><tr>"
    );
    for column in columns {
        let _ = write!(out, "<th>{}</th>", escape(column));
    }
    let _ = write!(out, "</tr></thead><tbody>{rows}</tbody></table></div>");
}

/// Text as HTML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
