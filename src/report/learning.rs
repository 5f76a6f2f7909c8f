//! A training run as a page: tables and curves.

use super::distill::{Compared, DistillReport, Sample};
use super::page::{html_table, page};
use super::svg::{Line, escaped, lines};
use super::text::markdown;
use crate::distill::Metric;
use crate::error::human_bytes;
use std::fmt::Write;

/// Points of a curve at most; of more, every second, third ... is shown.
const POINTS: usize = 800;

const RIGHT: &[bool] = &[false, true, true, true, true, true, true];

/// As a document in Markdown.
pub fn render_distill_markdown(report: &DistillReport) -> String {
    let mut out = format!("# {}\n\n", title(report));
    out += &markdown(&facts(report), &[]);
    if let Some(comparison) = &report.comparison {
        let _ = write!(out, "\n## Figures\n\n{}", markdown(&figures(&comparison.models), RIGHT));
    }
    for sample in samples(report) {
        out += "\n## Continuation\n";
        for (who, text) in parts(sample) {
            let quoted: Vec<String> = text.trim().lines().map(|line| format!("> {line}\n")).collect();
            let _ = write!(out, "\n{who}:\n\n{}", quoted.concat());
        }
    }
    out
}

/// As a page that needs nothing beside it.
pub fn render_distill_html(report: &DistillReport, metrics: &[Metric]) -> String {
    let mut out = html_table(&facts(report), "");
    if let Some(comparison) = &report.comparison {
        out += "<h2>Figures</h2>\n";
        out += &html_table(&figures(&comparison.models), " class=\"numbers\"");
    }
    out += "<h2>Curves</h2>\n";
    curves(report, metrics).iter().for_each(|curve| out += curve);
    for sample in samples(report) {
        out += "<h2>Continuation</h2>\n";
        for (who, text) in parts(sample) {
            let _ = writeln!(out, "<p>{}:</p>\n<blockquote>{}</blockquote>", escaped(&who), escaped(text.trim()));
        }
    }
    page(&title(report), &out)
}

fn title(report: &DistillReport) -> String {
    let from = report.teacher.as_deref().unwrap_or("text");
    let name = report.output.file_name().unwrap_or(report.output.as_os_str());
    format!("{} learnt from {from}", name.display())
}

fn samples(report: &DistillReport) -> &[Sample] {
    report.comparison.as_ref().map_or(&[], |comparison| &comparison.samples)
}

/// A heading, then what the run was.
fn facts(report: &DistillReport) -> Vec<Vec<String>> {
    let mut rows = vec![["run", ""].map(str::to_owned).to_vec()];
    rows.extend(report.lines().into_iter().map(|(name, value)| vec![name.to_owned(), value]));
    rows
}

fn figures(models: &[Compared]) -> Vec<Vec<String>> {
    let head = ["model", "weights", "size", "prefill, tokens/s", "decode, tokens/s", "perplexity", "KL"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(models.iter().map(|m| {
        let number = |value: Option<f64>, digits: usize| value.map_or("-".into(), |v| format!("{v:.digits$}"));
        vec![
            m.model.clone(),
            format!("{:.1} M", m.weights as f64 / 1e6),
            human_bytes(m.bytes),
            format!("{:.0}", m.prefill),
            format!("{:.0}", m.decode),
            number(m.perplexity, 3),
            number(m.kl, 4),
        ]
    }));
    rows
}

fn parts(sample: &Sample) -> Vec<(String, &str)> {
    let continuations = sample.continuations.iter().map(|(who, text)| (who.clone(), text.as_str()));
    [("The text".to_owned(), sample.prompt.as_str())].into_iter().chain(continuations).collect()
}

/// What was minimised, beside the same on held-out text where that was measured; the perplexity; the learning rate.
fn curves(report: &DistillReport, metrics: &[Metric]) -> Vec<String> {
    let every = metrics.len().div_ceil(POINTS).max(1);
    let some = |value: &dyn Fn(&Metric) -> Option<f64>| -> Vec<(f64, f64)> {
        metrics.iter().step_by(every).filter_map(|m| Some((m.step as f64, value(m)?))).collect()
    };
    let heldout = |value: &dyn Fn(&crate::distill::Heldout) -> Option<f64>| -> Vec<(f64, f64)> {
        let first = report.before.as_ref().and_then(value).map(|value| (0.0, value));
        let later = metrics.iter().filter_map(|m| Some((m.step as f64, value(m.heldout.as_ref()?)?)));
        first.into_iter().chain(later).collect()
    };
    let line = |label: &str, points: Vec<(f64, f64)>| Line { label: label.into(), points };
    let measured = if report.teacher.is_some() {
        line("held-out KL", heldout(&|h| h.kl))
    } else {
        line("held-out cross-entropy", heldout(&|h| Some(h.perplexity.ln())))
    };
    [
        ("Loss, nats", vec![line("training", some(&|m| Some(m.divergence.unwrap_or(m.loss)))), measured]),
        ("Perplexity of held-out text", vec![line("student", heldout(&|h| Some(h.perplexity)))]),
        ("Learning rate", vec![line("learning rate", some(&|m| Some(m.lr)))]),
    ]
    .iter()
    .filter(|(_, lines)| lines.iter().any(|line| line.points.len() > 1))
    .map(|(title, all)| lines(title, "step", all))
    .collect()
}
