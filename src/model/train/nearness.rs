//! Hidden states that are to come near those of another model (DistilBERT, arXiv 1910.01108; TinyBERT, arXiv 1909.10351).

use super::gemm::multiply;
use super::parameter::Parameter;
use super::{Gradients, Network, View};
use crate::arch::Count;
use crate::chance::Chance;
use rayon::prelude::*;

/// How far a hidden state is from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nearness {
    /// The mean of squared differences.
    Mse,
    /// 1 less the cosine of the angle between them.
    Cosine,
}

/// What the hidden states after a block are to become.
#[derive(Clone, Copy, Debug)]
pub struct States<'a> {
    /// A row for each token of the batch.
    pub rows: &'a [f32],
    /// How far from them.
    pub nearness: Nearness,
    /// What gradients are multiplied with.
    pub scale: f32,
}

impl Nearness {
    /// How far `y` is from `wanted`; `y` becomes the gradient of that, times `scale`.
    pub fn turn(self, y: &mut [f32], wanted: &[f32], scale: f32) -> f64 {
        let pairs = || y.iter().zip(wanted).map(|(y, w)| (f64::from(*y), f64::from(*w)));
        match self {
            Nearness::Mse => {
                let sum: f64 = pairs().map(|(y, w)| (y - w) * (y - w)).sum();
                let count = y.len() as f64;
                let scale = 2.0 * scale / count as f32;
                y.iter_mut().zip(wanted).for_each(|(y, w)| *y = scale * (*y - w));
                sum / count
            }
            Nearness::Cosine => {
                let [product, own, other] =
                    pairs().fold([0.0; 3], |[p, a, b], (y, w)| [p + y * w, a + y * y, b + w * w]);
                let lengths = (own * other).sqrt().max(f64::MIN_POSITIVE);
                let cosine = product / lengths;
                let (to, from) = (f64::from(scale) / lengths, f64::from(scale) * cosine / own.max(f64::MIN_POSITIVE));
                y.iter_mut().zip(wanted).for_each(|(y, w)| *y = (from * f64::from(*y) - to * f64::from(*w)) as f32);
                1.0 - cosine
            }
        }
    }
}

impl Network {
    /// Let a matrix learn, too, that brings hidden states to `width` values before they are compared, where they have others.
    pub fn project(&mut self, width: usize, seed: u64) {
        let own = self.frame.count(Count::Hidden);
        if own == width {
            return;
        }
        self.projection = Some(self.parameters.len());
        self.parameters.push(Parameter::uniform("projection.weight".into(), [width, own], &mut Chance(seed)));
    }

    /// How far the hidden states `x` are from `wanted`, summed over tokens; the gradient of that is added to `d` and `to`.
    pub(super) fn come_near(&self, wanted: States<'_>, x: &[f32], d: &mut [f32], to: &mut Gradients) -> f64 {
        let (level, own) = (self.frame.level, self.frame.count(Count::Hidden));
        let projection = self.projection.map(|n| View::new(&self.parameters[n].values, own));
        let rows = View::new(x, own);
        let mut y = match projection {
            Some(matrix) => {
                let mut y = self.pool.take(rows.rows() * matrix.rows());
                multiply(&self.pool, level, matrix, rows, &mut y, false);
                y
            }
            None => self.pool.copy(x),
        };
        let width = projection.map_or(own, |matrix| matrix.rows());
        let pairs = y.par_chunks_exact_mut(width).zip(wanted.rows.par_chunks_exact(width));
        let losses: Vec<f64> = pairs.map(|(y, w)| wanted.nearness.turn(y, w, wanted.scale)).collect();
        match (projection, self.projection) {
            (Some(matrix), Some(n)) => {
                let back = View::new(&y, width);
                multiply(&self.pool, level, matrix.transposed(), back, d, true);
                if let Some(to) = to.of(n) {
                    multiply(&self.pool, level, rows.transposed(), back.transposed(), to, true);
                }
            }
            _ => d.iter_mut().zip(&*y).for_each(|(d, y)| *d += y),
        }
        losses.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_agree_with_differences() {
        let wave = |step: f32| (0..9).map(|i| (i as f32 * step + 0.4).sin()).collect::<Vec<f32>>();
        let (y, wanted) = (wave(0.9), wave(2.3));
        for nearness in [Nearness::Mse, Nearness::Cosine] {
            let mut gradient = y.clone();
            nearness.turn(&mut gradient, &wanted, 0.5);
            for i in 0..y.len() {
                let at = |by: f32| {
                    let mut moved = y.clone();
                    moved[i] += by;
                    nearness.turn(&mut moved, &wanted, 1.0)
                };
                let (slope, found) = ((at(0.01) - at(-0.01)) / 0.02, f64::from(gradient[i]) / 0.5);
                assert!((found - slope).abs() < 1e-3, "{nearness:?} {i}: {found} for {slope}");
            }
            assert!(nearness.turn(&mut wanted.clone(), &wanted, 1.0).abs() < 1e-12);
        }
    }
}
