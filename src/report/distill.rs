//! What a training run gave.

use crate::SCHEMA;
use crate::distill::{Heldout, Learnt, Settings};
use crate::error::human_bytes;
use crate::model::Computed;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// A run, and what its student is worth.
#[derive(Debug, Serialize)]
pub struct DistillReport {
    /// Version of this layout.
    pub schema: u32,
    /// What was written.
    pub output: PathBuf,
    /// What it was before.
    pub student: String,
    /// From whom.
    pub teacher: Option<String>,
    /// What the teacher was computed on.
    pub teacher_computed: Option<Computed>,
    /// The file type on whose grid it learnt.
    pub quantize: Option<&'static str>,
    /// Steps of the run.
    pub steps: u64,
    /// The step whose weights were written.
    pub step: u64,
    /// Tokens learnt from.
    pub tokens: u64,
    /// What that took, over all calls.
    pub seconds: f64,
    /// Over all calls, with measurements.
    pub tokens_per_second: f64,
    /// Held-out text before the first step.
    pub before: Option<Heldout>,
    /// Held-out text with the weights that were written.
    pub after: Option<Heldout>,
    /// Bytes that were written.
    pub bytes: u64,
    /// A line for each step.
    pub metrics: PathBuf,
    /// The student that was written, and its teacher.
    pub comparison: Option<Comparison>,
}

/// Models side by side.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// The teacher, where there is one, and the student.
    pub models: Vec<Compared>,
    /// What they write, each token the likeliest.
    pub samples: Vec<Sample>,
}

/// The figures of one model.
#[derive(Debug, Serialize)]
pub struct Compared {
    /// Its name.
    pub model: String,
    /// Values of all tensors.
    pub weights: u64,
    /// In its files.
    pub bytes: u64,
    /// Tokens per second of a prompt.
    pub prefill: f64,
    /// Tokens per second after it.
    pub decode: f64,
    /// On held-out text.
    pub perplexity: Option<f64>,
    /// From the teacher, on the same.
    pub kl: Option<f64>,
}

/// The same beginning, gone on with by each.
#[derive(Debug, Serialize)]
pub struct Sample {
    /// The beginning.
    pub prompt: String,
    /// By model.
    pub continuations: Vec<(String, String)>,
}

impl DistillReport {
    /// A report of `learnt`, whose state is in `folder`.
    pub fn new(
        output: &Path,
        (student, teacher): (String, Option<String>),
        settings: &Settings,
        learnt: &Learnt,
        folder: &Path,
        bytes: u64,
    ) -> DistillReport {
        let tokens = learnt.steps * (settings.batch * settings.context) as u64;
        DistillReport {
            schema: SCHEMA,
            output: output.to_owned(),
            student,
            teacher,
            teacher_computed: None,
            quantize: settings.quantize,
            steps: learnt.steps,
            step: learnt.step,
            tokens,
            seconds: learnt.seconds,
            tokens_per_second: tokens as f64 / learnt.seconds,
            before: learnt.before,
            after: learnt.heldout,
            bytes,
            metrics: folder.join("metrics.jsonl"),
            comparison: None,
        }
    }
}

/// As text.
pub fn render_distill(report: &DistillReport) -> String {
    let mut lines = report.lines();
    if let Some(comparison) = &report.comparison {
        let decode = |m: &Compared| format!("{} {:.0}", m.model, m.decode);
        lines.push(("decode", comparison.models.iter().map(decode).collect::<Vec<_>>().join(", ") + " tokens/s"));
    }
    lines.push(("metrics", report.metrics.display().to_string()));
    lines.into_iter().map(|(name, value)| format!("{name:10} {value}\n")).collect()
}

impl DistillReport {
    /// What there is to say, each with its name.
    pub(super) fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![("output", self.output.display().to_string()), ("student", self.student.clone())];
        let told =
            self.teacher_computed.as_ref().and_then(Computed::told).map_or(String::new(), |told| format!(", {told}"));
        lines.extend(self.teacher.as_ref().map(|teacher| ("teacher", format!("{teacher}{told}"))));
        let rate = format!("{:.0} tokens/s, {:.0} s", self.tokens_per_second, self.seconds);
        lines.push(("learnt", format!("{} steps, {} tokens, {rate}", self.steps, self.tokens)));
        for (name, heldout) in [("before", &self.before), ("after", &self.after)] {
            let Some(heldout) = heldout else { continue };
            let mut told = format!("{heldout} on held-out text");
            if name == "after" {
                told += &format!(", step {}", self.step);
            }
            if let Some(kind) = self.quantize {
                told += &format!(", rounded to {kind}");
            }
            lines.push((name, told));
        }
        lines.push(("size", human_bytes(self.bytes)));
        lines
    }
}
