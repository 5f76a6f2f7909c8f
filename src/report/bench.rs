//! What `bench` found.

use super::text::{markdown, table};
use crate::bench::{Load, Speed, Spread};
use crate::error::human_bytes;
use crate::eval::Scores;
use crate::model::Computed;
use serde::Serialize;
use std::path::PathBuf;
use tersor_kernels::Level;

/// Models beside each other.
#[derive(Debug, Serialize)]
pub struct BenchReport {
    schema: u32,
    level: &'static str,
    prompt: usize,
    tokens: usize,
    repetitions: usize,
    models: Vec<BenchModel>,
}

/// One model.
#[derive(Debug, Serialize)]
pub struct BenchModel {
    /// Where it is.
    pub model: PathBuf,
    /// Bytes of its files.
    pub bytes: u64,
    /// Average storage cost of a value.
    pub bits_per_weight: f64,
    /// Seconds that loading took.
    pub load: f64,
    /// Where it ran.
    pub computed: Computed,
    /// Bytes of weights in memory.
    pub weights_memory: usize,
    /// The most bytes that loading and the prompt took, where the system tells.
    pub peak_memory: Option<u64>,
    /// For each number of threads.
    pub speeds: Vec<Speed>,
    /// On a text, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quality: Option<Scores>,
}

impl BenchReport {
    /// All of it.
    pub fn new(load: &Load, models: Vec<BenchModel>) -> BenchReport {
        let Load { prompt, tokens, repetitions } = *load;
        BenchReport { schema: crate::SCHEMA, level: Level::best().name(), prompt, tokens, repetitions, models }
    }

    /// Tokens per second of the first model, one at a time, with the last number of threads.
    pub fn decode(&self) -> Option<f64> {
        Some(self.models.first()?.speeds.last()?.decode.median)
    }

    /// A row for each model and number of threads, under a head.
    fn rows(&self) -> Vec<Vec<String>> {
        let quality = self.models.iter().any(|m| m.quality.is_some());
        let base = self.models.iter().any(|m| m.quality.as_ref().is_some_and(|q| q.divergence.is_some()));
        let mut head =
            vec!["model", "size", "bits", "load s", "peak memory", "threads", "prefill t/s", "first ms", "decode t/s"];
        head.extend(quality.then_some("perplexity"));
        head.extend(base.then_some("mean KL"));
        let mut rows = vec![head.into_iter().map(str::to_owned).collect::<Vec<_>>()];
        for m in &self.models {
            for s in &m.speeds {
                let name = m.model.file_name().unwrap_or(m.model.as_os_str());
                let mut row = vec![
                    name.to_string_lossy().into_owned(),
                    human_bytes(m.bytes),
                    format!("{:.2}", m.bits_per_weight),
                    format!("{:.2}", m.load),
                    m.peak_memory.map_or("?".into(), human_bytes),
                    s.threads.to_string(),
                    format!("{:.1} {}", s.prefill.median, spread(&s.prefill)),
                    format!("{:.0}", 1000.0 * s.first_token.median),
                    format!("{:.1} {}", s.decode.median, spread(&s.decode)),
                ];
                if let Some(q) = &m.quality {
                    row.push(format!("{:.3}", q.perplexity.value));
                    row.extend(q.divergence.as_ref().map(|d| format!("{:.5}", d.kl.mean)));
                }
                rows.push(row);
            }
        }
        rows
    }

    fn note(&self) -> String {
        let mut told: Vec<String> = self.models.iter().filter_map(|model| model.computed.told()).collect();
        told.dedup();
        let told: String = told.into_iter().map(|told| format!(", {told}")).collect();
        format!(
            "{} prompt tokens, {} generated, medians of {}, {}{told}",
            self.prompt, self.tokens, self.repetitions, self.level
        )
    }
}

/// Half the way from the least to the largest, as a share of the median.
fn spread(of: &Spread) -> String {
    format!("± {:.0} %", 50.0 * (of.max - of.min) / of.median)
}

const RIGHT: &[bool] = &[false, true, true, true, true, true, true, true, true, true, true];

/// As a table.
pub fn render_bench(report: &BenchReport) -> String {
    format!("{}\n{}", report.note(), table(&report.rows(), RIGHT))
}

/// As a table in Markdown.
pub fn render_bench_markdown(report: &BenchReport) -> String {
    format!("{}\n{}\n", markdown(&report.rows(), RIGHT), report.note())
}
