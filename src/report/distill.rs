//! What a training run gave.

use crate::SCHEMA;
use crate::distill::{Heldout, Learnt, Settings};
use crate::error::human_bytes;
use serde::Serialize;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A run, and what its student is worth.
#[derive(Debug, Serialize)]
pub struct DistillReport {
    /// Version of this layout.
    pub schema: u32,
    /// Who learnt.
    pub student: String,
    /// From whom.
    pub teacher: Option<String>,
    /// Steps of the run.
    pub steps: u64,
    /// The step whose weights were written.
    pub step: u64,
    /// Tokens learnt from.
    pub tokens: u64,
    /// Of this call.
    pub seconds: f64,
    /// Of this call.
    pub tokens_per_second: f64,
    /// Held-out text before the first step.
    pub before: Option<Heldout>,
    /// Held-out text with the weights that were written.
    pub after: Option<Heldout>,
    /// Bytes that were written.
    pub bytes: u64,
    /// A line for each step.
    pub metrics: PathBuf,
}

impl DistillReport {
    /// A report of `learnt`, whose state is in `folder`.
    pub fn new(
        (student, teacher): (String, Option<String>),
        settings: &Settings,
        learnt: &Learnt,
        folder: &Path,
        bytes: u64,
        time: Duration,
        tokens: u64,
    ) -> DistillReport {
        let seconds = time.as_secs_f64();
        DistillReport {
            schema: SCHEMA,
            student,
            teacher,
            steps: learnt.steps,
            step: learnt.step,
            tokens: learnt.steps * (settings.batch * settings.context) as u64,
            seconds,
            tokens_per_second: tokens as f64 / seconds,
            before: learnt.before,
            after: learnt.heldout,
            bytes,
            metrics: folder.join("metrics.jsonl"),
        }
    }
}

/// As text.
pub fn render_distill(report: &DistillReport) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| _ = writeln!(out, "{name:10} {value}");
    line("student", report.student.clone());
    if let Some(teacher) = &report.teacher {
        line("teacher", teacher.clone());
    }
    line(
        "learnt",
        format!("{} steps, {} tokens, {:.0} tokens/s", report.steps, report.tokens, report.tokens_per_second),
    );
    for (name, heldout) in [("before", &report.before), ("after", &report.after)] {
        let Some(heldout) = heldout else { continue };
        let kl = heldout.kl.map_or(String::new(), |kl| format!("KL {kl:.4}, "));
        let step = if name == "after" { format!(", step {}", report.step) } else { String::new() };
        line(name, format!("{kl}perplexity {:.3} on held-out text{step}", heldout.perplexity));
    }
    line("size", human_bytes(report.bytes));
    line("metrics", report.metrics.display().to_string());
    out
}
