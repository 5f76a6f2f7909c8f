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

/// Their names, by [`Place`].
const NAMES: [&[&str]; 4] = [&["attn_q", "attn_k", "attn_v"], &["attn_output"], &["ffn_gate", "ffn_up"], &["ffn_down"]];

/// Columns of a thread's share.
const SHARE: usize = 64;

/// Sums of squares per column, for every layer and place.
pub(super) struct Watched {
    tokens: u64,
    sums: Vec<[Vec<f64>; NAMES.len()]>,
}

impl Watched {
    pub(super) fn new(layers: usize) -> Watched {
        Watched { tokens: 0, sums: vec![Default::default(); layers] }
    }

    /// Add `tokens` rows. Every column is added up in the order of tokens, whatever the number of threads.
    pub(super) fn see(&mut self, layer: usize, place: Place, x: &[f32], tokens: usize) {
        let width = x.len() / tokens.max(1);
        let sums = &mut self.sums[layer][place as usize];
        sums.resize(width, 0.0);
        sums.par_chunks_mut(SHARE).enumerate().for_each(|(n, sums)| {
            for row in x.chunks_exact(width) {
                let values = &row[n * SHARE..][..sums.len()];
                sums.iter_mut().zip(values).for_each(|(sum, x)| *sum += f64::from(x * x));
            }
        });
        if (layer, place) == (0, Place::Attention) {
            self.tokens += tokens as u64;
        }
    }

    /// Matrices by their names in GGUF, with the tokens that they saw and their sums.
    pub(super) fn entries(&self) -> impl Iterator<Item = (String, u64, &[f64])> {
        self.sums.iter().enumerate().flat_map(move |(layer, places)| {
            places.iter().zip(NAMES).flat_map(move |(sums, names)| {
                names.iter().map(move |name| (format!("blk.{layer}.{name}.weight"), self.tokens, &sums[..]))
            })
        })
    }
}
