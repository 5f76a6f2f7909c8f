//! Where products go.

use super::PANEL;
use std::marker::PhantomData;
use std::ops::Range;

/// Some rows of the weights times all columns of activations: for every column a run of values, `stride` apart.
pub struct Out<'a> {
    start: *mut f32,
    /// Values from one column to the next.
    stride: usize,
    rows: usize,
    columns: usize,
    /// Products are added to what is there.
    adds: bool,
    values: PhantomData<&'a mut [f32]>,
}

// SAFETY: it is a part of a `&mut [f32]` that overlaps with no other.
unsafe impl Send for Out<'_> {}

impl<'a> Out<'a> {
    /// All rows: column j is `values[j * rows..][..rows]`.
    ///
    /// # Panics
    /// When there are not `rows * columns` values.
    pub fn new(values: &'a mut [f32], rows: usize, columns: usize) -> Out<'a> {
        assert_eq!(Some(values.len()), rows.checked_mul(columns));
        Out { start: values.as_mut_ptr(), stride: rows, rows, columns, adds: false, values: PhantomData }
    }

    /// The first `rows` rows, and the others.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn split_at(self, rows: usize) -> (Out<'a>, Out<'a>) {
        assert!(rows <= self.rows);
        let rest = Out { start: self.start.wrapping_add(rows), rows: self.rows - rows, ..self };
        (Out { rows, ..self }, rest)
    }

    /// Some of the columns; products are added to what is there if that is wanted.
    ///
    /// # Panics
    /// When there are fewer.
    pub fn columns_mut(&mut self, columns: Range<usize>, adds: bool) -> Out<'_> {
        assert!(columns.start <= columns.end && columns.end <= self.columns);
        let start = self.start.wrapping_add(columns.start * self.stride);
        Out { start, columns: columns.len(), adds, values: PhantomData, ..*self }
    }

    /// Rows of the weights.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of the activations.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Where two panels of 32 columns go, and the values from one column to the next; `None` where there are fewer, or where
    /// products are added.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn square(&mut self, panel: usize, column: usize) -> Option<(*mut f32, usize)> {
        let whole = (panel + 2) * PANEL <= self.rows && column + 2 * PANEL <= self.columns;
        let at = || self.start.wrapping_add(column * self.stride + panel * PANEL);
        (whole && !self.adds).then(|| (at(), self.stride))
    }

    /// Column `column` of panel `panel`; what goes beyond the last row is dropped.
    #[inline(always)]
    pub(super) fn put(&mut self, panel: usize, column: usize, values: &[f32; PANEL]) {
        let row = panel * PANEL;
        assert!(row < self.rows && column < self.columns);
        let count = PANEL.min(self.rows - row);
        // SAFETY: rows and columns are within the slice that `new` got, and no other `Out` has these rows.
        let to = unsafe { std::slice::from_raw_parts_mut(self.start.add(column * self.stride + row), count) };
        // A whole panel has a copy of its own, without loops.
        match (self.adds, to.first_chunk_mut()) {
            (true, Some(to)) => add(to, values),
            (true, None) => add(to, values),
            (false, Some(to)) => *to = *values,
            (false, None) => to.copy_from_slice(&values[..count]),
        }
    }
}

#[inline(always)]
fn add(to: &mut [f32], values: &[f32; PANEL]) {
    to.iter_mut().zip(values).for_each(|(to, value)| *to += value);
}
