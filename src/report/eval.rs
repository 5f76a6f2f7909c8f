//! What `eval` found.

use super::text::table;
use crate::error::count;
use crate::eval::{Estimate, Scores};
use crate::windows::Windows;
use serde::Serialize;
use std::path::{Path, PathBuf};
use tersor_kernels::Level;

/// The figures of a model on a text.
#[derive(Debug, Serialize)]
pub struct EvalReport {
    schema: u32,
    model: PathBuf,
    base: Option<PathBuf>,
    text: PathBuf,
    context: usize,
    chunks: usize,
    level: &'static str,
    /// As it runs.
    #[serde(flatten)]
    scores: Scores,
    /// Decoded weights with float activations, where these are not what runs.
    weights_only: Option<Scores>,
}

impl EvalReport {
    /// `scores` of the model as it runs, and of its decoded weights where these are something else.
    pub fn new(
        model: &Path,
        base: Option<&Path>,
        text: &Path,
        windows: &Windows,
        scores: Scores,
        weights_only: Option<Scores>,
    ) -> EvalReport {
        EvalReport {
            schema: crate::SCHEMA,
            model: model.to_owned(),
            base: base.map(Path::to_owned),
            text: text.to_owned(),
            context: windows.context,
            chunks: windows.iter().len(),
            level: Level::best().name(),
            scores,
            weights_only,
        }
    }
}

/// As a table: a row per figure, a column for the model as it runs and one for its weights only.
pub fn render_eval(report: &EvalReport) -> String {
    let columns: Vec<&Scores> = [Some(&report.scores), report.weights_only.as_ref()].into_iter().flatten().collect();
    let row = |name: &str, value: &dyn Fn(&Scores) -> Option<String>| {
        let cells: Vec<String> = columns.iter().filter_map(|s| value(s)).collect();
        (!cells.is_empty()).then(|| [vec![name.to_owned()], cells].concat())
    };
    let plain = |e: Estimate, digits: usize| format!("{:.digits$} ± {:.digits$}", e.value, e.error);
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
        report.model.display(),
        count(report.scores.predictions, "prediction"),
        count(report.chunks, "context"),
        report.context,
        report.text.display()
    );
    head + &table(&lines, &[])
}
