//! Pruning: a checkpoint becomes one with zeros, fewer blocks or narrower matrices.
//!
//! A pruned model is a [`Source`] whose tensors are computed while they are read, so everything that reads a checkpoint -
//! conversion, quantization, running it - works on it without a copy on disk.

mod candidate;
mod depth;
mod influence;
mod mask;
mod norm;
mod owl;
mod pieces;
mod rounded;
mod sensitivity;
mod sparsity;
mod take;
mod threshold;
mod width;

pub use owl::{OUTLIER, SPREAD};
pub use sensitivity::{Cost, Costs, Probe, Sensitivity, sensitivity};
pub use sparsity::{Sparsity, SparsityRule, Wanted};
pub use width::{SizeChange, Sizes};

use crate::calib::Statistics;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::source::{Content, Origin, PRUNED, Source, packed_as_bitmask};
use crate::tensor::TensorId;
use crate::windows::Windows;
use candidate::{Target, targets};
use mask::{Masked, Selection};
use pieces::Reader;
use rounded::Rounded;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use tersor_kernels::{Fit, Format, Level};

/// What is pruned, and by what measure.
pub enum Method {
    /// The weights of least magnitude become zero.
    Magnitude {
        /// How many.
        wanted: Wanted,
        /// Among which they are compared.
        scope: Scope,
    },
    /// In every row, the weights of least magnitude times norm of their input become zero (Wanda, arXiv 2306.11695).
    Wanda {
        /// How many.
        wanted: Wanted,
        /// The norms.
        statistics: Statistics,
        /// How the blocks share the sparsity.
        allocate: Allocate,
    },
    /// These blocks go.
    Drop(BTreeSet<usize>),
    /// Blocks go until this many are left.
    Depth {
        /// How many stay.
        keep: usize,
        /// The text that they are judged on.
        windows: Windows,
        /// By measured divergence, one after another, instead of influence.
        search: bool,
    },
    /// Channels and heads go.
    Width {
        /// How many stay.
        sizes: Sizes,
        /// How strong they are.
        statistics: Statistics,
    },
}

/// The weights that one threshold of magnitude is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Of a row.
    Row,
    /// Of a tensor.
    Tensor,
    /// Of all tensors that no rule names.
    Global,
}

impl Scope {
    /// Every scope, by the name on the command line.
    pub const ALL: [(&'static str, Scope); 3] =
        [("row", Scope::Row), ("tensor", Scope::Tensor), ("global", Scope::Global)];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        Scope::ALL.iter().find(|(_, scope)| *scope == self).map_or("", |(name, _)| name)
    }
}

/// How blocks share a sparsity.
#[derive(Clone, Debug, PartialEq)]
pub enum Allocate {
    /// All alike.
    Uniform,
    /// By their outliers, see [`OUTLIER`] and [`SPREAD`].
    Owl,
    /// By the divergence that pruning each of them was measured to cost, in place of outliers.
    Measured(Box<Sensitivity>),
}

/// A pruned model.
pub struct Pruned {
    /// The model.
    pub source: Source,
    /// What was done, in one line.
    pub how: String,
    /// Tensors that got zeros.
    pub masks: Vec<Mask>,
    /// They are kept as bits and values.
    pub bitmask: bool,
    /// Zeros that were asked for in all of them.
    pub asked: u64,
    /// Every block, where some go.
    pub blocks: Vec<Block>,
    /// Sizes that change.
    pub sizes: Vec<SizeChange>,
    /// By block, the share of activations that goes with channels and heads.
    pub narrowed: Vec<f64>,
}

/// A tensor that got zeros.
pub struct Mask {
    /// In the source.
    pub id: TensorId,
    /// Its name there.
    pub name: String,
    /// Number of values.
    pub weights: u64,
    /// Its block.
    pub layer: Option<u32>,
    /// Zeros that were asked for; `None` where tensors share a threshold.
    pub asked: Option<u64>,
    masked: Arc<Masked>,
}

impl Mask {
    /// Squares of the weights that went, and of all, once the tensor was read.
    pub fn lost(&self) -> Fit {
        self.masked.lost()
    }
}

/// A block of the source.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Block {
    /// Its number in the source.
    pub old: usize,
    /// Its number in the output; `None` where it goes.
    pub new: Option<usize>,
    /// 1 less the mean cosine of what goes in and comes out, where it was measured.
    pub influence: Option<f64>,
    /// Of a block that was found by search: which one of them it was, from 1, and the divergence after its removal.
    pub removed: Option<(usize, f64)>,
}

/// How to prune, besides what.
pub struct Settings<'a> {
    /// Instruction set; zeros do not depend on it.
    pub level: Level,
    /// Worker threads; nothing depends on their number.
    pub threads: usize,
    /// Hears of bytes for magnitudes and statistics, of tokens where the model is run.
    pub progress: &'a dyn Progress,
}

/// Decide what goes, and give the model without it.
///
/// # Errors
/// Whatever makes it impossible; see each method.
pub fn prune(source: Source, method: &Method, settings: &Settings<'_>) -> Result<Pruned> {
    let Settings { level, threads, progress } = *settings;
    let reader = Reader { source: &source, level, threads, progress };
    let mut pruned = match method {
        Method::Magnitude { wanted, scope } => {
            let targets = targets(&source, wanted)?;
            let zeros = by_magnitude(&reader, &targets, *scope)?;
            masked(&source, targets, zeros, &HashMap::new(), level)
        }
        Method::Wanda { wanted, statistics, allocate } => {
            let targets = targets(&source, wanted)?;
            let norms = norms(&source, &targets, statistics)?;
            let targets = allocated(&reader, targets, &norms, allocate)?;
            let zeros = targets.iter().map(|t| by_row(&source, t)).collect();
            masked(&source, targets, Zeros { each: zeros, together: 0 }, &norms, level)
        }
        Method::Drop(dropped) => drop_blocks(&source, dropped)?,
        Method::Depth { keep, windows, search } => shallower(&reader, *keep, windows, *search)?,
        Method::Width { sizes, statistics } => {
            let narrowing = width::narrowing(&source, statistics, *sizes)?;
            let source = narrowing.apply(&source)?;
            Pruned { sizes: narrowing.changes, narrowed: narrowing.lost, ..Pruned::of(source) }
        }
    };
    pruned.how = provenance(method, &pruned);
    let before = source.fact(PRUNED).map(|text| format!("{text}; ")).unwrap_or_default();
    pruned.source.set_fact(PRUNED, before + &pruned.how);
    Ok(pruned)
}

/// One line for the file's provenance: what decides the output, as it was decided.
fn provenance(method: &Method, pruned: &Pruned) -> String {
    match method {
        Method::Magnitude { wanted, scope } => format!("magnitude sparsity={wanted} scope={}", scope.name()),
        Method::Wanda { wanted, statistics, allocate } => {
            let allocate = match allocate {
                Allocate::Uniform => String::new(),
                Allocate::Owl => " allocate=owl".into(),
                Allocate::Measured(sensitivity) => format!(" allocate={}", sensitivity.digest()),
            };
            format!("wanda sparsity={wanted} imatrix={} tokens={}{allocate}", statistics.digest(), statistics.tokens())
        }
        Method::Drop(_) | Method::Depth { .. } => {
            let gone = pruned.blocks.iter().filter(|block| block.new.is_none());
            let gone: Vec<String> = gone.map(|block| block.old.to_string()).collect();
            let seen = match method {
                Method::Depth { windows, .. } => format!(" tokens={}", windows.total()),
                _ => String::new(),
            };
            format!("depth drop={}{seen}", gone.join(","))
        }
        Method::Width { statistics, .. } => {
            let sizes = pruned.sizes.iter().map(|size| format!("{}={}", size.key, size.after));
            let sizes: Vec<String> = sizes.collect();
            format!("width {} imatrix={} tokens={}", sizes.join(" "), statistics.digest(), statistics.tokens())
        }
    }
}

impl Pruned {
    /// Keep the matrices that got zeros as bits and values, the values as they are or as the codes of q8_0.
    ///
    /// # Errors
    /// A model without such matrices, or that is no folder; rows that blocks of q8_0 do not divide; files that cannot be
    /// read.
    pub fn as_bitmask(self, int8: bool, settings: &Settings<'_>) -> Result<Pruned> {
        let usage = |problem: String, hint: &str| Err(Error::Usage { problem, hint: hint.into() });
        if self.masks.is_empty() || !matches!(self.source.origin, Origin::HuggingFace { .. }) {
            let problem = "`--store bitmask` is for folders with zeros".to_owned();
            return usage(problem, "prune a Hugging Face folder by magnitude or wanda");
        }
        let mut source = self.source.clone();
        let ids: Vec<TensorId> = self.masks.iter().map(|mask| mask.id).collect();
        if let Some(odd) = ids.iter().map(|id| source.tensor(*id)).find(|t| t.shape.rank() != 2) {
            return usage(format!("tensor `{}` is no matrix", odd.name), "leave out the rule that names it");
        }
        if int8 {
            let q8_0 = Format::by_name("q8_0").expect("a row of the table");
            let inner = Arc::new(source.clone());
            let tensors = source.tensors().iter().enumerate().map(|(n, tensor)| {
                let id = TensorId(n);
                match (ids.contains(&id), tensor.shape.cols().is_multiple_of(q8_0.block as u64)) {
                    (true, true) => Ok(Rounded::tensor(&inner, id, q8_0, settings.level)),
                    (false, _) => Ok((tensor.clone(), Content::Of(id))),
                    (true, false) => {
                        let (cols, format, block) = (tensor.shape.cols(), q8_0.name, q8_0.block);
                        Err(Error::Misshapen { tensor: tensor.name.clone(), cols, format, block })
                    }
                }
            });
            source = source.with_tensors(tensors.collect::<Result<_>>()?);
        }
        let source = packed_as_bitmask(&source, &ids, settings.threads, settings.progress)?;
        Ok(Pruned { source, bitmask: true, ..self })
    }

    fn of(source: Source) -> Pruned {
        let (how, masks, bitmask, asked, blocks, sizes, narrowed) = Default::default();
        Pruned { source, how, masks, bitmask, asked, blocks, sizes, narrowed }
    }
}

/// Which weights of a tensor go, and how many that is, where the tensor alone decides it.
type Choice = (Selection, Option<u64>);

/// Which weights go.
struct Zeros {
    /// Target by target.
    each: Vec<Choice>,
    /// How many go in those that share a threshold.
    together: u64,
}

/// Zeros in every row.
fn by_row(source: &Source, target: &Target) -> Choice {
    let shape = &source.tensor(target.id).shape;
    let (zeros, group) = match target.sparsity {
        Sparsity::Share(_) => (target.sparsity.zeros(shape.cols()) as usize, shape.cols().max(1) as usize),
        Sparsity::Pattern { keep, of } => (of - keep, of),
    };
    (Selection::Lowest { zeros, group }, Some(shape.values() / group as u64 * zeros as u64))
}

fn by_magnitude(reader: &Reader<'_>, targets: &[Target], scope: Scope) -> Result<Zeros> {
    let source = reader.source;
    let values = |t: &Target| source.tensor(t.id).shape.values();
    let mut together = 0;
    let mut each: Vec<Choice> = targets.iter().map(|t| by_row(source, t)).collect();
    // N:M has its own neighbourhood, whatever the scope.
    let shares = |t: &&(usize, &Target)| matches!(t.1.sparsity, Sparsity::Share(_));
    let all: Vec<(usize, &Target)> = targets.iter().enumerate().collect();
    let groups: Vec<Vec<(usize, &Target)>> = match scope {
        Scope::Row => Vec::new(),
        Scope::Tensor => all.iter().filter(shares).map(|t| vec![*t]).collect(),
        Scope::Global => {
            let (alone, together): (Vec<_>, Vec<_>) = all.iter().filter(shares).partition(|(_, t)| t.by_rule);
            alone.into_iter().map(|t| vec![t]).chain([together]).filter(|group| !group.is_empty()).collect()
        }
    };
    for group in groups {
        let ids: Vec<TensorId> = group.iter().map(|(_, t)| t.id).collect();
        let zeros = group[0].1.sparsity.zeros(group.iter().map(|(_, t)| values(t)).sum());
        let alone = (group.len() == 1).then_some(zeros);
        together += if alone.is_some() { 0 } else { zeros };
        let found = threshold::selections(reader, &ids, zeros)?;
        group.iter().zip(found).for_each(|((n, _), selection)| each[*n] = (selection, alone));
    }
    Ok(Zeros { each, together })
}

/// By tensor, the norm of every column of what goes into it: sqrt(sum of squares / tokens).
type Norms = HashMap<TensorId, Arc<Vec<f32>>>;

fn norms(source: &Source, targets: &[Target], statistics: &Statistics) -> Result<Norms> {
    let norms = targets.iter().map(|t| {
        let tensor = source.tensor(t.id);
        let name = t.gguf.as_ref().ok_or_else(|| Error::Usage {
            problem: format!("tensor `{}` has no name in statistics: its family is not known", tensor.name),
            hint: "prune it by magnitude".into(),
        })?;
        let means = statistics.means(name, tensor.shape.cols())?;
        Ok((t.id, Arc::new(means.into_iter().map(f32::sqrt).collect())))
    });
    norms.collect()
}

/// The targets with their block's share of the sparsity.
fn allocated(reader: &Reader<'_>, targets: Vec<Target>, norms: &Norms, allocate: &Allocate) -> Result<Vec<Target>> {
    if *allocate == Allocate::Uniform {
        return Ok(targets);
    }
    let shared = |t: &Target| match (t.sparsity, t.layer) {
        (Sparsity::Share(share), Some(layer)) if !t.by_rule => Some((share, layer)),
        _ => None,
    };
    let scored: Vec<_> =
        targets.iter().filter_map(|t| shared(t).map(|(_, layer)| (layer, t.id, Arc::clone(&norms[&t.id])))).collect();
    let Some((share, _)) = targets.iter().find_map(shared) else {
        let problem = "`--allocate` has no effect here: it spreads a share over blocks, and N:M is fixed".to_owned();
        return Err(Error::Usage { problem, hint: "give a share, such as `--sparsity 0.5`".into() });
    };
    let budgets = match allocate {
        Allocate::Measured(sensitivity) => sensitivity.budgets(scored.iter().map(|(block, ..)| *block), share)?,
        _ => owl::budgets(reader, &scored, share)?,
    };
    let with_budget = |t: Target| match shared(&t) {
        Some((_, layer)) => Target { sparsity: Sparsity::Share(budgets[&layer]), ..t },
        None => t,
    };
    Ok(targets.into_iter().map(with_budget).collect())
}

/// The model with zeros.
fn masked(source: &Source, targets: Vec<Target>, zeros: Zeros, norms: &Norms, level: Level) -> Pruned {
    let inner = Arc::new(source.clone());
    let mut masks: BTreeMap<TensorId, Mask> = BTreeMap::new();
    for (t, (selection, asked)) in targets.into_iter().zip(zeros.each) {
        let (name, weights) = (source.tensor(t.id).name.clone(), source.tensor(t.id).shape.values());
        let norms = norms.get(&t.id).cloned();
        let masked = Arc::new(Masked::new(Arc::clone(&inner), t.id, selection, norms, level));
        masks.insert(t.id, Mask { id: t.id, name, weights, layer: t.layer, asked, masked });
    }
    let tensors = source.tensors().iter().enumerate().map(|(n, tensor)| {
        let content = match masks.get(&TensorId(n)) {
            Some(mask) => Content::Derived(mask.masked.clone()),
            None => Content::Of(TensorId(n)),
        };
        (tensor.clone(), content)
    });
    let source = source.with_tensors(tensors.collect());
    let masks: Vec<Mask> = masks.into_values().collect();
    let asked = zeros.together + masks.iter().filter_map(|mask| mask.asked).sum::<u64>();
    Pruned { masks, asked, ..Pruned::of(source) }
}

fn drop_blocks(source: &Source, dropped: &BTreeSet<usize>) -> Result<Pruned> {
    let count = depth::count(source)?;
    let usage = |problem: String| Error::Usage { problem, hint: format!("name some of blocks 0 to {}", count - 1) };
    if let Some(beyond) = dropped.iter().find(|n| **n >= count) {
        return Err(usage(format!("there is no block {beyond}: the model has {count}")));
    }
    if dropped.len() == count {
        return Err(usage(format!("all {count} blocks would go")));
    }
    let mut next = 0..;
    let block = |old| {
        let new = if dropped.contains(&old) { None } else { next.next() };
        Block { old, new, influence: None, removed: None }
    };
    let blocks = (0..count).map(block).collect();
    Ok(Pruned { blocks, ..Pruned::of(depth::without(source, dropped)?) })
}

/// The model with as many blocks, those that matter least gone.
fn shallower(reader: &Reader<'_>, keep: usize, windows: &Windows, search: bool) -> Result<Pruned> {
    let count = depth::count(reader.source)?;
    if keep == 0 || keep >= count {
        let problem = format!("{keep} blocks cannot be kept of {count}");
        return Err(Error::Usage { problem, hint: format!("ask for 1 to {}", count - 1) });
    }
    let influences = influence::influences(reader, windows)?;
    let removed = if search { influence::search(reader, windows, keep)? } else { Vec::new() };
    let dropped: BTreeSet<usize> = if search {
        removed.iter().map(|(block, _)| *block).collect()
    } else {
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by(|a, b| influences[*a].total_cmp(&influences[*b]).then(a.cmp(b)));
        order.into_iter().take(count - keep).collect()
    };
    let mut pruned = drop_blocks(reader.source, &dropped)?;
    for block in &mut pruned.blocks {
        block.influence = Some(influences[block.old]);
        let place = removed.iter().position(|(n, _)| *n == block.old);
        block.removed = place.map(|place| (place + 1, removed[place].1));
    }
    Ok(pruned)
}
