//! Budgets by outliers: blocks with many weights of outstanding score keep more of them (OWL, arXiv 2310.05175).
//!
//! A block's outlier ratio is the share of its scores |w| times norm that exceed [`OUTLIER`] times the block's mean. The
//! sparsities of blocks are spread linearly against these ratios over a range of twice [`SPREAD`], around the wanted mean.

use super::mask::scores;
use super::pieces::Reader;
use crate::error::Result;
use crate::tensor::TensorId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How many times the mean makes an outlier: M of the paper.
pub const OUTLIER: f64 = 5.0;

/// How far a block's sparsity may go from the mean: lambda of the paper.
pub const SPREAD: f64 = 0.08;

/// A tensor that is pruned: its block, itself, and the norms of its columns.
pub(super) type Scored = (u32, TensorId, Arc<Vec<f32>>);

/// The sparsity of each block, so that their mean is `wanted`.
pub(super) fn budgets(reader: &Reader<'_>, tensors: &[Scored], wanted: f64) -> Result<BTreeMap<u32, f64>> {
    let ids: Vec<TensorId> = tensors.iter().map(|(_, id, _)| *id).collect();
    let sums = reader
        .each(&ids, |piece, values| (numbers(values, &tensors[piece.tensor].2).sum::<f64>(), values.len() as u64))?;
    let mut means: BTreeMap<u32, (f64, u64)> = BTreeMap::new();
    for (piece, (sum, count)) in sums {
        let mean = means.entry(tensors[piece.tensor].0).or_default();
        *mean = (mean.0 + sum, mean.1 + count);
    }
    let counts = reader.each(&ids, |piece, values| {
        let (block, _, norms) = &tensors[piece.tensor];
        let (sum, count) = means[block];
        let bound = OUTLIER * sum / count as f64;
        numbers(values, norms).filter(|score| *score > bound).count() as u64
    })?;
    let mut outliers: BTreeMap<u32, u64> = BTreeMap::new();
    for (piece, count) in counts {
        *outliers.entry(tensors[piece.tensor].0).or_default() += count;
    }
    let ratios = outliers.iter().map(|(block, count)| (*block, *count as f64 / means[block].1 as f64));
    Ok(spread(&ratios.collect(), wanted))
}

/// The scores of whole rows.
fn numbers<'a>(values: &'a [f32], norms: &'a Vec<f32>) -> impl Iterator<Item = f64> + 'a {
    let rows = values.chunks(norms.len().max(1));
    rows.flat_map(move |row| scores(row, Some(norms))).map(|bits| f64::from(f32::from_bits(bits)))
}

/// Sparsities of mean `wanted`, linear in what is given for each block: the block with the most gets the least.
pub(super) fn spread(ratios: &BTreeMap<u32, f64>, wanted: f64) -> BTreeMap<u32, f64> {
    let low = ratios.values().copied().fold(f64::INFINITY, f64::min);
    let range = ratios.values().copied().fold(f64::NEG_INFINITY, f64::max) - low;
    let at = |ratio: f64| if range > 0.0 { (ratio - low) / range * 2.0 * SPREAD } else { 0.0 };
    let mean = ratios.values().map(|ratio| at(*ratio)).sum::<f64>() / ratios.len().max(1) as f64;
    // At the ends of the scale there is no room to spread.
    let fits = |sparsity: f64| sparsity.clamp(0.0, 1.0 - f64::EPSILON);
    ratios.iter().map(|(block, ratio)| (*block, fits(wanted - at(*ratio) + mean))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_with_outliers_keep_more_and_the_mean_stays() {
        let ratios = BTreeMap::from([(0, 0.01), (1, 0.03), (2, 0.02), (5, 0.01)]);
        let found = spread(&ratios, 0.5);
        assert!((found.values().sum::<f64>() / 4.0 - 0.5).abs() < 1e-12);
        assert!(found[&1] < found[&2] && found[&2] < found[&0]);
        assert!((found[&0] - found[&1] - 2.0 * SPREAD).abs() < 1e-12);
        let same = spread(&BTreeMap::from([(0, 0.2), (1, 0.2)]), 0.7);
        assert!(same.values().all(|s| *s == 0.7));
    }
}
