//! One block, forward and backward.

use super::attention::{Heads, Inputs, turn};
use super::gemm::{multiply, multiply_each};
use super::pool::Buffer;
use super::{Adapter, Dense, Gradients, Network, Step};
use crate::arch::Count;
use rayon::prelude::*;
use tersor_kernels::matmul::View;
use tersor_kernels::ops;

/// Rows whose gradients of a norm's weights are added up together.
const ROWS: usize = 64;
/// Values that are added up by one thread at a time.
const SHARE: usize = 1 << 14;

/// What a block keeps for its gradient.
pub(super) struct Kept<'n> {
    pub(super) x: Buffer<'n>,
    q: Buffer<'n>,
    k: Buffer<'n>,
    v: Buffer<'n>,
    attended: Buffer<'n>,
    middle: Buffer<'n>,
    gate: Buffer<'n>,
    up: Buffer<'n>,
}

impl Network {
    fn heads(&self, step: &Step<'_>) -> Heads<'_> {
        let groups = self.frame.count(Count::KvHeads);
        Heads {
            pool: &self.pool,
            level: self.frame.level,
            context: step.context,
            sequences: step.tokens.len() / step.context,
            size: self.frame.count(Count::HeadSize),
            groups,
            group: self.frame.count(Count::Heads) / groups,
        }
    }

    /// The hidden states `x` through block `n`.
    pub(super) fn block<'n>(&'n self, step: &Step<'_>, n: usize, mut x: Buffer<'n>) -> (Buffer<'n>, Kept<'n>) {
        let parts = &self.layers[n];
        let kept_x = self.pool.copy(&x);
        let normed = self.normed(&x, parts.attn_norm);
        let [mut q, mut k, v] = self.dense([&parts.q, &parts.k, &parts.v], &normed);
        turn(&step.turns, &mut q, self.width(&parts.q), false);
        turn(&step.turns, &mut k, self.width(&parts.k), false);
        let attended = self.heads(step).forward(Inputs { q: &q, k: &k, v: &v });
        self.add_dense(step, &parts.attn_output, &attended, &mut x, 2 * n);
        let middle = self.pool.copy(&x);
        let normed = self.normed(&x, parts.ffn_norm);
        let [gate, up] = self.dense([&parts.gate, &parts.up], &normed);
        let mut product = self.pool.copy(&gate);
        let width = self.width(&parts.gate);
        let rows = product.par_chunks_exact_mut(width).zip(up.par_chunks_exact(width));
        rows.for_each(|(gate, up)| ops::silu_times(self.frame.level, gate, up));
        self.add_dense(step, &parts.down, &product, &mut x, 2 * n + 1);
        (x, Kept { x: kept_x, q, k, v, attended, middle, gate, up })
    }

    /// From the gradient `d` of what block `n` gave to that of what went in; those of its weights are added.
    pub(super) fn block_back(&self, step: &Step<'_>, n: usize, kept: &mut Kept<'_>, d: &mut [f32], to: &mut Gradients) {
        let parts = &self.layers[n];
        let dropped = self.dropped(step, d, 2 * n + 1);
        let back = dropped.as_deref().unwrap_or(d);
        let (gate, up) = (&mut kept.gate, &mut kept.up);
        let mut product = self.dense_back(&parts.down, back);
        let width = self.width(&parts.gate);
        let rows = gate.par_chunks_exact_mut(width).zip(up.par_chunks_exact_mut(width));
        rows.zip(product.par_chunks_exact_mut(width))
            .for_each(|((gate, up), d)| ops::silu_times_back(self.frame.level, gate, up, d));
        self.add_gradient(&parts.down, &product, back, to);
        self.norm_back(parts.ffn_norm, &kept.middle, &[(&parts.gate, gate), (&parts.up, up)], d, to);
        self.attention_back(step, n, kept, d, to);
    }

    fn attention_back(&self, step: &Step<'_>, n: usize, kept: &Kept<'_>, d: &mut [f32], to: &mut Gradients) {
        let parts = &self.layers[n];
        let dropped = self.dropped(step, d, 2 * n);
        let given = dropped.as_deref().unwrap_or(d);
        let back = self.dense_back(&parts.attn_output, given);
        self.add_gradient(&parts.attn_output, &kept.attended, given, to);
        let [mut q, mut k, v] = self.heads(step).backward(Inputs { q: &kept.q, k: &kept.k, v: &kept.v }, &back);
        turn(&step.turns, &mut q, self.width(&parts.q), true);
        turn(&step.turns, &mut k, self.width(&parts.k), true);
        self.norm_back(parts.attn_norm, &kept.x, &[(&parts.q, &q), (&parts.k, &k), (&parts.v, &v)], d, to);
    }

    /// Values of a row that a Linear gives.
    fn width(&self, dense: &Dense) -> usize {
        self.parameters[dense.weight].shape[0]
    }

    fn weight(&self, n: usize) -> View<'_> {
        View::new(&self.parameters[n].values, self.parameters[n].shape[1])
    }

    pub(super) fn normed(&self, x: &[f32], norm: usize) -> Buffer<'_> {
        let mut y = self.pool.take(x.len());
        self.frame.normalize(x, &self.parameters[norm].values, &mut y);
        y
    }

    /// A copy of `d` with the values left out that are left out at `place`; `None` where none are.
    fn dropped(&self, step: &Step<'_>, d: &[f32], place: usize) -> Option<Buffer<'_>> {
        step.dropout?;
        let mut d = self.pool.copy(d);
        step.drop(&mut d, place);
        Some(d)
    }

    /// What Linears give that share an input.
    fn dense<const N: usize>(&self, dense: [&Dense; N], x: &[f32]) -> [Buffer<'_>; N] {
        let columns = View::new(x, self.weight(dense[0].weight).columns());
        let mut y = dense.map(|dense| self.pool.take(columns.rows() * self.width(dense)));
        let products = dense.iter().zip(&mut y).map(|(dense, y)| (self.weight(dense.weight), &mut y[..]));
        multiply_each(&self.pool, self.frame.level, products, columns, false);
        dense.iter().zip(&mut y).for_each(|(dense, y)| self.add_bias(dense, y));
        y
    }

    fn add_bias(&self, dense: &Dense, y: &mut [f32]) {
        if let Some(bias) = dense.bias.map(|n| &self.parameters[n].values) {
            y.par_chunks_exact_mut(bias.len()).for_each(|y| y.iter_mut().zip(bias).for_each(|(y, b)| *y += b));
        }
    }

    /// x += dropout(linear(y))
    fn add_dense(&self, step: &Step<'_>, dense: &Dense, y: &[f32], x: &mut [f32], place: usize) {
        if step.dropout.is_none() {
            let weight = self.weight(dense.weight);
            multiply(&self.pool, self.frame.level, weight, View::new(y, weight.columns()), x, true);
            return self.add_bias(dense, x);
        }
        let [mut out] = self.dense([dense], y);
        step.drop(&mut out, place);
        x.par_chunks_mut(SHARE)
            .zip(out.par_chunks(SHARE))
            .for_each(|(x, y)| x.iter_mut().zip(y).for_each(|(x, y)| *x += y));
    }

    /// The gradient of what went into a Linear.
    fn dense_back(&self, dense: &Dense, d: &[f32]) -> Buffer<'_> {
        let weight = self.weight(dense.weight).transposed();
        let mut back = self.pool.take(d.len() / weight.columns() * weight.rows());
        multiply(&self.pool, self.frame.level, weight, View::new(d, weight.columns()), &mut back, false);
        back
    }

    /// The gradient of a Linear's weights, where `x` went in.
    fn add_gradient(&self, dense: &Dense, x: &[f32], d: &[f32], to: &mut Gradients) {
        let [rows, columns] = [self.parameters[dense.weight].shape[0], self.parameters[dense.weight].shape[1]];
        let (x, d_rows) = (View::new(x, columns), View::new(d, rows));
        if let Some(to) = to.of(dense.weight) {
            multiply(&self.pool, self.frame.level, x.transposed(), d_rows.transposed(), to, true);
        }
        if let Some(adapter) = self.parameters[dense.weight].adapter() {
            self.adapter_back(dense.weight, adapter, x, d_rows, to);
        }
        if let Some(to) = dense.bias.and_then(|bias| to.of(bias)) {
            d.chunks_exact(rows).for_each(|d| to.iter_mut().zip(d).for_each(|(to, d)| *to += d));
        }
    }

    /// The gradient of what learns beside the matrix `of`, without making that of the matrix, which is `d^T x`.
    fn adapter_back(&self, of: usize, adapter: Adapter, x: View<'_>, d: View<'_>, to: &mut Gradients) {
        let level = self.frame.level;
        let product = |rows: View<'_>, columns: View<'_>, scale: f32| {
            let mut values = self.pool.take(columns.rows() * rows.rows());
            multiply(&self.pool, level, rows, columns, &mut values, false);
            values.par_iter_mut().for_each(|v| *v *= scale);
            values
        };
        match adapter {
            Adapter::LowRank { down, up, scale } => {
                let [a, b] = [down, up].map(|n| self.weight(n));
                let rank = a.rows();
                if let Some(to) = to.of(up) {
                    let x = product(a, x, scale);
                    multiply(&self.pool, level, View::new(&x, rank).transposed(), d.transposed(), to, true);
                }
                if let Some(to) = to.of(down) {
                    let d = product(b.transposed(), d, scale);
                    multiply(&self.pool, level, x.transposed(), View::new(&d, rank).transposed(), to, true);
                }
            }
            Adapter::Rows(factors) => {
                let Some(to) = to.of(factors) else { return };
                let own = View::new(self.parameters[of].own(), x.columns());
                let y = product(own, x, 1.0);
                // Every factor's sum runs over tokens in order, whatever the number of threads.
                to.par_chunks_mut(ROWS).enumerate().for_each(|(n, to)| {
                    for (y, d) in y.chunks_exact(own.rows()).zip(d.iter()) {
                        let part = n * ROWS..n * ROWS + to.len();
                        to.iter_mut().zip(y[part.clone()].iter().zip(&d[part])).for_each(|(to, (y, d))| *to += y * d);
                    }
                });
            }
        }
    }

    /// Through the Linears that a norm goes into, with the gradients of what they gave, and through the norm: `d` has the
    /// gradient of `x` added.
    fn norm_back(&self, norm: usize, x: &[f32], dense: &[(&Dense, &[f32])], d: &mut [f32], to: &mut Gradients) {
        let normed = self.normed(x, norm);
        let mut back = self.pool.take(x.len());
        for (n, (dense, d)) in dense.iter().enumerate() {
            let weight = self.weight(dense.weight).transposed();
            multiply(&self.pool, self.frame.level, weight, View::new(d, weight.columns()), &mut back, n > 0);
            self.add_gradient(dense, &normed, d, to);
        }
        self.norm_alone_back(norm, x, &back, d, to);
    }

    /// Through a norm: `d` has the gradient of `x` added.
    pub(super) fn norm_alone_back(&self, norm: usize, x: &[f32], back: &[f32], d: &mut [f32], to: &mut Gradients) {
        let weight = &self.parameters[norm].values;
        let (width, eps) = (weight.len(), self.frame.settings.norm_eps as f32);
        let some = ROWS * width;
        let parts: Vec<Vec<f32>> = (x.par_chunks(some).zip(back.par_chunks(some)).zip(d.par_chunks_mut(some)))
            .map(|((x, back), d)| {
                let mut dweight = vec![0.0; width];
                let rows = x.chunks_exact(width).zip(back.chunks_exact(width)).zip(d.chunks_exact_mut(width));
                rows.for_each(|((x, back), d)| {
                    ops::rms_norm_back(self.frame.level, x, weight, eps, back, d, &mut dweight);
                });
                dweight
            })
            .collect();
        if let Some(to) = to.of(norm) {
            parts.iter().for_each(|part| to.iter_mut().zip(part).for_each(|(to, d)| *to += d));
        }
    }
}
