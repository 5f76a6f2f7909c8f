//! Memory that is used again: a step needs the same sizes as the one before, and fresh pages cost more than sums over them.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// Memory that is not in use.
#[derive(Default)]
pub(super) struct Pool(Mutex<Vec<Vec<f32>>>);

/// Values that go back to their pool.
pub(super) struct Buffer<'p> {
    pool: &'p Pool,
    /// At least as many.
    values: Vec<f32>,
    len: usize,
}

impl Pool {
    /// `len` values, which may be any.
    pub(super) fn take(&self, len: usize) -> Buffer<'_> {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = free.iter().enumerate().filter(|(_, v)| v.len() >= len && v.len() / 2 <= len);
        let values = match fitting.min_by_key(|(_, v)| v.len()).map(|(n, _)| n) {
            Some(n) => free.swap_remove(n),
            None => vec![0.0; len],
        };
        Buffer { pool: self, values, len }
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
        self.pool.0.lock().unwrap_or_else(PoisonError::into_inner).push(values);
    }
}
