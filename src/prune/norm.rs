//! Norms over fewer channels.
//!
//! A norm divides by the root mean square of all channels. Over those that stay this is another number: r times as large,
//! where r^2 is the mean over them of u, the mean square of each channel after the division (over all channels, u has the
//! mean 1). Weights multiplied by r give what follows the strength that it is used to. Statistics of a matrix that follows
//! have u times the square of the norm's weight.

use super::candidate::check_plain;
use crate::arch::{Architecture, Count, Settings, with_layer};
use crate::calib::Statistics;
use crate::error::{Error, Result};
use crate::source::{Content, Origin, Source, given};
use crate::tensor::{TensorId, TensorInfo};
use std::collections::BTreeMap;

/// The norms of a block, and a matrix that each goes into.
const NORMS: [(&str, &str); 2] =
    [("blk.{}.attn_norm.weight", "blk.{}.attn_q.weight"), ("blk.{}.ffn_norm.weight", "blk.{}.ffn_gate.weight")];
/// The last norm.
const LAST: (&str, &str) = ("output_norm.weight", "output.weight");

/// r of every norm, by its name in GGUF, when of the hidden channels `kept` stay. Without statistics of the output head, the
/// last norm has that of the norm before it.
pub(super) fn ratios(
    source: &Source,
    old: &Settings,
    statistics: &Statistics,
    kept: &[u64],
) -> Result<BTreeMap<String, f64>> {
    let mut ratios = BTreeMap::new();
    let mut last = 1.0;
    for layer in 0..old[Count::Layers] as u32 {
        for (norm, matrix) in NORMS.map(|(norm, matrix)| (norm, with_layer(matrix, Some(layer)))) {
            let means = statistics.means(&matrix, old[Count::Hidden])?;
            last = ratio(&weights(source, old.architecture, norm, Some(layer))?, &means, kept);
            ratios.insert(with_layer(norm, Some(layer)), last);
        }
    }
    if let Ok(means) = statistics.means(LAST.1, old[Count::Hidden]) {
        last = ratio(&weights(source, old.architecture, LAST.0, None)?, &means, kept);
    }
    ratios.insert(LAST.0.into(), last);
    Ok(ratios)
}

fn weights(source: &Source, architecture: &Architecture, norm: &str, layer: Option<u32>) -> Result<Vec<f32>> {
    let in_gguf = matches!(source.origin, Origin::Gguf { .. });
    let rule = architecture.tensors.iter().find(|rule| rule.gguf == norm);
    let name =
        rule.map_or_else(|| norm.to_owned(), |rule| with_layer(if in_gguf { rule.gguf } else { rule.hf }, layer));
    source.values(source.find(&name).ok_or(Error::MissingTensors { names: vec![name] })?)
}

fn ratio(weights: &[f32], means: &[f32], kept: &[u64]) -> f64 {
    let square = |n: &u64| {
        let weight = f64::from(weights[*n as usize]);
        // Of a channel that the norm takes out nothing is known, and nothing depends on it.
        if weight == 0.0 { 0.0 } else { f64::from(means[*n as usize]) / (weight * weight) }
    };
    let mean = kept.iter().map(square).sum::<f64>() / kept.len() as f64;
    if mean > 0.0 && mean.is_finite() { mean.sqrt() } else { 1.0 }
}

/// The values `kept` of a norm, times `ratio`.
pub(super) fn scaled(source: &Source, id: TensorId, kept: &[u64], ratio: f64) -> Result<(TensorInfo, Content)> {
    let tensor = source.tensor(id);
    check_plain(source, tensor)?;
    let all = source.values(id)?;
    let values: Vec<f32> = kept.iter().map(|n| (f64::from(all[*n as usize]) * ratio) as f32).collect();
    given(&tensor.name, vec![kept.len() as u64], tensor.format, &values).ok_or_else(|| source.unreadable(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_channels_are_as_strong_as_before() {
        // Two channels of square 1.5 and 0.5 before weights of 2 and 3.
        let (weights, means) = ([2.0, 3.0], [1.5 * 4.0, 0.5 * 9.0]);
        assert_eq!(ratio(&weights, &means, &[0, 1]), 1.0);
        assert_eq!(ratio(&weights, &means, &[0]), 1.5f64.sqrt());
        assert_eq!(ratio(&[0.0], &[0.0], &[0]), 1.0);
    }
}
