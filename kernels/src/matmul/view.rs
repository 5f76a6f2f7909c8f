//! Dense values in memory, to be packed by rows or by columns.

use super::{Input, Matrix, PANEL, pairs};
use crate::simd::{DotLanes, Op, run};
use crate::{Format, Level};
use std::ops::Range;

/// A matrix of f32, row after row, or its transpose, or a part of either.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    /// Values from one row to the next, or from one column to the next where it is transposed.
    stride: usize,
    transposed: bool,
}

impl<'a> View<'a> {
    /// All of `values`, rows of `columns` each.
    ///
    /// # Panics
    /// When they are no whole number of rows.
    pub fn new(values: &'a [f32], columns: usize) -> View<'a> {
        assert!(columns > 0 && values.len().is_multiple_of(columns));
        View { values, rows: values.len() / columns, columns, stride: columns, transposed: false }
    }

    /// Rows and columns change places.
    #[must_use]
    pub fn transposed(self) -> View<'a> {
        View { rows: self.columns, columns: self.rows, transposed: !self.transposed, ..self }
    }

    /// Some rows and columns.
    ///
    /// # Panics
    /// When there are fewer.
    #[must_use]
    pub fn part(self, rows: Range<usize>, columns: Range<usize>) -> View<'a> {
        assert!(rows.start <= rows.end && rows.end <= self.rows && columns.start <= columns.end);
        assert!(columns.end <= self.columns);
        let (outer, inner) = if self.transposed { (&columns, &rows) } else { (&rows, &columns) };
        let values = if rows.is_empty() || columns.is_empty() {
            &[]
        } else {
            &self.values[outer.start * self.stride + inner.start..(outer.end - 1) * self.stride + inner.end]
        };
        View { values, rows: rows.len(), columns: columns.len(), ..self }
    }

    /// Row after row of a matrix that is not transposed.
    ///
    /// # Panics
    /// When it is.
    pub fn iter(&self) -> impl Iterator<Item = &'a [f32]> {
        assert!(!self.transposed);
        let columns = self.columns;
        self.values.chunks(self.stride).take(self.rows).map(move |row| &row[..columns])
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    pub(super) fn is_transposed(&self) -> bool {
        self.transposed
    }

    /// A part of a row, or of a column where it is transposed.
    #[inline(always)]
    pub(super) fn run(&self, number: usize, part: Range<usize>) -> &'a [f32] {
        &self.values[number * self.stride..][part]
    }

    /// Rows `rows`, at most `to.len()` over columns, side by side: all of their first column, then of the next. Rows beyond
    /// the last are left as they are.
    #[inline(always)]
    pub(super) fn interleave(&self, rows: Range<usize>, to: &mut [f32], width: usize) {
        match (width, rows.len()) {
            _ if self.values.is_empty() => {}
            (PANEL, PANEL) => self.interleave_all::<PANEL>(rows.start, to),
            (6, 6) => self.interleave_all::<6>(rows.start, to),
            (_, count) if self.transposed => {
                let columns = self.values.chunks(self.stride).take(self.columns);
                for (from, to) in columns.zip(to.chunks_exact_mut(width)) {
                    to[..count].copy_from_slice(&from[rows.clone()]);
                }
            }
            _ => {
                for (r, row) in rows.enumerate() {
                    let row = &self.values[row * self.stride..][..self.columns];
                    for (value, to) in row.iter().zip(to.chunks_exact_mut(width)) {
                        to[r] = *value;
                    }
                }
            }
        }
    }

    /// The same for `W` rows, from `first` on, and as many places.
    #[inline(always)]
    fn interleave_all<const W: usize>(&self, first: usize, to: &mut [f32]) {
        let to = to.as_chunks_mut::<W>().0;
        if self.transposed {
            let columns = self.values.chunks(self.stride).take(self.columns);
            for (from, to) in columns.zip(to) {
                *to = *from[first..].first_chunk().expect("as many rows");
            }
            return;
        }
        let rows: [&[f32]; W] = std::array::from_fn(|r| &self.values[(first + r) * self.stride..][..self.columns]);
        for (c, to) in to.iter_mut().enumerate() {
            *to = std::array::from_fn(|r| rows[r][c]);
        }
    }
}

impl Matrix {
    /// A matrix of f32 or bf16 from `view`, to be multiplied with `input`.
    ///
    /// # Panics
    /// For an [`Input::Int8`].
    pub fn from_view(level: Level, input: Input, view: View<'_>) -> Matrix {
        let f32 = Format::by_name("f32").expect("a row of the table");
        let mut matrix = match input {
            Input::F32 => Matrix::new(f32, view.rows(), view.columns()).expect("values in memory have products"),
            Input::Bf16 => Matrix::bf16(view.rows(), view.columns()),
            Input::Int8 => panic!("values in memory are floats"),
        };
        matrix.refill(level, view);
        matrix
    }

    /// Become that of `view`, in the same memory.
    ///
    /// # Panics
    /// For matrices of another format or size.
    pub fn refill(&mut self, level: Level, view: View<'_>) {
        assert_eq!((self.rows, self.columns), (view.rows, view.columns));
        if self.input() == Input::Bf16 {
            for panel in self.panels_mut() {
                pairs::pack_panel(level, view.part(panel.rows, 0..view.columns), panel.bytes);
            }
            return;
        }
        assert_eq!(self.format.name, "f32");
        let mut values = Vec::new();
        for panel in self.panels_mut() {
            let turned = if view.transposed || panel.rows.len() < PANEL {
                0
            } else {
                let rows = &view.values[panel.rows.start * view.stride..];
                run(level, Turn { rows, stride: view.stride, columns: view.columns, to: panel.bytes })
            };
            let rest = view.part(0..view.rows, turned..view.columns);
            values.resize(PANEL * rest.columns, 0.0);
            rest.interleave(panel.rows, &mut values, PANEL);
            put_values(&values, &mut panel.bytes[turned * COLUMN..]);
        }
    }
}

/// Bytes of a column of a panel of f32.
const COLUMN: usize = PANEL * size_of::<f32>();

fn put_values(values: &[f32], bytes: &mut [u8]) {
    for (to, value) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(values) {
        *to = value.to_le_bytes();
    }
}

/// Sixteen rows, `stride` apart, to a panel: as many columns as there are whole squares. Gives how many.
struct Turn<'a> {
    rows: &'a [f32],
    stride: usize,
    columns: usize,
    to: &'a mut [u8],
}

impl Op for Turn<'_> {
    type Output = usize;

    #[inline(always)]
    fn body<L: DotLanes>(self, l: L) -> usize {
        let mut square = [[0.0; PANEL]; PANEL];
        let squares = self.to.chunks_exact_mut(PANEL * COLUMN).take(self.columns / PANEL);
        let mut turned = 0;
        for to in squares {
            l.transpose(&self.rows[turned..], self.stride, &mut square);
            put_values(square.as_flattened(), to);
            turned += PANEL;
        }
        turned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_transposes() {
        let values: Vec<f32> = (0..12).map(|n| n as f32).collect();
        let view = View::new(&values, 4);
        let read = |view: View<'_>| {
            let mut to = vec![-1.0; view.rows() * view.columns()];
            view.interleave(0..view.rows(), &mut to, view.rows().max(1));
            to
        };
        // Column after column.
        assert_eq!(read(view), [0., 4., 8., 1., 5., 9., 2., 6., 10., 3., 7., 11.]);
        assert_eq!(read(view.transposed()), values);
        assert_eq!(read(view.part(1..3, 1..3)), [5., 9., 6., 10.]);
        assert_eq!(read(view.transposed().part(1..3, 0..2)), [1., 2., 5., 6.]);
        assert_eq!(read(view.part(1..3, 1..3).transposed()), [5., 6., 9., 10.]);
        assert!(read(view.part(3..3, 0..4)).is_empty());
    }
}
