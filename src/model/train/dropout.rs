//! Values that are left out by chance (Srivastava et al., 2014), the same ones whenever they are asked for.

use super::Step;
use crate::chance::Chance;
use rayon::prelude::*;

/// Values that draw together.
const ROW: usize = 4096;

/// What is left out of what each block adds to the hidden states, and of the embedding.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// The share, below 1; the others are larger by as much.
    pub rate: f32,
    /// Another one for every step.
    pub seed: u64,
}

impl Step<'_> {
    /// Leave values of `x` out; `place` tells apart where in the model they are.
    pub(super) fn drop(&self, x: &mut [f32], place: usize) {
        let Some(Dropout { rate, seed }) = self.dropout else { return };
        let scale = 1.0 / (1.0 - rate);
        let limit = (f64::from(rate) * 2f64.powi(32)) as u64;
        x.par_chunks_mut(ROW).enumerate().for_each(|(row, x)| {
            let mut chance = Chance(seed ^ Chance(((place as u64) << 32) | row as u64).bits());
            for pair in x.chunks_mut(2) {
                let bits = chance.bits();
                for (half, value) in pair.iter_mut().enumerate() {
                    let stays = (bits >> (32 * half)) & 0xffff_ffff >= limit;
                    *value *= if stays { scale } else { 0.0 };
                }
            }
        });
    }
}
