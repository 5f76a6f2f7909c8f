//! What it costs to prune or to quantize each block and each matrix: the divergence from the whole model's predictions when
//! nothing else is changed.

use super::candidate::{Target, targets};
use super::influence::{following, predictions, whole};
use super::mask::Masked;
use super::owl::spread;
use super::rounded::Rounded;
use super::sparsity::{Sparsity, Wanted};
use super::{Norms, Settings, by_row, norms};
use crate::calib::Statistics;
use crate::conversion::Fallback;
use crate::error::{Error, Result};
use crate::eval::Tally;
use crate::model::{Model, Session, Weights};
use crate::progress::Silent;
use crate::source::{Content, Source, read_json_object};
use crate::tensor::{TensorId, TensorInfo};
use crate::windows::Windows;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use tersor_kernels::{Format, Level};

/// What is measured, as `tersor sensitivity` writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sensitivity {
    /// See [`crate::SCHEMA`].
    pub schema: u32,
    /// The model's name.
    pub model: String,
    /// Share, or N:M, of what is pruned.
    pub sparsity: String,
    /// `magnitude` or `wanda`.
    pub method: String,
    /// Of what is quantized.
    pub format: String,
    /// The text's name.
    pub text: String,
    /// How many contexts of it.
    pub contexts: usize,
    /// Tokens of each.
    pub context: usize,
    /// Instruction set that the model was run with.
    pub level: String,
    /// Block by block, all matrices of it together.
    pub blocks: Vec<Cost>,
    /// Matrix by matrix, by their names in GGUF.
    pub tensors: Vec<Cost>,
}

/// What changing one thing costs: mean KL divergences in nats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// A block's number, or a matrix's name.
    pub name: String,
    /// When it is pruned.
    pub prune: f64,
    /// When it is quantized.
    pub quantize: f64,
}

/// What is tried.
pub struct Probe<'a> {
    /// How much is pruned.
    pub sparsity: Sparsity,
    /// For pruning by magnitude times input, in place of magnitude.
    pub statistics: Option<&'a Statistics>,
    /// What is quantized to; matrices whose rows do not divide get llama-quantize's substitute.
    pub format: &'static Format,
    /// Whole blocks only.
    pub blocks_only: bool,
}

/// Costs of all blocks, and of their matrices.
pub type Costs = (Vec<Cost>, Vec<Cost>);

/// Measure. Progress hears of tokens: each of `windows` counts once.
///
/// # Errors
/// A model that cannot be run or pruned, [`Error::Interrupted`].
pub fn sensitivity(source: &Source, probe: &Probe<'_>, windows: &Windows, settings: &Settings<'_>) -> Result<Costs> {
    let wanted = Wanted { base: Some(probe.sparsity), rules: Vec::new() };
    let targets = targets(source, &wanted)?;
    let norms = match probe.statistics {
        Some(statistics) => norms(source, &targets, statistics)?,
        None => HashMap::new(),
    };
    let model = Model::load(source.clone(), Weights::Decoded, settings.level, settings.threads, &Silent)?;
    let changes = Changes { source: Arc::new(source.clone()), norms, format: probe.format, level: settings.level };
    let mut trial = Trial::new(&model, windows)?;
    let (mut blocks, mut tensors) = (Vec::new(), Vec::new());
    for layer in 0..model.layers() {
        let own: Vec<&Target> = targets.iter().filter(|t| t.layer == Some(layer as u32)).collect();
        let mut cost = |name: String, some: &[&Target]| -> Result<Cost> {
            let mut of = |change: Change| trial.divergence(layer, &changes.apply(some, change));
            let cost = Cost { name, prune: of(Change::Prune)?, quantize: of(Change::Quantize)? };
            if settings.progress.cancelled() { Err(Error::Interrupted) } else { Ok(cost) }
        };
        blocks.push(cost(layer.to_string(), &own)?);
        for target in own.iter().filter(|_| !probe.blocks_only) {
            let name = target.gguf.clone().unwrap_or_else(|| source.tensor(target.id).name.clone());
            tensors.push(cost(name, &[target])?);
        }
        trial.pass(layer)?;
        let done = |layer: usize| windows.total() * layer as u64 / model.layers() as u64;
        settings.progress.advance(done(layer + 1) - done(layer));
    }
    Ok((blocks, tensors))
}

/// The whole model's predictions, and hidden states on their way through it.
struct Trial<'m> {
    model: &'m Model,
    windows: &'m Windows,
    session: Session<'m>,
    /// By context, what goes into the block that is changed.
    states: Vec<Vec<f32>>,
    base: Vec<Vec<f32>>,
}

impl<'m> Trial<'m> {
    fn new(model: &'m Model, windows: &'m Windows) -> Result<Trial<'m>> {
        let mut session = Session::new(model, windows.context)?;
        let states: Vec<Vec<f32>> = windows.iter().map(|window| session.embed(window)).collect::<Result<_>>()?;
        let base = whole(model, &mut session, windows)?;
        Ok(Trial { model, windows, session, states, base })
    }

    /// The divergence when block `layer` is as `source` has it.
    fn divergence(&mut self, layer: usize, source: &Source) -> Result<f64> {
        let block = self.model.block_of(source, layer)?;
        let mut tally = Tally::new(self.windows.vocabulary());
        for ((state, base), window) in self.states.iter().zip(&self.base).zip(self.windows.iter()) {
            let mut hidden = state.clone();
            self.session.through_another(layer, &block, &mut hidden)?;
            self.session.through(layer + 1..self.model.layers(), &mut hidden)?;
            tally.add(&following(window), &predictions(self.model, &self.session, &hidden, self.windows)?, Some(base));
        }
        Ok(tally.scores().divergence.map_or(f64::NAN, |d| d.kl.mean))
    }

    /// Go on to the next block.
    fn pass(&mut self, layer: usize) -> Result<()> {
        let session = &mut self.session;
        self.states.iter_mut().try_for_each(|state| session.through([layer], state))
    }
}

#[derive(Clone, Copy)]
enum Change {
    Prune,
    Quantize,
}

/// Makes checkpoints of which some matrices are changed.
struct Changes {
    source: Arc<Source>,
    norms: Norms,
    format: &'static Format,
    level: Level,
}

impl Changes {
    fn apply(&self, targets: &[&Target], change: Change) -> Source {
        let tensors = self.source.tensors().iter().enumerate().map(|(n, tensor)| {
            match (targets.iter().find(|t| t.id == TensorId(n)), change) {
                (None, _) => (tensor.clone(), Content::Of(TensorId(n))),
                (Some(target), Change::Prune) => (tensor.clone(), self.pruned(target)),
                (Some(target), Change::Quantize) => self.quantized(target.id, tensor.shape.cols()),
            }
        });
        self.source.with_tensors(tensors.collect())
    }

    fn pruned(&self, target: &Target) -> Content {
        let (selection, _) = by_row(&self.source, target);
        let norms = self.norms.get(&target.id).cloned();
        Content::Derived(Arc::new(Masked::new(Arc::clone(&self.source), target.id, selection, norms, self.level)))
    }

    fn quantized(&self, id: TensorId, cols: u64) -> (TensorInfo, Content) {
        let divides = cols.is_multiple_of(self.format.block as u64);
        let format = if divides { self.format } else { Fallback::Llama.choose(self.format, cols).0 };
        Rounded::tensor(&self.source, id, format, self.level)
    }
}

impl Sensitivity {
    /// Read a file that `tersor sensitivity` wrote.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn read(path: &Path) -> Result<Sensitivity> {
        let table = serde_json::Value::Object(read_json_object(path)?);
        serde_json::from_value(table)
            .map_err(|e| Error::malformed(path, "sensitivity", e.to_string(), "a file that `tersor sensitivity` wrote"))
    }

    /// Sixteen hexadecimal digits of a hash of what pruning its blocks costs.
    pub fn digest(&self) -> String {
        let text: Vec<String> = self.blocks.iter().map(|cost| format!("{}={:e}", cost.name, cost.prune)).collect();
        blake3::hash(text.join("\n").as_bytes()).to_hex()[..16].to_owned()
    }

    /// Sparsities of mean `wanted`, linear in the logarithm of what pruning a block costs.
    pub(super) fn budgets(&self, blocks: impl Iterator<Item = u32>, wanted: f64) -> Result<BTreeMap<u32, f64>> {
        let cost = |block: u32| {
            let found = self.blocks.iter().find(|cost| cost.name == block.to_string());
            let found = found.map(|cost| cost.prune).filter(|kl| *kl >= 0.0 && kl.is_finite());
            found.map(|kl| (block, kl.max(f64::MIN_POSITIVE).ln())).ok_or_else(|| Error::Usage {
                problem: format!("the sensitivity of another model: nothing is known of block {block}"),
                hint: "measure this model with `tersor sensitivity`".into(),
            })
        };
        Ok(spread(&blocks.map(cost).collect::<Result<_>>()?, wanted))
    }
}
