//! What `eval` found.

use super::text::table;
use crate::error::count;
use crate::eval::{Estimate, Scores, TaskScores, WrittenScores};
use crate::model::Computed;
use crate::windows::Windows;
use serde::Serialize;
use std::path::{Path, PathBuf};
use tersor_kernels::Level;

/// The figures of a model, and of the model that it is compared with.
#[derive(Debug, Serialize)]
pub struct EvalReport {
    schema: u32,
    model: PathBuf,
    base: Option<PathBuf>,
    level: &'static str,
    /// Where.
    pub computed: Option<Computed>,
    /// On a text.
    #[serde(flatten)]
    pub text: Option<TextReport>,
    /// Task by task.
    pub tasks: Vec<TaskScores>,
    /// The same of the base model.
    pub base_tasks: Vec<TaskScores>,
    /// What it writes.
    pub written: Option<WrittenScores>,
    /// The same of the base model.
    pub base_written: Option<WrittenScores>,
}

/// The figures of a model on a text.
#[derive(Debug, Serialize)]
pub struct TextReport {
    text: PathBuf,
    context: usize,
    chunks: usize,
    /// As it runs.
    #[serde(flatten)]
    scores: Scores,
    /// Decoded weights with float activations, where these are not what runs.
    pub weights_only: Option<Scores>,
}

impl EvalReport {
    /// Of `model` beside `base`, with nothing found yet.
    pub fn new(model: &Path, base: Option<&Path>) -> EvalReport {
        EvalReport {
            schema: crate::SCHEMA,
            model: model.to_owned(),
            base: base.map(Path::to_owned),
            level: Level::best().name(),
            computed: None,
            text: None,
            tasks: Vec::new(),
            base_tasks: Vec::new(),
            written: None,
            base_written: None,
        }
    }
}

impl TextReport {
    /// `scores` of a model as it runs on `windows`, which are of `text`.
    pub fn new(text: &Path, windows: &Windows, scores: Scores) -> TextReport {
        TextReport {
            text: text.to_owned(),
            context: windows.context,
            chunks: windows.iter().len(),
            scores,
            weights_only: None,
        }
    }
}

/// As tables, one for each kind of figure.
pub fn render_eval(report: &EvalReport) -> String {
    let parts = [
        report.text.as_ref().map(|text| render_text(&report.model, text)),
        (!report.tasks.is_empty()).then(|| render_tasks(report)),
        report.written.as_ref().map(|written| render_written(report, written)),
        report.computed.as_ref().and_then(Computed::told).map(|line| line + "\n"),
    ];
    parts.into_iter().flatten().collect::<Vec<String>>().join("\n")
}

fn plain(e: Estimate, digits: usize) -> String {
    format!("{:.digits$} ± {:.digits$}", e.value, e.error)
}

/// A row per figure, a column for the model as it runs and one for its weights only.
fn render_text(model: &Path, report: &TextReport) -> String {
    let columns: Vec<&Scores> = [Some(&report.scores), report.weights_only.as_ref()].into_iter().flatten().collect();
    let row = |name: &str, value: &dyn Fn(&Scores) -> Option<String>| {
        let cells: Vec<String> = columns.iter().filter_map(|s| value(s)).collect();
        (!cells.is_empty()).then(|| [vec![name.to_owned()], cells].concat())
    };
    let beside = |s: &Scores| s.divergence.clone();
    let head = ["", "as it runs", "weights only"];
    let rows = [
        Some(head.iter().take(columns.len() + 1).map(|h| (*h).to_owned()).collect()),
        row("perplexity", &|s| Some(plain(s.perplexity, 4))),
        row("base perplexity", &|s| Some(plain(beside(s)?.base_perplexity, 4))),
        row("mean KL", &|s| beside(s).map(|d| plain(Estimate { value: d.kl.mean, error: d.kl.error }, 6))),
        row("median KL", &|s| beside(s).map(|d| format!("{:.6}", d.kl.median))),
        row("99 % KL", &|s| beside(s).map(|d| format!("{:.6}", d.kl.p99))),
        row("same top token", &|s| {
            beside(s).map(|d| plain(Estimate { value: d.same_top, error: d.same_top_error }, 2) + " %")
        }),
        row("RMS change of p", &|s| {
            beside(s).map(|d| plain(Estimate { value: d.rms_change, error: d.rms_change_error }, 3) + " %")
        }),
    ];
    let lines: Vec<Vec<String>> = rows.into_iter().flatten().collect();
    let head = format!(
        "{}: {} in {} of {} tokens of {}\n",
        model.display(),
        count(report.scores.predictions, "prediction"),
        count(report.chunks, "context"),
        report.context,
        report.text.display()
    );
    head + &table(&lines, &[])
}

/// Perplexity before and after, and the divergence, in short.
pub(super) fn quality(report: &TextReport) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    if let Some(beside) = &report.scores.divergence {
        let (before, after) = (plain(beside.base_perplexity, 4), plain(report.scores.perplexity, 4));
        rows.push(vec!["perplexity".to_owned(), format!("{before} -> {after}")]);
        rows.push(vec!["mean KL".to_owned(), plain(Estimate { value: beside.kl.mean, error: beside.kl.error }, 6)]);
        let same = Estimate { value: beside.same_top, error: beside.same_top_error };
        rows.push(vec!["same top token".to_owned(), plain(same, 2) + " %"]);
    }
    let contexts =
        format!("{} of {} tokens of {}", count(report.chunks, "context"), report.context, report.text.display());
    rows.push(vec!["measured on".to_owned(), contexts]);
    rows
}

/// A row per task and figure, a column for the model and one for the base.
fn render_tasks(report: &EvalReport) -> String {
    let shots = report.tasks.first().map_or(0, |task| task.shots);
    let mut lines = vec![header(report, &format!("{}, {}", count(report.tasks.len(), "task"), count(shots, "shot")))];
    for (n, task) in report.tasks.iter().enumerate() {
        let base = report.base_tasks.get(n);
        let mut row = |what: &str, unit: &str, digits: usize, figure: fn(&TaskScores) -> Option<Estimate>| {
            let Some(found) = figure(task) else { return };
            let cell = |e: Estimate| plain(e, digits) + unit;
            let base = base.and_then(figure).map(cell);
            let name = format!("{} ({}) {what}", task.task, task.items);
            lines.push([name, cell(found)].into_iter().chain(base).collect());
        };
        row("accuracy", " %", 2, |t| Some(t.accuracy));
        row("accuracy by length", " %", 2, |t| t.accuracy_norm);
        row("perplexity", "", 4, |t| t.perplexity);
    }
    table(&lines, &[])
}

/// A row per figure, a column for the model and one for the base.
fn render_written(report: &EvalReport, written: &WrittenScores) -> String {
    let mut lines = vec![header(report, &count(written.prompts, "prompt"))];
    let columns: Vec<&WrittenScores> = [Some(written), report.base_written.as_ref()].into_iter().flatten().collect();
    let mut row = |name: &str, cell: &dyn Fn(&WrittenScores) -> String| {
        lines.push([name.to_owned()].into_iter().chain(columns.iter().map(|w| cell(w))).collect());
    };
    row("ROUGE-1", &|w| plain(w.rouge1, 2));
    row("ROUGE-2", &|w| plain(w.rouge2, 2));
    row("ROUGE-L", &|w| plain(w.rouge_l, 2));
    row("BLEU", &|w| format!("{:.2}", w.bleu));
    table(&lines, &[]) + &format!("{}\n", written.signatures.join(", "))
}

/// What is shown, then the models.
fn header(report: &EvalReport, what: &str) -> Vec<String> {
    let models = [Some(&report.model), report.base.as_ref()].into_iter().flatten();
    [what.to_owned()].into_iter().chain(models.map(|path| path.display().to_string())).collect()
}
