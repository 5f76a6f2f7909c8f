//! Memory that is used again: a step needs the same sizes as the one before, and fresh pages cost more than sums over them.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tersor_kernels::Level;
use tersor_kernels::matmul::{Activations, Input, Matrix, View};

/// Matrices that are kept for use: parts of larger ones have few sizes.
const MATRICES: usize = 64;

/// Memory that is not in use.
pub(super) struct Pool {
    /// What products are of.
    input: Input,
    values: Mutex<Vec<Vec<f32>>>,
    packed: Mutex<Vec<Activations>>,
    matrices: Mutex<Vec<Matrix>>,
}

fn locked<T>(free: &Mutex<Vec<T>>) -> MutexGuard<'_, Vec<T>> {
    free.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Values that go back to their pool.
pub(super) struct Buffer<'p> {
    pool: &'p Pool,
    /// At least as many.
    values: Vec<f32>,
    len: usize,
}

impl Pool {
    /// Nothing yet, for products of `input`.
    pub(super) fn new(input: Input) -> Pool {
        let (values, packed, matrices) = Default::default();
        Pool { input, values, packed, matrices }
    }

    pub(super) fn input(&self) -> Input {
        self.input
    }

    /// `len` values, which may be any.
    pub(super) fn take(&self, len: usize) -> Buffer<'_> {
        let mut free = locked(&self.values);
        let fitting = free.iter().enumerate().filter(|(_, v)| v.len() >= len && v.len() / 2 <= len);
        let values = match fitting.min_by_key(|(_, v)| v.len()).map(|(n, _)| n) {
            Some(n) => free.swap_remove(n),
            None => vec![0.0; len],
        };
        Buffer { pool: self, values, len }
    }

    /// The rows of `view`, packed; they are given back by [`Pool::give_packed`].
    pub(super) fn packed(&self, level: Level, view: View<'_>) -> Activations {
        let free = locked(&self.packed).pop();
        let mut x = free.unwrap_or_else(|| Activations::new(level));
        x.pack_view(self.input, view);
        x
    }

    pub(super) fn give_packed(&self, packed: Vec<Activations>) {
        locked(&self.packed).extend(packed);
    }

    /// The matrix of `view`, to be given back by [`Pool::give_matrix`].
    pub(super) fn matrix(&self, level: Level, view: View<'_>) -> Matrix {
        let free = {
            let mut free = locked(&self.matrices);
            let fitting = free.iter().position(|m| (m.rows(), m.columns()) == (view.rows(), view.columns()));
            fitting.map(|n| free.swap_remove(n))
        };
        let Some(mut matrix) = free else { return Matrix::from_view(level, self.input, view) };
        matrix.refill(level, view);
        matrix
    }

    pub(super) fn give_matrix(&self, matrix: Matrix) {
        let mut free = locked(&self.matrices);
        if free.len() < MATRICES {
            free.push(matrix);
        }
    }

    /// A copy.
    pub(super) fn copy(&self, values: &[f32]) -> Buffer<'_> {
        let mut copy = self.take(values.len());
        copy.copy_from_slice(values);
        copy
    }
}

impl Deref for Buffer<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[..self.len]
    }
}

impl DerefMut for Buffer<'_> {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[..self.len]
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        locked(&self.pool.values).push(values);
    }
}
