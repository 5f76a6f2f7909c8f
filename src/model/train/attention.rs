//! Causal attention over whole sequences, and its gradient.

use super::gemm::multiply;
use super::pool::{Buffer, Pool};
use crate::model::rotary::Rotary;
use rayon::prelude::*;
use std::ops::Range;
use tersor_kernels::matmul::View;
use tersor_kernels::{Level, ops};

/// Queries whose scores are computed together: half of what lies behind them is not computed at all.
const QUERIES: usize = 64;

/// The sizes of a batch of sequences and of their heads.
#[derive(Clone, Copy)]
pub(super) struct Heads<'p> {
    pub(super) pool: &'p Pool,
    pub(super) level: Level,
    /// Tokens of each sequence.
    pub(super) context: usize,
    pub(super) sequences: usize,
    /// Values of a head.
    pub(super) size: usize,
    /// Key-value heads.
    pub(super) groups: usize,
    /// Query heads of each.
    pub(super) group: usize,
}

/// Queries, keys and values of a batch, a row for each token.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a> {
    pub(super) q: &'a [f32],
    pub(super) k: &'a [f32],
    pub(super) v: &'a [f32],
}

/// The gradients of one sequence and group of heads.
struct OfGroup {
    /// A part for each query head.
    q: Vec<Vec<f32>>,
    k: Vec<f32>,
    v: Vec<f32>,
}

impl<'p> Heads<'p> {
    fn queries(&self) -> usize {
        self.groups * self.group * self.size
    }

    fn keys(&self) -> usize {
        self.groups * self.size
    }

    /// Rows of `sequence`, values of `head`, out of rows of `width`.
    fn of<'a>(&self, values: &'a [f32], width: usize, sequence: usize, head: usize) -> View<'a> {
        let rows = sequence * self.context..(sequence + 1) * self.context;
        View::new(values, width).part(rows, head * self.size..(head + 1) * self.size)
    }

    /// The shares of queries, each with how many keys they see.
    fn shares(&self) -> impl Iterator<Item = (Range<usize>, usize)> {
        let context = self.context;
        (0..context).step_by(QUERIES).map(move |first| {
            let end = context.min(first + QUERIES);
            (first..end, end)
        })
    }

    /// What the queries `share` give to the keys that they see: a row for each, `seen` long.
    fn weights(&self, q: View<'_>, k: View<'_>, share: Range<usize>, seen: usize) -> Vec<f32> {
        let mut weights = vec![0.0; share.len() * seen];
        let all = 0..self.size;
        multiply(self.pool, self.level, k.part(0..seen, all.clone()), q.part(share.clone(), all), &mut weights, false);
        for (query, row) in share.zip(weights.chunks_exact_mut(seen)) {
            let (before, after) = row.split_at_mut(query + 1);
            ops::softmax(self.level, before, self.scale());
            after.fill(0.0);
        }
        weights
    }

    fn scale(&self) -> f32 {
        1.0 / (self.size as f32).sqrt()
    }

    /// What attention gives for each query.
    pub(super) fn forward(&self, inputs: Inputs<'_>) -> Buffer<'p> {
        let heads = self.groups * self.group;
        let parts: Vec<Vec<f32>> = (0..self.sequences * heads)
            .into_par_iter()
            .map(|n| {
                let (sequence, head) = (n / heads, n % heads);
                let q = self.of(inputs.q, self.queries(), sequence, head);
                let [k, v] = [inputs.k, inputs.v].map(|x| self.of(x, self.keys(), sequence, head / self.group));
                let mut out = vec![0.0; self.context * self.size];
                for (share, seen) in self.shares() {
                    let weights = self.weights(q, k, share.clone(), seen);
                    let values = v.part(0..seen, 0..self.size).transposed();
                    let to = &mut out[share.start * self.size..share.end * self.size];
                    multiply(self.pool, self.level, values, View::new(&weights, seen), to, false);
                }
                out
            })
            .collect();
        self.scattered(parts.iter().map(Vec::as_slice), heads)
    }

    /// Parts by sequence and head to rows by token.
    fn scattered<'a>(&self, parts: impl Iterator<Item = &'a [f32]>, heads: usize) -> Buffer<'p> {
        let width = heads * self.size;
        let mut rows = self.pool.take(self.sequences * self.context * width);
        for (n, part) in parts.enumerate() {
            let (sequence, head) = (n / heads, n % heads);
            let to = rows[sequence * self.context * width..].chunks_exact_mut(width);
            for (to, from) in to.zip(part.chunks_exact(self.size)) {
                to[head * self.size..][..self.size].copy_from_slice(from);
            }
        }
        rows
    }

    /// The gradients of queries, keys and values, where `d` is that of what attention gave.
    pub(super) fn backward(&self, inputs: Inputs<'_>, d: &[f32]) -> [Buffer<'p>; 3] {
        let parts: Vec<OfGroup> = (0..self.sequences * self.groups)
            .into_par_iter()
            .map(|n| {
                let (sequence, group) = (n / self.groups, n % self.groups);
                let [k, v] = [inputs.k, inputs.v].map(|x| self.of(x, self.keys(), sequence, group));
                let [mut dk, mut dv] = [0, 1].map(|_| vec![0.0; self.context * self.size]);
                let heads = group * self.group..(group + 1) * self.group;
                let dq = heads.map(|head| {
                    let [q, d] = [inputs.q, d].map(|x| self.of(x, self.queries(), sequence, head));
                    self.head_backward(q, k, v, d, &mut dk, &mut dv)
                });
                OfGroup { q: dq.collect(), k: dk, v: dv }
            })
            .collect();
        let dq = self.scattered(parts.iter().flat_map(|p| &p.q).map(Vec::as_slice), self.groups * self.group);
        let dk = self.scattered(parts.iter().map(|p| p.k.as_slice()), self.groups);
        let dv = self.scattered(parts.iter().map(|p| p.v.as_slice()), self.groups);
        [dq, dk, dv]
    }

    /// The gradient of the queries of one head; those of its keys and values are added.
    fn head_backward(
        &self,
        q: View<'_>,
        k: View<'_>,
        v: View<'_>,
        d: View<'_>,
        dk: &mut [f32],
        dv: &mut [f32],
    ) -> Vec<f32> {
        let (level, size, all) = (self.level, self.size, 0..self.size);
        let mut dq = vec![0.0; self.context * size];
        for (share, seen) in self.shares() {
            let weights = self.weights(q, k, share.clone(), seen);
            let d = d.part(share.clone(), all.clone());
            let mut scores = vec![0.0; weights.len()];
            multiply(self.pool, level, v.part(0..seen, all.clone()), d, &mut scores, false);
            for (scores, weights) in scores.chunks_exact_mut(seen).zip(weights.chunks_exact(seen)) {
                let mean: f32 = scores.iter().zip(weights).map(|(s, w)| s * w).sum();
                scores.iter_mut().zip(weights).for_each(|(s, w)| *s = w * (*s - mean) * self.scale());
            }
            let (weights, scores) = (View::new(&weights, seen), View::new(&scores, seen));
            let (dk, dv) = (&mut dk[..seen * size], &mut dv[..seen * size]);
            multiply(self.pool, level, d.transposed(), weights.transposed(), dv, true);
            multiply(self.pool, level, q.part(share.clone(), all.clone()).transposed(), scores.transposed(), dk, true);
            let to = &mut dq[share.start * size..share.end * size];
            multiply(self.pool, level, k.part(0..seen, all.clone()).transposed(), scores, to, false);
        }
        dq
    }
}

/// Turn the heads of every token by its position, or back.
pub(super) fn turn(turns: &[Vec<f32>], rows: &mut [f32], width: usize, back: bool) {
    let reversed: Vec<Vec<f32>>;
    let turns = if back {
        let sines_negated = |turns: &Vec<f32>| {
            let half = turns.len() / 2;
            turns.iter().enumerate().map(|(n, t)| if n < half { *t } else { -t }).collect()
        };
        reversed = turns.iter().map(sines_negated).collect();
        &reversed[..]
    } else {
        turns
    };
    rows.par_chunks_exact_mut(width).enumerate().for_each(|(n, row)| Rotary::turn(&turns[n % turns.len()], row));
}
