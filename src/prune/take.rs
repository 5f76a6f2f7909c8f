//! A tensor of which some rows and columns stay.

use crate::error::Result;
use crate::source::{Derive, Source};
use crate::tensor::TensorId;
use std::ops::Range;
use std::sync::Arc;

/// Bytes that are read at a time, unless a row is longer.
const STAGE: u64 = 1 << 20;

/// Kept rows and columns, in their order.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) source: Arc<Source>,
    pub(super) id: TensorId,
    /// Of a matrix; `None` keeps all.
    pub(super) rows: Option<Arc<Vec<u64>>>,
    /// Of a matrix, or the values of a vector; `None` keeps all.
    pub(super) cols: Option<Arc<Vec<u64>>>,
}

impl Taken {
    /// The row in the source.
    fn row(&self, row: u64) -> u64 {
        self.rows.as_ref().map_or(row, |rows| rows[row as usize])
    }

    /// How many rows from `row` on, at most until `end`, follow each other in the source too.
    fn run(&self, row: u64, end: u64, most: u64) -> u64 {
        let first = self.row(row);
        let same = |n: &u64| self.row(row + n) == first + n;
        1 + (1..most.min(end - row)).take_while(same).count() as u64
    }
}

impl Derive for Taken {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let tensor = self.source.tensor(self.id);
        let size = tensor.format.bytes;
        let source_row = tensor.shape.cols() * size as u64;
        let cols = self.cols.as_ref().map_or(tensor.shape.cols(), |cols| cols.len() as u64);
        let row_bytes = cols * size as u64;
        if row_bytes == 0 {
            return Ok(());
        }
        let range = offset..offset + buffer.len() as u64;
        let (mut row, end) = (range.start / row_bytes, range.end.div_ceil(row_bytes));
        let mut stored = Vec::new();
        while row < end {
            let rows = self.run(row, end, (STAGE / source_row).max(1));
            stored.resize((rows * source_row) as usize, 0);
            self.source.read(self.id, self.row(row) * source_row, &mut stored)?;
            for (n, from) in stored.chunks_exact(source_row as usize).enumerate() {
                let whole = (row + n as u64) * row_bytes..(row + n as u64 + 1) * row_bytes;
                let here = whole.start.max(range.start)..whole.end.min(range.end);
                let out = &mut buffer[within(&here, range.start)];
                match &self.cols {
                    None => out.copy_from_slice(&from[within(&here, whole.start)]),
                    Some(cols) => {
                        let first = (here.start - whole.start) as usize / size;
                        for (out, col) in out.chunks_exact_mut(size).zip(&cols[first..]) {
                            out.copy_from_slice(&from[*col as usize * size..][..size]);
                        }
                    }
                }
            }
            row += rows;
        }
        Ok(())
    }
}

/// A range of bytes, counted from `start`.
pub(super) fn within(range: &Range<u64>, start: u64) -> Range<usize> {
    (range.start - start) as usize..(range.end - start) as usize
}
