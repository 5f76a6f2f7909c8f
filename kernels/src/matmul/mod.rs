//! y = x W^T: products of activations with weights in any format.
//!
//! Weights are packed into panels of sixteen rows, a row per lane, at about the size that they have in a file
//! ([`Matrix`]). Activations are quantized to eight bits in blocks of 32 for formats of integers, and stay f32 for formats
//! of floats, or become bf16 where that is asked for ([`Activations`]). One layout and one body serve a single column and many.
//!
//! A result does not depend on the level, on the other columns, or on how the panels are shared among threads: a row's
//! sum runs over its blocks in order, in its own lane.

mod activations;
mod float;
mod integer;
mod level;
mod out;
mod pairs;
mod sparse;
pub(crate) mod tiled;
mod view;

use crate::{Format, Level};
use std::ops::Range;

pub use activations::{Activations, Input};
pub(crate) use float::Floats;
pub use out::Out;
pub(crate) use tiled::Tiled;
pub use view::View;

/// Rows of a panel.
pub const PANEL: usize = 16;

/// How a format's matrices are packed and multiplied.
#[derive(Clone, Copy)]
pub struct Product {
    /// What it multiplies with.
    pub input: Input,
    /// Bytes of sixteen packed rows of `columns` values.
    panel: fn(columns: usize) -> usize,
    /// Rows as in a file, at most sixteen, one after another, to a panel of zeros.
    pack: fn(rows: &[u8], row: usize, panel: &mut [u8]),
    /// Panels times activations.
    multiply: fn(Level, Panels<'_>, &Activations, &mut Out<'_>),
}

impl Product {
    pub(crate) const fn of_integers<T: Tiled>() -> Product {
        Product {
            input: Input::Int8,
            panel: tiled::panel::<T>,
            pack: tiled::pack::<T>,
            multiply: level::multiply::<integer::Body<T>>,
        }
    }

    pub(crate) const fn of_floats<T: Floats>() -> Product {
        Product {
            input: Input::F32,
            panel: float::panel::<T>,
            pack: float::pack::<T>,
            multiply: level::multiply::<float::Body<T>>,
        }
    }
}

/// A matrix of weights, packed for products.
pub struct Matrix {
    format: &'static Format,
    product: Product,
    rows: usize,
    columns: usize,
    bytes: Vec<u8>,
    /// Where each panel starts, at a line of the cache, and where the last one ends.
    starts: Vec<usize>,
}

/// Bytes of a line of the cache.
const LINE: usize = 64;

impl Matrix {
    /// A matrix of zeros of `rows` times `columns`, to be filled by [`Matrix::panels_mut`]; `None` where the format has no
    /// products, or rows do not divide into its blocks.
    pub fn new(format: &'static Format, rows: usize, columns: usize) -> Option<Matrix> {
        let (product, panel) = panel_of(format, columns)?;
        Matrix::size(format, rows, columns)?;
        Some(Matrix::with_panels(format, product, rows, columns, std::iter::repeat_n(panel, rows.div_ceil(PANEL))))
    }

    fn with_panels(
        format: &'static Format,
        product: Product,
        rows: usize,
        columns: usize,
        panels: impl Iterator<Item = usize>,
    ) -> Matrix {
        let mut starts = vec![0];
        starts.extend(panels.scan(0, |end, bytes| {
            *end += bytes.next_multiple_of(LINE);
            Some(*end)
        }));
        let bytes = vec![0; starts[starts.len() - 1] + LINE];
        let first = bytes.as_ptr().align_offset(LINE).min(LINE);
        starts.iter_mut().for_each(|start| *start += first);
        Matrix { format, product, rows, columns, bytes, starts }
    }

    /// A matrix of q8_0 that keeps no zeros, to be filled by [`Matrix::panels_mut`] with as many other codes as `kept` says
    /// for each panel, or fewer; `None` where rows do not divide into blocks, or `kept` into panels.
    ///
    /// At half zeros it takes two thirds of the memory. Its products have the same bits as those of a dense one.
    pub fn sparse(rows: usize, columns: usize, kept: &[usize]) -> Option<Matrix> {
        let format = Format::by_name("q8_0").expect("a row of the table");
        if !columns.is_multiple_of(format.block) || kept.len() != rows.div_ceil(PANEL) {
            return None;
        }
        let panels = kept.iter().map(|kept| sparse::least(columns) + kept);
        Some(Matrix::with_panels(format, sparse::PRODUCT, rows, columns, panels))
    }

    /// A matrix of bf16 of zeros, to be filled by [`Matrix::panels_mut`], whose products are those of [`Input::Bf16`].
    pub fn bf16(rows: usize, columns: usize) -> Matrix {
        let format = Format::by_name("bf16").expect("a row of the table");
        let panels = std::iter::repeat_n((pairs::PRODUCT.panel)(columns), rows.div_ceil(PANEL));
        Matrix::with_panels(format, pairs::PRODUCT, rows, columns, panels)
    }

    /// Bytes that such a matrix takes in memory; `None` where there is none.
    pub fn size(format: &'static Format, rows: usize, columns: usize) -> Option<usize> {
        let (_, panel) = panel_of(format, columns)?;
        rows.div_ceil(PANEL).checked_mul(panel.next_multiple_of(LINE))?.checked_add(LINE)
    }

    /// A matrix from `bytes` as they stand in a file.
    pub fn from_bytes(format: &'static Format, rows: usize, columns: usize, bytes: &[u8]) -> Option<Matrix> {
        let mut matrix = Matrix::new(format, rows, columns)?;
        for mut panel in matrix.panels_mut() {
            let (start, end) = (panel.rows.start * panel.row_bytes, panel.rows.end * panel.row_bytes);
            panel.fill(bytes.get(start..end)?);
        }
        Some(matrix)
    }

    /// Panels to fill, each independent of the others.
    pub fn panels_mut(&mut self) -> impl ExactSizeIterator<Item = PanelMut<'_>> {
        let (rows, pack) = (self.rows, self.product.pack);
        let row_bytes = self.columns / self.format.block * self.format.bytes;
        let mut rest = &mut self.bytes[self.starts[0]..];
        self.starts.windows(2).enumerate().map(move |(n, ends)| PanelMut {
            rows: n * PANEL..rows.min((n + 1) * PANEL),
            row_bytes,
            pack,
            bytes: rest.split_off_mut(..ends[1] - ends[0]).expect("panels follow each other"),
        })
    }

    /// The format of the weights.
    pub fn format(&self) -> &'static Format {
        self.format
    }

    /// Outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Panels of sixteen rows.
    pub fn panels(&self) -> usize {
        self.rows.div_ceil(PANEL)
    }

    /// How many rows `panels` have: the last one may have fewer than sixteen.
    pub fn rows_of(&self, panels: &Range<usize>) -> usize {
        self.rows.min(panels.end * PANEL) - self.rows.min(panels.start * PANEL)
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// What it multiplies with.
    pub fn input(&self) -> Input {
        self.product.input
    }

    /// Set row `row` of a matrix of f32, as far as `values` go.
    ///
    /// # Panics
    /// For other formats, or beyond the matrix.
    pub fn put_row(&mut self, row: usize, values: &[f32]) {
        for (column, value) in values.iter().enumerate() {
            self.put(row, column, *value);
        }
    }

    /// Set column `column` of a matrix of f32, as far as `values` go.
    ///
    /// # Panics
    /// For other formats, or beyond the matrix.
    pub fn put_column(&mut self, column: usize, values: &[f32]) {
        for (row, value) in values.iter().enumerate() {
            self.put(row, column, *value);
        }
    }

    fn put(&mut self, row: usize, column: usize, value: f32) {
        assert!(self.format.name == "f32" && row < self.rows && column < self.columns);
        let at = self.starts[row / PANEL] + (column * PANEL + row % PANEL) * size_of::<f32>();
        self.bytes[at..][..size_of::<f32>()].copy_from_slice(&value.to_le_bytes());
    }

    /// The products of the rows of `panels` with every column of `x`, into `out`, which holds these rows. Columns of
    /// [`Input::F32`] may be shorter than the matrix is wide: what they lack counts as zero.
    ///
    /// # Panics
    /// When `x` was packed for another input or width, or `out` has other sizes.
    pub fn multiply(&self, level: Level, panels: Range<usize>, x: &Activations, out: &mut Out<'_>) {
        assert!(x.input() == self.product.input && x.level() == level);
        assert!(x.width() == self.columns || x.input() == Input::F32 && x.width() <= self.columns);
        assert!(out.rows() == self.rows_of(&panels) && out.columns() == x.columns());
        let panels = Panels { bytes: &self.bytes, starts: &self.starts[panels.start..=panels.end] };
        (self.product.multiply)(level, panels, x, out);
    }
}

/// How a format multiplies, and the bytes of a panel of `columns`.
fn panel_of(format: &'static Format, columns: usize) -> Option<(Product, usize)> {
    let product = format.codec?.product?;
    columns.is_multiple_of(format.block).then(|| (product, (product.panel)(columns)))
}

/// Some panels of a [`Matrix`].
#[derive(Clone, Copy)]
struct Panels<'m> {
    bytes: &'m [u8],
    /// Of each, and where the last one ends.
    starts: &'m [usize],
}

impl<'m> Panels<'m> {
    fn iter(self) -> impl Iterator<Item = &'m [u8]> {
        self.starts.windows(2).map(move |ends| &self.bytes[ends[0]..ends[1]])
    }
}

/// Sixteen rows of a [`Matrix`], to be filled.
pub struct PanelMut<'m> {
    /// Which rows; the last panel may have fewer than sixteen.
    pub rows: Range<usize>,
    /// Bytes of a row in a file.
    pub row_bytes: usize,
    pack: fn(&[u8], usize, &mut [u8]),
    bytes: &'m mut [u8],
}

impl PanelMut<'_> {
    /// Fill it from the bytes of its rows.
    ///
    /// # Panics
    /// When there are not as many.
    pub fn fill(&mut self, rows: &[u8]) {
        assert_eq!(rows.len(), self.rows.len() * self.row_bytes);
        if self.row_bytes > 0 {
            (self.pack)(rows, self.row_bytes, self.bytes);
        }
    }
}
