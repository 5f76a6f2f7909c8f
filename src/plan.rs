//! What will happen to every tensor, decided from headers alone. Running a plan adds no decision to it.

use crate::arch::{Role, RowOrder};
use crate::tensor::{Shape, TensorId};
use std::fmt;
use tersor_kernels::Format;

/// The whole output, tensor by tensor, in the order in which it is written.
#[derive(Debug)]
pub struct Plan {
    /// What is written.
    pub container: Container,
    /// Its tensors.
    pub tensors: Vec<TensorPlan>,
    /// Names of source tensors that are left out, with the reason.
    pub dropped: Vec<(String, &'static str)>,
    /// Bytes of the source's tensors in its files.
    pub source_bytes: u64,
    /// What was done to the weights before, as key and text.
    pub history: Vec<(&'static str, String)>,
}

/// The kind of file that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Container {
    /// One GGUF file, or splits.
    Gguf,
    /// A Hugging Face folder.
    Safetensors,
}

/// One tensor of the output.
#[derive(Clone, Debug)]
pub struct TensorPlan {
    /// Its name in the output.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Which block it belongs to.
    pub layer: Option<u32>,
    /// Its shape.
    pub shape: Shape,
    /// Where its values come from.
    pub input: Input,
    /// How it will be stored.
    pub format: &'static Format,
    /// Why so.
    pub why: Why,
}

/// Where a tensor's values come from.
#[derive(Clone, Debug)]
pub enum Input {
    /// A tensor of the source.
    Stored {
        /// Which.
        id: TensorId,
        /// How it is stored there.
        format: &'static Format,
        /// How its rows are rearranged.
        order: Reorder,
        /// Scales that multiply it, for block-scaled float8.
        scale: Option<BlockScale>,
    },
    /// Computed from the configuration.
    Computed(Vec<f32>),
}

/// One scale for each `rows` x `cols` patch of a matrix, in a tensor of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockScale {
    /// The tensor of scales.
    pub id: TensorId,
    /// Rows per scale.
    pub rows: u64,
    /// Columns per scale.
    pub cols: u64,
}

/// How rows are rearranged within each head of `size` rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reorder {
    /// They are not.
    None,
    /// Halves become neighbours: row `i + h * size / 2` goes to `2 i + h`.
    Interleave {
        /// Rows per head.
        size: u64,
    },
    /// The reverse.
    Deinterleave {
        /// Rows per head.
        size: u64,
    },
}

/// Why a tensor got its format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The file type's format.
    FileType,
    /// The file type's format for this role.
    Role,
    /// The file type's format for this role in this layer.
    Layer,
    /// A rule, as typed.
    Rule(String),
    /// Norms, biases and other small tensors stay floats.
    Float,
    /// The source's format is kept.
    Kept,
    /// The float that holds the source's values, where its own format cannot be written.
    Nearest,
    /// Rows do not divide into the wanted format's blocks.
    Fallback {
        /// What was wanted.
        wanted: &'static Format,
        /// Why it is the other one then.
        choice: &'static str,
    },
    /// Computed from the configuration.
    Computed,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::FileType => f.write_str("type"),
            Why::Role => f.write_str("type, for this role"),
            Why::Layer => f.write_str("type, for this layer"),
            Why::Rule(rule) => write!(f, "rule {rule}"),
            Why::Float => f.write_str("stays float"),
            Why::Kept => f.write_str("as in the source"),
            Why::Nearest => f.write_str("a float that holds the source's values"),
            Why::Fallback { wanted, choice } => {
                write!(f, "rows do not divide by {}, as {} wants; {choice}", wanted.block, wanted.name)
            }
            Why::Computed => f.write_str("from the configuration"),
        }
    }
}

impl Reorder {
    /// What brings rows that lie so in a GGUF file, or in a folder, into the order of a folder.
    pub fn to_folder(rows: RowOrder, in_gguf: bool, head_size: u64) -> Reorder {
        if rows == RowOrder::Rotary && in_gguf { Reorder::Deinterleave { size: head_size } } else { Reorder::None }
    }

    /// Rows that must be at hand together.
    pub fn period(self) -> u64 {
        match self {
            Reorder::None => 1,
            Reorder::Interleave { size } | Reorder::Deinterleave { size } => size,
        }
    }

    /// The source row that becomes row `row`.
    pub fn source_row(self, row: u64) -> u64 {
        match self {
            Reorder::None => row,
            Reorder::Interleave { size } => {
                let (head, i) = (row / size * size, row % size);
                head + i % 2 * (size / 2) + i / 2
            }
            Reorder::Deinterleave { size } => {
                let (head, i) = (row / size * size, row % size);
                head + i % (size / 2) * 2 + i / (size / 2)
            }
        }
    }
}

impl TensorPlan {
    /// Bytes of its data.
    pub fn bytes(&self) -> u64 {
        self.format.size_of(self.shape.values()).expect("the resolver checks the size")
    }

    /// Bytes that the fallback costs beyond the wanted format, were rows padded to its block.
    pub fn fallback_cost(&self) -> Option<f64> {
        let Why::Fallback { wanted, .. } = &self.why else { return None };
        Some(self.bytes() as f64 - self.shape.values() as f64 * wanted.bits_per_weight() / 8.0)
    }

    /// True when its bytes are taken over as they are.
    pub fn is_copy(&self) -> bool {
        matches!(&self.input, Input::Stored { format, scale: None, .. } if *format == self.format)
    }
}

impl Plan {
    /// Bytes of all tensor data, without padding and headers.
    pub fn bytes(&self) -> u64 {
        self.tensors.iter().map(TensorPlan::bytes).sum()
    }

    /// Number of values.
    pub fn values(&self) -> u64 {
        self.tensors.iter().map(|t| t.shape.values()).sum()
    }

    /// Average storage cost of a value.
    pub fn bits_per_weight(&self) -> f64 {
        8.0 * self.bytes() as f64 / self.values().max(1) as f64
    }

    /// Tensors and bytes per format, most bytes first.
    pub fn formats(&self) -> Vec<(&'static Format, usize, u64)> {
        by_format(self.tensors.iter().map(|t| (t.format, t.bytes())))
    }
}

/// Tensors and bytes per format, most bytes first.
pub fn by_format(tensors: impl Iterator<Item = (&'static Format, u64)>) -> Vec<(&'static Format, usize, u64)> {
    let mut rows: Vec<(&'static Format, usize, u64)> = Vec::new();
    for (format, bytes) in tensors {
        match rows.iter_mut().find(|r| r.0 == format) {
            Some(row) => {
                row.1 += 1;
                row.2 += bytes;
            }
            None => rows.push((format, 1, bytes)),
        }
    }
    rows.sort_by(|a, b| b.2.cmp(&a.2).then(a.0.name.cmp(b.0.name)));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interleaving_is_the_reference_permutation() {
        // W.reshape(heads, 2, size / 2).swap(1, 2): two heads of six rows.
        let there = Reorder::Interleave { size: 6 };
        let rows: Vec<u64> = (0..12).map(|r| there.source_row(r)).collect();
        assert_eq!(rows, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
        let back = Reorder::Deinterleave { size: 6 };
        for r in 0..12 {
            assert_eq!(there.source_row(back.source_row(r)), r);
        }
    }
}
