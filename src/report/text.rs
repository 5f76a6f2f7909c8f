//! Reports as text for a terminal.

use super::Inspection;
use super::plan::{PlanReport, RunReport, Totals};
use crate::error::human_bytes;
use crate::plan::Container;
use crate::verify::Comparison;
use std::fmt::Write;

/// Rows as columns, two spaces apart; numbers to the right where `right` says so.
pub(super) fn table(rows: &[Vec<String>], right: &[bool]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (c, cell) in row.iter().enumerate() {
            let pad = widths[c] - cell.chars().count();
            let (before, after) = if right.get(c) == Some(&true) { (pad, 0) } else { (0, pad) };
            let _ = write!(line, "{}{cell}{}  ", " ".repeat(before), " ".repeat(after));
        }
        out += line.trim_end();
        out.push('\n');
    }
    out
}

/// Rows under a head, as a table in Markdown.
pub(super) fn markdown(rows: &[Vec<String>], right: &[bool]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let Some((head, rows)) = rows.split_first() else { return String::new() };
    let rule = |c: usize| if right.get(c) == Some(&true) { "---:" } else { "---" }.to_owned();
    let rules: Vec<String> = (0..head.len()).map(rule).collect();
    line(head) + &line(&rules) + &rows.iter().map(|row| line(row)).collect::<String>()
}

fn shape(dims: &[u64]) -> String {
    let sizes: Vec<String> = dims.iter().map(u64::to_string).collect();
    sizes.join(" x ")
}

fn sums(recipe: &str, totals: &Totals) -> Vec<Vec<String>> {
    let row = |name: &str, text: String| vec![name.to_owned(), text];
    let formats: Vec<String> = totals
        .formats
        .iter()
        .map(|f| format!("{} {} ({})", f.format, crate::error::count(f.tensors, "tensor"), human_bytes(f.bytes)))
        .collect();
    let fallbacks = match totals.fallbacks {
        0 => "none".to_owned(),
        n => {
            let (bytes, than) = (totals.fallback_bytes, if totals.fallback_bytes < 0.0 { "less" } else { "more" });
            format!("{}, {} {than}", crate::error::count(n, "tensor"), human_bytes(bytes.abs() as u64))
        }
    };
    let size = format!(
        "{} -> {}, {:.2} bits per weight",
        human_bytes(totals.bytes_before),
        human_bytes(totals.bytes_after),
        totals.bits_per_weight
    );
    let mut rows = vec![
        row("recipe", recipe.to_owned()),
        row("size", size),
        row("tensors", formats.join(", ")),
        row("fallbacks", fallbacks),
    ];
    if let Some(weighed) = &totals.imatrix {
        let mut text = format!("errors weighed in {}", crate::error::count(weighed.with, "tensor"));
        if let Some(first) = weighed.without.first() {
            let _ = write!(text, ", {} without statistics, such as {first}", weighed.without.len());
        }
        if weighed.filled_columns > 0 {
            let _ = write!(text, ", {} at the mean", crate::error::count(weighed.filled_columns, "column"));
        }
        rows.push(row("imatrix", text));
    }
    rows
}

/// The plan, tensor by tensor, and its sums.
pub fn render_plan(report: &PlanReport) -> String {
    let mut rows = vec![["tensor", "shape", "from", "to", "bytes", "why"].map(str::to_owned).to_vec()];
    for t in &report.tensors {
        let from = t.from.unwrap_or("-").to_owned();
        rows.push(vec![t.name.clone(), shape(&t.shape), from, t.to.into(), t.bytes.to_string(), t.why.clone()]);
    }
    let mut out = table(&rows, &[false, true, false, false, true, false]);
    for (name, why) in &report.dropped {
        let _ = writeln!(out, "left out: {name} ({why})");
    }
    let mut facts = sums(&report.recipe, &report.totals);
    let threads = crate::error::count(report.threads, "thread");
    let memory = format!("{} at {threads} ({})", human_bytes(report.working_memory), report.level);
    facts.push(vec!["buffers".into(), memory]);
    facts.push(vec!["disk".into(), format!("{} free", human_bytes(report.free_disk))]);
    let names: Vec<String> = report.outputs.iter().map(|p| p.display().to_string()).collect();
    facts.push(vec!["output".into(), format!("{} (not written)", names.join(", "))]);
    out.push('\n');
    out + &table(&facts, &[])
}

/// What was written.
pub fn render_run(report: &RunReport) -> String {
    let mut facts = sums(&report.recipe, &report.totals);
    let mut row = |name: &str, text: String| facts.push(vec![name.to_owned(), text]);
    if let Some(w) = &report.worst {
        row("worst error", format!("{:.5} in {} ({}, relative RMSE)", w.relative_rmse, w.tensor, w.format));
    }
    let checked = match (report.checked, report.tokenizer_texts) {
        (false, _) => "no".to_owned(),
        (true, 0) => "structure".to_owned(),
        (true, n) => format!("structure, tokenizer on {n} texts"),
    };
    row("checked", checked);
    let speed = report.totals.bytes_before as f64 / report.seconds.max(1e-9);
    let memory = report.peak_memory.map_or(String::new(), |m| format!(", {} peak memory", human_bytes(m)));
    row("time", format!("{:.2} s, {}/s{memory}", report.seconds, human_bytes(speed as u64)));
    let names: Vec<String> = report.outputs.iter().map(|p| p.display().to_string()).collect();
    row("output", names.join(", "));
    row("try it", try_it(report, &names[0]));
    table(&facts, &[])
}

fn try_it(report: &RunReport, path: &str) -> String {
    let quoted =
        if path.contains([' ', '\'', '"', '$']) { format!("'{}'", path.replace('\'', "'\\''")) } else { path.into() };
    match report.container {
        Container::Gguf => format!("llama-cli -m {quoted}"),
        Container::Safetensors if report.sparse => format!("tersor generate {quoted} -p Hello"),
        Container::Safetensors => format!("vllm serve {quoted}"),
    }
}

/// What a model holds.
pub fn render_inspection(i: &Inspection) -> String {
    let facts: Vec<Vec<String>> = i.facts.iter().map(|(k, v)| vec![k.clone(), v.clone()]).collect();
    let mut out = table(&facts, &[]);
    let counted = i.tensors.iter().any(|t| t.zeros.is_some());
    let columns = if counted { 5 } else { 4 };
    let mut rows = vec![["tensor", "shape", "format", "bytes", "zeros"].map(str::to_owned)[..columns].to_vec()];
    for t in &i.tensors {
        let values: u64 = t.shape.iter().product();
        let share = |zeros: u64| format!("{:.2} %", 100.0 * zeros as f64 / values.max(1) as f64);
        let zeros = t.zeros.map_or_else(|| "-".to_owned(), share);
        let row = [t.name.clone(), shape(&t.shape), t.format.into(), t.bytes.to_string(), zeros];
        rows.push(row[..columns].to_vec());
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out += &table(&rows, &[false, true, false, true, true]);
    let formats: Vec<String> = i
        .formats
        .iter()
        .map(|(f, n, bytes)| format!("{f} {} ({})", crate::error::count(*n, "tensor"), human_bytes(*bytes)))
        .collect();
    let size =
        format!("{}, {} weights, {:.2} bits per weight", human_bytes(i.file_bytes), i.weights, i.bits_per_weight);
    let family = i.architecture.as_deref().unwrap_or("unknown");
    let formats = formats.join(", ");
    let mut sums = vec![["container", i.container], ["architecture", family], ["size", &size], ["tensors", &formats]];
    let zeros: u64 = i.tensors.iter().filter_map(|t| t.zeros).sum();
    let zeros = format!("{zeros}, {:.2} % of all weights", 100.0 * zeros as f64 / i.weights.max(1) as f64);
    if counted {
        sums.push(["zeros", &zeros]);
    }
    out.push('\n');
    let sums: Vec<Vec<String>> = sums.into_iter().map(|row| row.map(str::to_owned).to_vec()).collect();
    out + &table(&sums, &[])
}

/// The outcome of `verify`.
pub fn render_comparison(c: &Comparison) -> String {
    let mut out = String::new();
    for d in &c.differences {
        let _ = writeln!(out, "differs: {d}");
    }
    let tensors = format!("{} as tersor writes them, {} within their format's bound", c.exact, c.within_bound);
    let unread = if c.unread > 0 { format!(", {} of formats without a decoder", c.unread) } else { String::new() };
    let mut facts = vec![vec!["tensors".to_owned(), tensors + &unread]];
    if let Some((name, error)) = &c.worst {
        facts.push(vec!["worst error".into(), format!("{error:.5} in {name} (relative RMSE)")]);
    }
    facts.push(vec!["tokenizer".into(), format!("tried on {} texts", c.probes)]);
    let verdict = match c.differences.len() {
        0 => "matches the base".to_owned(),
        n => crate::error::count(n, "difference"),
    };
    facts.push(vec!["result".into(), verdict]);
    out + &table(&facts, &[])
}
