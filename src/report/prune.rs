//! What pruning took away.

use super::eval::{TextReport, quality};
use super::plan::{PlanReport, RunReport};
use super::svg::{Bar, bars};
use super::text::{render_plan, render_run, table};
use crate::error::count;
use crate::plan::{Input, TensorPlan};
use crate::prune::{Block, Pruned, SizeChange};
use crate::writing::{Build, Built};
use serde::Serialize;
use std::collections::BTreeMap;
use tersor_kernels::Fit;

/// How the name of a matrix's kept values ends.
const KEPT: &str = ".compressed";

/// `prune`.
#[derive(Debug, Serialize)]
pub struct PruneReport {
    /// See [`crate::SCHEMA`].
    pub schema: u32,
    /// What was done, in one line.
    pub method: String,
    /// Tensors that got zeros.
    pub tensors: Vec<SparseTensor>,
    /// Zeros that were asked for in them.
    pub zeros_asked: u64,
    /// Every block of the source, where some go.
    pub blocks: Vec<Block>,
    /// Sizes that change.
    pub sizes: Vec<SizeChange>,
    /// By block, what goes: for zeros the relative root mean square error of the weights, for blocks their influence, for
    /// channels and heads their share of the mean squares of activations.
    pub errors: Vec<f64>,
    /// Formats of tensors with zeros that do not hold a zero.
    pub formats_without_zero: Vec<&'static str>,
    /// What the zeros bring.
    pub advice: Option<String>,
    /// Perplexity and divergence, where a text is given.
    pub quality: Option<TextReport>,
    /// What would be written.
    pub plan: Option<PlanReport>,
    /// What was written.
    pub run: Option<RunReport>,
}

/// A tensor that got zeros.
#[derive(Debug, Serialize)]
pub struct SparseTensor {
    /// Its name in the output.
    pub name: String,
    /// Its block.
    pub layer: Option<u32>,
    /// Number of values.
    pub weights: u64,
    /// Zeros that were asked for, where it has a number of its own.
    pub zeros_asked: Option<u64>,
    /// Zeros in the output, as they are read back; absent before it is written.
    pub zeros: Option<u64>,
    /// Root of the squares that went over root of all squares; absent before it is written.
    pub relative_rmse: Option<f64>,
}

impl PruneReport {
    /// What is going to happen.
    pub fn planned(pruned: &Pruned, build: &Build) -> PruneReport {
        PruneReport { plan: Some(PlanReport::new(build)), ..PruneReport::new(pruned, build, None) }
    }

    /// What has happened.
    pub fn written(pruned: &Pruned, build: &Build, built: &Built) -> PruneReport {
        PruneReport { run: Some(RunReport::new(build, built)), ..PruneReport::new(pruned, build, Some(built)) }
    }

    fn new(pruned: &Pruned, build: &Build, built: Option<&Built>) -> PruneReport {
        let (mut tensors, mut layers, mut without) = (Vec::new(), BTreeMap::<u32, Fit>::new(), Vec::new());
        let plan = &build.job.plan.tensors;
        for mask in &pruned.masks {
            let is_it = |t: &TensorPlan| match &t.input {
                _ if pruned.bitmask => t.name.strip_suffix(KEPT) == Some(mask.name.trim_end_matches(".weight")),
                Input::Stored { id, .. } => *id == mask.id,
                Input::Computed(_) => false,
            };
            let Some((n, t)) = plan.iter().enumerate().find(|(_, t)| is_it(t)) else { continue };
            let lost = mask.lost();
            if let Some(layer) = mask.layer {
                *layers.entry(layer).or_default() += lost;
            }
            if t.format.codec.is_some_and(|codec| !codec.holds_zero) && !without.contains(&t.format.name) {
                without.push(t.format.name);
            }
            let found = |built: &Built| built.measured.zeros[n];
            let not_kept = mask.weights.saturating_sub(t.shape.values());
            tensors.push(SparseTensor {
                name: if pruned.bitmask { mask.name.clone() } else { t.name.clone() },
                layer: mask.layer,
                weights: mask.weights,
                zeros_asked: mask.asked,
                zeros: if pruned.bitmask { Some(not_kept) } else { built.map(found) },
                relative_rmse: built.map(|_| lost.relative_rmse()),
            });
        }
        let influences: Option<Vec<f64>> = pruned.blocks.iter().map(|block| block.influence).collect();
        let errors = match (built.is_some() && !layers.is_empty(), &influences) {
            (true, _) => layers.values().map(Fit::relative_rmse).collect(),
            (false, Some(influences)) if !influences.is_empty() => influences.clone(),
            _ => pruned.narrowed.clone(),
        };
        PruneReport {
            schema: crate::SCHEMA,
            method: pruned.how.clone(),
            advice: (!tensors.is_empty() && !pruned.bitmask).then(advice),
            tensors,
            zeros_asked: pruned.asked,
            blocks: pruned.blocks.clone(),
            sizes: pruned.sizes.clone(),
            errors,
            formats_without_zero: without,
            quality: None,
            plan: None,
            run: None,
        }
    }

    /// A picture of what goes, block by block; `None` where nothing was measured.
    pub fn svg(&self) -> Option<String> {
        if self.errors.is_empty() {
            return None;
        }
        let bar = |(n, value): (usize, &f64)| Bar {
            label: n.to_string(),
            value: *value,
            marked: self.blocks.get(n).is_some_and(|block| block.new.is_none()),
        };
        let all: Vec<Bar> = self.errors.iter().enumerate().map(bar).collect();
        let (what, legend) = if !self.tensors.is_empty() {
            ("relative error of the weights", None)
        } else if !self.blocks.is_empty() {
            ("influence of the block", Some(["stays", "goes"]))
        } else {
            ("share of activations that goes", None)
        };
        Some(bars(&format!("{what}: {}", self.method), "block", &all, legend))
    }
}

fn advice() -> String {
    "the zeros make this output neither smaller nor faster; `--method depth` and `--method width` do, and `--store bitmask` \
     makes it smaller"
        .into()
}

/// For a terminal.
pub fn render_prune(report: &PruneReport) -> String {
    let mut out = String::new();
    for part in [render_layers(report), render_blocks(report)].into_iter().flatten() {
        out += &part;
        out.push('\n');
    }
    if let Some(plan) = &report.plan {
        out += &render_plan(plan);
        out.push('\n');
    }
    let mut facts = vec![vec!["pruned".to_owned(), report.method.clone()]];
    let mut row = |name: &str, text: String| facts.push(vec![name.to_owned(), text]);
    if !report.tensors.is_empty() {
        let weights: u64 = report.tensors.iter().map(|t| t.weights).sum();
        let found: Option<u64> = report.tensors.iter().map(|t| t.zeros).sum();
        let asked = format!("{} of {weights} in {}", report.zeros_asked, count(report.tensors.len(), "tensor"));
        let found = found.map_or(String::new(), |found| {
            format!(", {found} found ({:.2} %)", 100.0 * found as f64 / weights.max(1) as f64)
        });
        row("zeros", format!("{asked} asked{found}"));
    }
    for size in &report.sizes {
        let rounded = if size.asked == size.after { String::new() } else { format!(" ({} rounded)", size.asked) };
        row(size.key, format!("{} -> {}{rounded}", size.before, size.after));
    }
    let gone: Vec<String> = report.blocks.iter().filter(|b| b.new.is_none()).map(|b| b.old.to_string()).collect();
    if !gone.is_empty() {
        let left = report.blocks.len() - gone.len();
        row("blocks", format!("{} -> {left}, without {}", report.blocks.len(), gone.join(", ")));
    }
    out += &table(&facts, &[]);
    if let Some(run) = &report.run {
        out += &render_run(run);
    }
    if let Some(text) = &report.quality {
        out += &table(&quality(text), &[]);
    }
    if !report.formats_without_zero.is_empty() {
        out += &format!("warning: {} cannot hold a zero\n", report.formats_without_zero.join(", "));
    }
    if let Some(advice) = &report.advice {
        out += &format!("{advice}\n");
    }
    out
}

/// A row per block with zeros.
fn render_layers(report: &PruneReport) -> Option<String> {
    let layers: BTreeMap<u32, Vec<&SparseTensor>> = report.tensors.iter().fold(BTreeMap::new(), |mut all, t| {
        t.layer.iter().for_each(|layer| all.entry(*layer).or_insert_with(Vec::new).push(t));
        all
    });
    let head = ["block", "tensors", "asked", "found", "error"].map(str::to_owned).to_vec();
    let percent = |part: Option<u64>, all: u64| {
        part.map_or_else(|| "-".to_owned(), |part| format!("{:.2} %", 100.0 * part as f64 / all.max(1) as f64))
    };
    let rows = layers.iter().zip(report.errors.iter().map(Some).chain(std::iter::repeat(None)));
    let rows = rows.map(|((layer, tensors), error)| {
        let all = tensors.iter().map(|t| t.weights).sum();
        let asked = percent(tensors.iter().map(|t| t.zeros_asked).sum(), all);
        let found = percent(tensors.iter().map(|t| t.zeros).sum(), all);
        let error = error.map_or_else(|| "-".into(), |error| format!("{error:.4}"));
        vec![layer.to_string(), tensors.len().to_string(), asked, found, error]
    });
    let rows: Vec<Vec<String>> = [head].into_iter().chain(rows).collect();
    (rows.len() > 1).then(|| table(&rows, &[true; 5]))
}

/// The map of old to new blocks.
fn render_blocks(report: &PruneReport) -> Option<String> {
    let head = ["block", "becomes", "influence", "removed", "KL then"].map(str::to_owned).to_vec();
    let dash = || "-".to_owned();
    let rows = report.blocks.iter().map(|block| {
        vec![
            block.old.to_string(),
            block.new.map_or_else(dash, |new| new.to_string()),
            block.influence.map_or_else(dash, |influence| format!("{influence:.4}")),
            block.removed.map_or_else(dash, |(place, _)| place.to_string()),
            block.removed.map_or_else(dash, |(_, cost)| format!("{cost:.4}")),
        ]
    });
    let rows: Vec<Vec<String>> = [head].into_iter().chain(rows).collect();
    (rows.len() > 1).then(|| table(&rows, &[true; 5]))
}
