//! Rotary embedding (arXiv 2104.09864).

use crate::arch::Settings;

/// The turns of every pair, per position.
pub(super) struct Rotary {
    frequencies: Vec<f64>,
    factor: f64,
}

impl Rotary {
    pub(super) fn new(settings: &Settings) -> Rotary {
        let (frequencies, factor) = settings.rope_frequencies();
        Rotary { frequencies, factor }
    }

    /// Cosines, then sines, of one position.
    pub(super) fn turns(&self, position: usize) -> Vec<f32> {
        let angles = || self.frequencies.iter().map(|f| f * position as f64);
        let cosines = angles().map(|a| (a.cos() * self.factor) as f32);
        cosines.chain(angles().map(|a| (a.sin() * self.factor) as f32)).collect()
    }

    /// Turn the pairs (i, i + d/2) of each head of one token.
    pub(super) fn turn(turns: &[f32], heads: &mut [f32]) {
        let (cosines, sines) = turns.split_at(turns.len() / 2);
        for head in heads.chunks_exact_mut(turns.len()) {
            let (low, high) = head.split_at_mut(cosines.len());
            for (((a, b), c), s) in low.iter_mut().zip(high).zip(cosines).zip(sines) {
                (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
            }
        }
    }
}
