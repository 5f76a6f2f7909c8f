//! A narrower model: fewer feed-forward channels, heads and hidden channels, by how strong their activations are
//! (Minitron, arXiv 2407.14679).
//!
//! Statistics give the mean square of every column that goes into a matrix. A feed-forward channel counts by its column in
//! the down projection, a group of heads by its columns in the attention output, both block by block. A hidden channel is
//! the same in all blocks and counts by its columns in the query and gate projections of all of them; norms are scaled to what
//! is left of it.

use super::candidate::{architecture, check_plain};
use super::norm;
use super::take::Taken;
use crate::arch::{Architecture, Count, Dim, Settings, with_layer};
use crate::calib::Statistics;
use crate::error::{Error, Result};
use crate::gguf::Metadata;
use crate::source::{Content, Origin, Source};
use crate::tensor::{Shape, TensorId, TensorInfo};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sizes that are asked for; what is not asked for stays.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sizes {
    /// Feed-forward channels.
    pub ffn: Option<u64>,
    /// Query heads.
    pub heads: Option<u64>,
    /// Hidden channels.
    pub hidden: Option<u64>,
    /// Channels are rounded to a multiple of this.
    pub multiple: u64,
}

impl Sizes {
    /// Nothing is asked for.
    pub fn is_empty(&self) -> bool {
        [self.ffn, self.heads, self.hidden].iter().all(Option::is_none)
    }
}

/// A size, as it was and as it is.
#[derive(Clone, Debug, serde::Serialize)]
pub struct SizeChange {
    /// The key of config.json.
    pub key: &'static str,
    /// In the source.
    pub before: u64,
    /// What was asked for; other than `after` where that is rounded.
    pub asked: u64,
    /// In the output.
    pub after: u64,
}

/// What stays of one block, or of the residual stream.
type Kept = Arc<Vec<u64>>;

/// What stays, per block where it is a block's own.
pub(super) struct Narrowing {
    pub(super) changes: Vec<SizeChange>,
    /// By block, the share of the mean squares of its feed-forward channels and attention outputs that goes.
    pub(super) lost: Vec<f64>,
    ffn: Option<Vec<Kept>>,
    groups: Option<Vec<Kept>>,
    hidden: Option<Kept>,
    /// With fewer hidden channels, what norms are multiplied with: see [`norm`].
    ratios: BTreeMap<String, f64>,
    old: Settings,
}

/// Decide what stays.
///
/// # Errors
/// Sizes that are larger than the model's or break its groups of heads, statistics of another model.
pub(super) fn narrowing(source: &Source, statistics: &Statistics, sizes: Sizes) -> Result<Narrowing> {
    let old = source.settings()?;
    let channels = |count, asked| change(&old, count, asked, sizes.multiple);
    let ffn = sizes.ffn.map(|n| channels(Count::Ffn, n)).transpose()?;
    let hidden = sizes.hidden.map(|n| channels(Count::Hidden, n)).transpose()?;
    let heads = sizes.heads.map(|n| heads(&old, n)).transpose()?;
    let changes: Vec<SizeChange> = [&ffn, &hidden, &heads].into_iter().flatten().cloned().collect();
    if changes.iter().all(|c| c.before == c.after) {
        let problem = "nothing becomes narrower".to_owned();
        return Err(Error::Usage { problem, hint: "pass a smaller `--ffn`, `--heads` or `--hidden`".into() });
    }
    let means = Means { statistics, layers: old[Count::Layers] as u32 };
    let mut found = Narrowing {
        changes,
        lost: vec![0.0; means.layers as usize],
        ffn: None,
        groups: None,
        hidden: None,
        ratios: BTreeMap::new(),
        old,
    };
    let group = found.old[Count::Heads] / found.old[Count::KvHeads];
    let width = group * found.old[Count::HeadSize];
    let down = means.all("ffn_down", found.old[Count::Ffn], 1, ffn.is_some())?;
    let output = means.all("attn_output", found.old[Count::KvHeads], width, heads.is_some())?;
    for (all, keep, kept) in
        [(down, ffn.map(|c| c.after), &mut found.ffn), (output, heads.map(|c| c.after / group), &mut found.groups)]
    {
        let Some(keep) = keep else { continue };
        for (lost, means) in found.lost.iter_mut().zip(&all) {
            *lost = lost.max(share_lost(means, &strongest(means, keep)));
        }
        *kept = Some(all.iter().map(|means| Arc::new(strongest(means, keep))).collect());
    }
    if let Some(change) = hidden {
        let inputs = ["attn_q", "ffn_gate"].map(|name| means.all(name, change.before, 1, true));
        let mut sum = vec![0.0; change.before as usize];
        for means in inputs.into_iter().collect::<Result<Vec<_>>>()?.iter().flatten() {
            sum.iter_mut().zip(means).for_each(|(sum, mean)| *sum += mean);
        }
        let kept = strongest(&sum, change.after);
        found.ratios = norm::ratios(source, &found.old, statistics, &kept)?;
        found.hidden = Some(Arc::new(kept));
    }
    Ok(found)
}

fn change(old: &Settings, count: Count, asked: u64, multiple: u64) -> Result<SizeChange> {
    let (key, _) = count.keys();
    let before = old[count];
    if asked == 0 || asked > before {
        let problem = format!("`{key}` cannot become {asked}: the model has {before}");
        return Err(Error::Usage { problem, hint: format!("ask for 1 to {before}") });
    }
    // To the nearest multiple, but not to none, and never to more than there are.
    let rounded = ((asked + multiple / 2) / multiple).max(1) * multiple;
    let after = if asked == before || rounded > before { before } else { rounded };
    Ok(SizeChange { key, before, asked, after })
}

fn heads(old: &Settings, asked: u64) -> Result<SizeChange> {
    let (before, groups) = (old[Count::Heads], old[Count::KvHeads]);
    let group = before / groups;
    if asked == 0 || asked > before || !asked.is_multiple_of(group) {
        let problem = format!("{asked} heads: the model has {before} in groups of {group}, which stay whole");
        let some: Vec<String> = (1..=groups).map(|n| (n * group).to_string()).collect();
        return Err(Error::Usage { problem, hint: format!("ask for {}", some.join(", ")) });
    }
    Ok(SizeChange { key: Count::Heads.keys().0, before, asked, after: asked })
}

/// Mean squares of activations.
struct Means<'a> {
    statistics: &'a Statistics,
    layers: u32,
}

impl Means<'_> {
    /// For every block, sums over `width` columns each of what goes into the matrix `name`; nothing unless `wanted`.
    fn all(&self, name: &str, count: u64, width: u64, wanted: bool) -> Result<Vec<Vec<f64>>> {
        let layers = if wanted { self.layers } else { 0 };
        let of = |layer| {
            let means = self.statistics.means(&format!("blk.{layer}.{name}.weight"), count * width)?;
            Ok(means.chunks_exact(width as usize).map(|some| some.iter().map(|m| f64::from(*m)).sum()).collect())
        };
        (0..layers).map(of).collect()
    }
}

/// The places of the `keep` largest values, in order; of equal ones the first.
fn strongest(values: &[f64], keep: u64) -> Vec<u64> {
    let mut order: Vec<u64> = (0..values.len() as u64).collect();
    order.sort_by(|a, b| values[*b as usize].total_cmp(&values[*a as usize]).then(a.cmp(b)));
    order.truncate(keep as usize);
    order.sort_unstable();
    order
}

fn share_lost(values: &[f64], kept: &[u64]) -> f64 {
    let all: f64 = values.iter().sum();
    let stays: f64 = kept.iter().map(|n| values[*n as usize]).sum();
    if all > 0.0 { 1.0 - stays / all } else { 0.0 }
}

impl Narrowing {
    /// The model with what stays.
    ///
    /// # Errors
    /// Tensors that the family does not have, or whose values are no plain floats.
    pub(super) fn apply(&self, source: &Source) -> Result<Source> {
        let architecture = architecture(source).expect("the settings were read");
        let inner = Arc::new(source.clone());
        let mut tensors = Vec::new();
        for (n, tensor) in source.tensors().iter().enumerate() {
            tensors.push(self.tensor(&inner, architecture, TensorId(n), tensor)?);
        }
        let mut changed = source.with_tensors(tensors);
        match &mut changed.origin {
            Origin::HuggingFace { config, .. } => self.correct_config(config),
            Origin::Gguf { metadata } => self.correct_metadata(metadata),
            Origin::Bare => {}
        }
        Ok(changed)
    }

    fn tensor(
        &self,
        inner: &Arc<Source>,
        architecture: &Architecture,
        id: TensorId,
        tensor: &TensorInfo,
    ) -> Result<(TensorInfo, Content)> {
        let in_gguf = matches!(inner.origin, Origin::Gguf { .. });
        let rule = if in_gguf { architecture.by_gguf(&tensor.name) } else { architecture.by_hf(&tensor.name) };
        let Some((rule, layer)) = rule else { return Ok((tensor.clone(), Content::Of(id))) };
        rule.check_shape(tensor, &self.old)?;
        if let Some((ratio, kept)) = self.ratios.get(&with_layer(rule.gguf, layer)).zip(self.hidden.as_ref()) {
            return norm::scaled(inner, id, kept, *ratio);
        }
        let mut taken: Vec<Option<Kept>> = rule.shape.iter().map(|dim| self.kept(*dim, layer)).collect();
        if taken.iter().all(Option::is_none) {
            return Ok((tensor.clone(), Content::Of(id)));
        }
        check_plain(inner, tensor)?;
        let sizes = tensor.shape.dims().iter().zip(&taken);
        let dims = sizes.map(|(size, kept)| kept.as_ref().map_or(*size, |kept| kept.len() as u64)).collect();
        let shape = Shape::new(dims).expect("smaller than before");
        let bytes = tensor.format.size_of(shape.values()).expect("smaller than before");
        let cols = taken.pop().flatten();
        let rows = taken.pop().flatten();
        let content = Content::Derived(Arc::new(Taken { source: Arc::clone(inner), id, rows, cols }));
        Ok((TensorInfo { name: tensor.name.clone(), shape, format: tensor.format, bytes }, content))
    }

    /// What stays of a dimension; `None` for all of it.
    fn kept(&self, dim: Dim, layer: Option<u32>) -> Option<Kept> {
        let of_block = |all: &Option<Vec<Kept>>| all.as_ref()?.get(layer? as usize).cloned();
        let size = self.old[Count::HeadSize];
        let heads = |width: u64| {
            let groups = of_block(&self.groups)?;
            Some(Arc::new(groups.iter().flat_map(|g| g * width..(g + 1) * width).collect()))
        };
        match dim {
            Dim::Is(Count::Ffn) => of_block(&self.ffn),
            Dim::Is(Count::Hidden) => self.hidden.clone(),
            Dim::Is(_) => None,
            Dim::KeyValue => heads(size),
            Dim::Query => heads(size * self.old[Count::Heads] / self.old[Count::KvHeads]),
        }
    }

    /// The counts that change, with their new values; the size of a head, where it no longer follows from the others.
    fn counts(&self) -> Vec<(Count, u64)> {
        let mut new = Vec::new();
        let (mut heads, mut hidden) = (self.old[Count::Heads], self.old[Count::Hidden]);
        for change in &self.changes {
            let count = [Count::Ffn, Count::Hidden, Count::Heads].into_iter().find(|c| c.keys().0 == change.key);
            let count = count.expect("one of these was changed");
            new.push((count, change.after));
            match count {
                Count::Heads => {
                    heads = change.after;
                    new.push((Count::KvHeads, heads * self.old[Count::KvHeads] / self.old[Count::Heads]));
                }
                Count::Hidden => hidden = change.after,
                _ => {}
            }
        }
        if heads * self.old[Count::HeadSize] != hidden {
            new.push((Count::HeadSize, self.old[Count::HeadSize]));
        }
        new
    }

    fn correct_config(&self, config: &mut Map<String, Value>) {
        for (count, value) in self.counts() {
            config.insert(count.keys().0.into(), value.into());
        }
    }

    fn correct_metadata(&self, metadata: &mut Metadata) {
        let family = self.old.architecture.gguf;
        for (count, value) in self.counts() {
            metadata.set(format!("{family}.{}", count.keys().1), value as u32);
            if count == Count::HeadSize {
                metadata.set(format!("{family}.attention.value_length"), value as u32);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_stay_and_of_equal_ones_the_first() {
        assert_eq!(strongest(&[1.0, 3.0, 2.0, 3.0, 2.0], 3), [1, 2, 3]);
        assert_eq!(strongest(&[1.0, 1.0], 1), [0]);
        assert_eq!(share_lost(&[1.0, 3.0], &[1]), 0.25);
    }
}
