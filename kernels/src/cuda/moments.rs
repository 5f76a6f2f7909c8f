//! What calibration keeps of the inputs of a product.

use super::{Buffer, Device, NoDevice};

impl Device {
    /// Add the squares of each column of `x` to its sum; `x` has rows of as many numbers as there are sums. Squares are singles
    /// and are added up in double precision row by row, so that the bits are those of the CPU.
    ///
    /// # Errors
    /// [`NoDevice`].
    ///
    /// # Panics
    /// When `x` are no whole rows.
    pub fn add_squares(&self, x: &Buffer<f32>, sums: &mut Buffer<f64>) -> Result<(), NoDevice> {
        const PER_BLOCK: usize = 256;
        let columns = sums.len();
        assert!(x.len().is_multiple_of(columns.max(1)), "{} numbers in rows of {columns}", x.len());
        let launch = self.launch("moments", "add_squares")?.buffer(x).buffer(sums);
        let launch = launch.u32(x.len() / columns.max(1)).u32(columns);
        // SAFETY: the kernel takes these arguments, reads whole rows, and reads and writes a sum for each column.
        unsafe { launch.start([columns.div_ceil(PER_BLOCK), 1, 1]) }
    }

    /// Add X^T X to `moments`, for `x` of rows of `columns` numbers: the second moments that error-compensating encoders take
    /// (arXiv 2210.17323). Products of sixteen rows are added up in singles, and those sums in double precision.
    ///
    /// # Errors
    /// [`NoDevice`].
    ///
    /// # Panics
    /// When `x` are no whole rows, or `moments` not `columns` times `columns`.
    pub fn add_products(&self, x: &Buffer<f32>, columns: usize, moments: &mut Buffer<f64>) -> Result<(), NoDevice> {
        const TILE: usize = 32;
        let whole = x.len().is_multiple_of(columns.max(1)) && moments.len() == columns * columns;
        assert!(whole, "{} numbers in rows of {columns}, {} moments", x.len(), moments.len());
        let launch = self.launch("moments", "add_products")?.buffer(x).buffer(moments);
        let launch = launch.u32(x.len() / columns.max(1)).u32(columns);
        let tiles = columns.div_ceil(TILE);
        // SAFETY: the kernel takes these arguments, reads whole rows, and reads and writes the moments.
        unsafe { launch.start([tiles, tiles, 1]) }
    }
}
