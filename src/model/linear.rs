//! y = W x + b over many columns, shared among threads.

use rayon::prelude::*;
use tersor_kernels::Level;
use tersor_kernels::matmul::{Activations, Matrix, Out};

/// Weights and, where the checkpoint has one, a bias.
pub(super) struct Linear {
    pub(super) weights: Matrix,
    pub(super) bias: Option<Vec<f32>>,
}

impl Linear {
    pub(super) fn rows(&self) -> usize {
        self.weights.rows()
    }

    pub(super) fn bytes(&self) -> usize {
        self.weights.bytes()
    }
}

/// The products of `x` with each of `to`, which have one width and may have several formats. `packed` is kept memory.
///
/// Runs on the threads of the pool that it is called in.
pub(super) fn multiply(level: Level, x: &[f32], packed: &mut Activations, to: &mut [(&Linear, &mut [f32])]) {
    let Some(width) = to.first().map(|(linear, _)| linear.weights.columns()) else { return };
    let columns = x.len() / width;
    let mut inputs: Vec<_> = Vec::new();
    for (linear, _) in &*to {
        if !inputs.contains(&linear.weights.input()) {
            inputs.push(linear.weights.input());
        }
    }
    for input in inputs {
        packed.pack(input, x, width);
        let packed = &*packed;
        let parts: Vec<_> = to
            .iter_mut()
            .filter(|(linear, _)| linear.weights.input() == input)
            .flat_map(|(linear, y)| parts(linear, y, columns))
            .collect();
        parts.into_par_iter().for_each(|part| part.compute(level, packed));
    }
    for (linear, y) in to {
        let Some(bias) = &linear.bias else { continue };
        for y in y.chunks_exact_mut(bias.len()) {
            y.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
        }
    }
}

/// Some panels of a matrix.
struct Part<'a> {
    weights: &'a Matrix,
    panels: std::ops::Range<usize>,
    out: Out<'a>,
}

impl Part<'_> {
    fn compute(mut self, level: Level, x: &Activations) {
        self.weights.multiply(level, self.panels, x, &mut self.out);
    }
}

/// As many parts as there are threads, and for many columns some more, since threads are not equally fast.
fn parts<'a>(linear: &'a Linear, y: &'a mut [f32], columns: usize) -> Vec<Part<'a>> {
    let weights = &linear.weights;
    let threads = rayon::current_num_threads();
    let wanted = if threads > 1 && columns > 4 { 4 * threads } else { threads };
    let (panels, count) = (weights.panels(), wanted.clamp(1, weights.panels().max(1)));
    let mut rest = Out::new(y, weights.rows(), columns);
    let mut parts = Vec::with_capacity(count);
    for n in 0..count {
        let panels = panels * n / count..panels * (n + 1) / count;
        let (out, others) = rest.split_at(weights.rows_of(&panels));
        rest = others;
        parts.push(Part { weights, panels, out });
    }
    parts
}
