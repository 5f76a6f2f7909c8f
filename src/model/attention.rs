//! Causal attention over keys and values that are kept.

use tersor_kernels::matmul::{Activations, Input, Matrix, Out, PANEL};
use tersor_kernels::{Format, Level, ops};

/// Tokens whose scores are computed together.
pub(super) const TOKENS: usize = 32;

/// The keys and values of one key-value head in one layer.
pub(super) struct Kept {
    /// A row per position.
    keys: Matrix,
    /// A column per position.
    values: Matrix,
}

impl Kept {
    /// Room for `positions`; `None` when there is none.
    pub(super) fn new(positions: usize, size: usize) -> Option<Kept> {
        let f32 = Format::by_name("f32")?;
        Some(Kept { keys: Matrix::new(f32, positions, size)?, values: Matrix::new(f32, size, positions)? })
    }

    /// Add what one token has.
    pub(super) fn put(&mut self, position: usize, key: &[f32], value: &[f32]) {
        self.keys.put_row(position, key);
        self.values.put_column(position, value);
    }

    /// The attention of `tokens` successive tokens, the first at `position`: `queries` has `group` heads for each, and so
    /// has `out`.
    pub(super) fn attend(&self, level: Level, position: usize, group: usize, queries: &[f32], out: &mut [f32]) {
        let size = self.keys.columns();
        let columns = queries.len() / size;
        // All positions up to the last token, in whole panels.
        let panels = (position + columns / group).div_ceil(PANEL);
        let rows = self.keys.rows().min(panels * PANEL);
        let mut x = Activations::new(level);
        x.pack(Input::F32, queries, size);
        let mut scores = vec![0.0; rows * columns];
        self.keys.multiply(level, 0..panels, &x, &mut Out::new(&mut scores, rows, columns));
        let scale = 1.0 / (size as f32).sqrt();
        for (j, scores) in scores.chunks_exact_mut(rows).enumerate() {
            let (seen, unseen) = scores.split_at_mut(position + j / group + 1);
            ops::softmax(level, seen, scale);
            unseen.fill(0.0);
        }
        x.pack(Input::F32, &scores, rows);
        self.values.multiply(level, 0..self.values.panels(), &x, &mut Out::new(out, size, columns));
    }
}
