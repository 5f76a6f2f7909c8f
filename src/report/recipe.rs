//! What a recipe came to.

use super::page::{html_table, map, page};
use super::svg::escaped;
use super::text::table;
use crate::SCHEMA;
use crate::arch::{layer_number, role_of, with_layer};
use crate::error::{count, human_bytes};
use crate::source::{HISTORY, Source};
use crate::verify::{Diff, Pair};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::fmt::{self, Write};
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
    /// Tensors of it that a run before this one had finished.
    pub finished: usize,
    /// The time that took; outputs are made together.
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
    /// What writing it said.
    pub written: Option<Value>,
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

impl KeptResult {
    fn row(&self) -> Vec<String> {
        let mut time = if self.made { format!("{:.1} s", self.seconds) } else { "cached".into() };
        if self.copied > 0 {
            let _ = write!(time, ", {} copied", count(self.copied, "tensor"));
        }
        if self.finished > 0 {
            let _ = write!(time, ", {} finished before", count(self.finished, "tensor"));
        }
        let hash = self.blake3.get(..16).unwrap_or_default().to_owned();
        vec![self.what.clone(), human_bytes(self.bytes), time, hash]
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Limit { limit: name, file, value, bound, holds } = self;
        let number = |x: f64| if x.fract() == 0.0 { format!("{x}") } else { format!("{x:.5}") };
        let value = value.map_or_else(|| "not measured".to_owned(), number);
        let word = if *holds { "holds" } else { "FAILS" };
        write!(f, "{word}: {name} of {file}: {value}, bound {bound}")
    }
}

/// For a person.
pub fn render_recipe(report: &RecipeReport) -> String {
    let mut text = String::new();
    for reason in &report.reasons {
        let _ = writeln!(text, "because {reason}");
    }
    let mut rows = vec![["", "size", "time", "blake3"].map(str::to_owned).to_vec()];
    rows.extend(report.results.iter().map(KeptResult::row));
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
        let _ = writeln!(text, "{limit}");
    }
    text
}

/// As a page that needs nothing beside it.
pub fn render_recipe_html(report: &RecipeReport) -> String {
    let figure = |x: Option<f64>, digits: usize| x.map_or("-".to_owned(), |x| format!("{x:.digits$}"));
    let mut out = String::new();
    let head = ["output", "size", "bits per weight", "perplexity", "KL", "decode, tokens/s", "lost most"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for of in &report.measurements {
        let written = of.written.as_ref();
        let bits = written.and_then(|written| written["totals"]["bits_per_weight"].as_f64());
        let worst = written.and_then(|w| w["worst"]["tensor"].as_str()).unwrap_or("-").to_owned();
        let size = human_bytes(of.bytes);
        let figures = [figure(bits, 2), figure(of.perplexity, 3), figure(of.kl, 5), figure(of.decode, 1)];
        rows.push([&[of.file.clone(), size], &figures[..], &[worst]].concat());
    }
    out += &html_table(&rows, " class=\"numbers\"");
    if !report.limits.is_empty() {
        out += "<h2>Limits</h2>\n<ul>\n";
        for limit in &report.limits {
            let class = if limit.holds { "" } else { " class=\"fails\"" };
            let _ = writeln!(out, "<li{class}>{}</li>", escaped(&limit.to_string()));
        }
        out += "</ul>\n";
    }
    for of in &report.measurements {
        let tensors = of.written.as_ref().and_then(|written| written["tensors"].as_array());
        if let Some(tensors) = tensors {
            let _ = write!(out, "<h2>{}</h2>\n{}", escaped(&of.file), maps(tensors));
        }
    }
    let mut rows = vec![["result", "size", "time", "BLAKE3"].map(str::to_owned).to_vec()];
    rows.extend(report.results.iter().map(KeptResult::row));
    let _ = write!(out, "<h2>How it came about</h2>\n{}", html_table(&rows, ""));
    page(&format!("{} by {}", report.model, report.recipe.display()), &out)
}

/// Sizes, bits and errors of an output's tensors by role and block, and what fell back.
fn maps(tensors: &[Value]) -> String {
    let layers: BTreeSet<u64> = tensors.iter().filter_map(|t| t["layer"].as_u64()).collect();
    let columns: Vec<String> = layers.iter().map(u64::to_string).chain(["-".to_owned()]).collect();
    let mut roles: Vec<&str> = Vec::new();
    for role in tensors.iter().filter_map(|t| t["role"].as_str()) {
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    // Several tensors may have one role in a block: their sums count.
    let map_of = |roles: &[&str], value: &dyn Fn(&[&Value]) -> Option<f64>, digits: usize| {
        let row = |role: &&str| {
            let of = |layer: Option<u64>| {
                let own: Vec<&Value> =
                    tensors.iter().filter(|t| t["role"] == **role && t["layer"].as_u64() == layer).collect();
                if own.is_empty() { None } else { value(&own) }
            };
            ((*role).to_owned(), layers.iter().map(|layer| of(Some(*layer))).chain([of(None)]).collect())
        };
        map(&columns, &roles.iter().map(row).collect::<Vec<_>>(), digits)
    };
    let sum = |own: &[&Value], name: &str| own.iter().filter_map(|t| t[name].as_f64()).sum::<f64>();
    let worst = |own: &[&Value]| own.iter().filter_map(|t| t["relative_rmse"].as_f64()).fold(0.0, f64::max);
    // Vectors stay floats: beside their bits those of matrices could not be told apart.
    let matrices: Vec<&str> = roles.iter().copied().filter(|role| !["norm", "bias"].contains(role)).collect();
    let mut out = String::new();
    let mut section = |title: &str, map: String| {
        let _ = write!(out, "<h3>{title}</h3>\n{map}");
    };
    section("Size by role and block, kB", map_of(&roles, &|own| Some(sum(own, "bytes") / 1e3), 1));
    section("Bits per weight", map_of(&matrices, &|own| Some(8.0 * sum(own, "bytes") / sum(own, "values")), 2));
    if tensors.iter().any(|t| t["relative_rmse"].is_number()) {
        section("Error, relative RMSE", map_of(&matrices, &|own| Some(worst(own)), 5));
    }
    if tensors.iter().any(|t| t["zeros"].as_u64().is_some_and(|zeros| zeros > 0)) {
        section("Share of zeros", map_of(&matrices, &|own| Some(sum(own, "zeros") / sum(own, "values")), 3));
    }
    let fell: Vec<String> = tensors
        .iter()
        .filter_map(|t| {
            Some(format!(
                "{}: {} in place of {}",
                t["name"].as_str()?,
                t["format"].as_str()?,
                t["fallback_from"].as_str()?
            ))
        })
        .collect();
    if !fell.is_empty() {
        let items: String = fell.iter().map(|line| format!("<li>{}</li>\n", escaped(line))).collect();
        let _ = write!(out, "<h3>What fell back</h3>\n<ul>\n{items}</ul>\n");
    }
    out
}

/// A page about a model alone, or beside the one that it was made from.
pub fn render_model_html(model: &Source, found: Option<&Diff>) -> String {
    let pairs: HashMap<&str, &Pair> =
        found.iter().flat_map(|diff| &diff.tensors).map(|pair| (pair.name.as_str(), pair)).collect();
    let family = model.settings().ok().map(|settings| settings.architecture);
    let rows: Vec<Value> = model
        .tensors()
        .iter()
        .map(|tensor| {
            let rule = family.and_then(|family| family.by_gguf(&tensor.name).or_else(|| family.by_hf(&tensor.name)));
            let name = rule.map_or_else(|| tensor.name.clone(), |(rule, layer)| with_layer(rule.gguf, layer));
            let pair = pairs.get(name.as_str());
            json!({
                "role": rule.map_or_else(|| role_of(&tensor.name), |(rule, _)| rule.role).name(),
                "layer": rule.map_or_else(|| layer_number(&tensor.name), |(_, layer)| layer),
                "bytes": tensor.bytes,
                "values": tensor.shape.values(),
                "relative_rmse": pair.and_then(|pair| pair.relative_rmse),
                "zeros": pair.and_then(|pair| Some((pair.zeros?[1] * tensor.shape.values() as f64).round() as u64)),
            })
        })
        .collect();
    let mut facts = vec![["model", ""].map(str::to_owned).to_vec()];
    let bytes: u64 = model.tensors().iter().map(|t| t.bytes).sum();
    let values: u64 = model.tensors().iter().map(|t| t.shape.values()).sum();
    facts.push(vec!["size".into(), human_bytes(model.bytes())]);
    facts.push(vec!["bits per weight".into(), format!("{:.2}", 8.0 * bytes as f64 / values.max(1) as f64)]);
    let keys = ["tersor.version", "tersor.recipe"].into_iter().chain(HISTORY);
    facts.extend(keys.filter_map(|key| Some(vec![key.to_owned(), model.fact(key)?.to_owned()])));
    if let Some([base, _]) = found.map(|diff| &diff.models) {
        facts.push(vec!["made from".into(), base.display().to_string()]);
    }
    page(&model.name, &(html_table(&facts, "") + &maps(&rows)))
}
