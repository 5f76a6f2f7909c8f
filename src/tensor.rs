//! Shapes and headers of tensors.

use std::fmt;
use tersor_kernels::Format;

/// Position of a tensor in its source's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorId(pub usize);

/// Sizes of the dimensions, slowest first as PyTorch writes them; a scalar has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape(Vec<u64>);

impl Shape {
    /// `None` when the number of values, or of rows that hold none, overflows 63 bits.
    pub fn new(dims: Vec<u64>) -> Option<Shape> {
        let values = dims.iter().try_fold(1u64, |n, d| n.checked_mul((*d).max(1)))?;
        i64::try_from(values).ok().map(|_| Shape(dims))
    }

    /// The sizes, slowest first.
    pub fn dims(&self) -> &[u64] {
        &self.0
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// Number of values.
    pub fn values(&self) -> u64 {
        self.0.iter().product()
    }

    /// Values per row: the fastest dimension.
    pub fn cols(&self) -> u64 {
        self.0.last().copied().unwrap_or(1)
    }

    /// Number of rows: everything but the fastest dimension.
    pub fn rows(&self) -> u64 {
        self.0.iter().rev().skip(1).product()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dims: Vec<String> = self.0.iter().map(u64::to_string).collect();
        write!(f, "[{}]", dims.join(", "))
    }
}

/// What a header says of one tensor.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    /// Its name in the source.
    pub name: String,
    /// Its shape.
    pub shape: Shape,
    /// How its values are stored.
    pub format: &'static Format,
    /// Bytes of its data.
    pub bytes: u64,
}
