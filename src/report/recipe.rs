//! What a recipe came to.

use super::text::table;
use crate::SCHEMA;
use crate::error::{count, human_bytes};
use serde::Serialize;
use serde_json::Value;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// All results of a recipe, and whether they keep its limits.
#[derive(Debug, Serialize)]
pub struct RecipeReport {
    schema: u32,
    recipe: PathBuf,
    model: String,
    /// Why there was something to do.
    pub reasons: Vec<String>,
    /// Passes, then outputs.
    pub results: Vec<KeptResult>,
    /// Output by output.
    pub measurements: Vec<Measurement>,
    /// Limit by limit.
    pub limits: Vec<Limit>,
    /// Of the whole run.
    pub seconds: f64,
}

/// A result of a pass, or an output.
#[derive(Debug, Serialize)]
pub struct KeptResult {
    /// What it is.
    pub what: String,
    /// Its hash.
    pub blake3: String,
    /// Its size.
    pub bytes: u64,
    /// It was made now, not found in the cache.
    pub made: bool,
    /// Tensors of it that were found in other outputs.
    pub copied: usize,
    /// The time that took.
    pub seconds: f64,
}

/// What is known of an output.
#[derive(Debug, Default, Serialize)]
pub struct Measurement {
    /// The output.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// On the text of `[eval]`.
    pub perplexity: Option<f64>,
    /// Mean KL from the source, in nats.
    pub kl: Option<f64>,
    /// Tokens per second after a prompt.
    pub decode: Option<f64>,
    /// All that `tersor eval` says of it.
    pub eval: Option<Value>,
}

/// A bound, and what was found.
#[derive(Debug, Serialize)]
pub struct Limit {
    /// Its name in the recipe.
    pub limit: &'static str,
    /// The output.
    pub file: String,
    /// What was found; nothing where it could not be measured.
    pub value: Option<f64>,
    /// The bound.
    pub bound: f64,
    /// The output keeps it.
    pub holds: bool,
}

impl RecipeReport {
    pub(crate) fn new(recipe: &Path, model: &str, reasons: Vec<String>) -> RecipeReport {
        RecipeReport {
            schema: SCHEMA,
            recipe: recipe.to_owned(),
            model: model.to_owned(),
            reasons,
            results: Vec::new(),
            measurements: Vec::new(),
            limits: Vec::new(),
            seconds: 0.0,
        }
    }
}

impl Measurement {
    /// Take over what an [`super::EvalReport`] says.
    pub(crate) fn take_eval(&mut self, report: &Value) {
        self.perplexity = report["perplexity"]["value"].as_f64();
        self.kl = report["kl"]["mean"].as_f64();
        self.eval = Some(report.clone());
    }
}

/// For a person.
pub fn render_recipe(report: &RecipeReport) -> String {
    let mut text = String::new();
    for reason in &report.reasons {
        let _ = writeln!(text, "because {reason}");
    }
    let mut rows = vec![["", "size", "time", "blake3"].map(str::to_owned).to_vec()];
    for result in &report.results {
        let mut time = if result.made { format!("{:.1} s", result.seconds) } else { "cached".into() };
        if result.copied > 0 {
            let _ = write!(time, ", {} copied", count(result.copied, "tensor"));
        }
        let hash = result.blake3.get(..16).unwrap_or_default().to_owned();
        rows.push([result.what.clone(), human_bytes(result.bytes), time, hash].to_vec());
    }
    text += &table(&rows, &[false, true, true]);
    let figure = |x: Option<f64>, digits: usize| x.map_or(String::new(), |x| format!("{x:.digits$}"));
    if report.measurements.iter().any(|m| m.eval.is_some() || m.decode.is_some()) {
        let mut rows = vec![["", "perplexity", "KL", "decode tokens/s"].map(str::to_owned).to_vec()];
        for of in &report.measurements {
            rows.push([of.file.clone(), figure(of.perplexity, 3), figure(of.kl, 5), figure(of.decode, 1)].to_vec());
        }
        text += "\n";
        text += &table(&rows, &[false, true, true, true]);
    }
    for limit in &report.limits {
        let Limit { limit: name, file, value, bound, holds } = limit;
        let value = value.map_or_else(|| "not measured".to_owned(), |value| format!("{value}"));
        let word = if *holds { "holds" } else { "FAILS" };
        let _ = writeln!(text, "{word}: {name} of {file}: {value}, bound {bound}");
    }
    text
}
