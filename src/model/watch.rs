//! What goes into the Linears of a model that runs.

use rayon::prelude::*;

/// Linears that share an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Attention,
    AttentionOutput,
    FeedForward,
    Down,
}

/// The names in GGUF of the Linears of each [`Place`].
pub(super) const NAMES: [&[&str]; 4] =
    [&["attn_q", "attn_k", "attn_v"], &["attn_output"], &["ffn_gate", "ffn_up"], &["ffn_down"]];

/// Columns of a thread's share.
const SHARE: usize = 64;

/// Sums of squares per column of what goes into the Linears of one block.
#[derive(Clone, Default)]
pub(super) struct Watched {
    sums: [Vec<f64>; NAMES.len()],
}

impl Watched {
    /// Add `tokens` rows. Every column is added up in the order of tokens, whatever the number of threads.
    pub(super) fn see(&mut self, place: Place, x: &[f32], tokens: usize) {
        let width = x.len() / tokens.max(1);
        let sums = &mut self.sums[place as usize];
        sums.resize(width, 0.0);
        sums.par_chunks_mut(SHARE).enumerate().for_each(|(n, sums)| {
            for row in x.chunks_exact(width) {
                let values = &row[n * SHARE..][..sums.len()];
                sums.iter_mut().zip(values).for_each(|(sum, x)| *sum += f64::from(x * x));
            }
        });
    }

    /// The sums of every place.
    pub(super) fn sums(&self) -> &[Vec<f64>; NAMES.len()] {
        &self.sums
    }

    /// Go on from what [`Watched::sums`] once gave.
    pub(super) fn set(&mut self, sums: [Vec<f64>; NAMES.len()]) {
        self.sums = sums;
    }
}
