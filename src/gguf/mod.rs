//! The GGUF container, versions 2 and 3, little-endian: keys, values and the tensor table.
//!
//! Layout: magic `GGUF`, u32 version, u64 tensor count, u64 key count, the key-value pairs, the tensor table, zeros up
//! to the alignment, and the tensors' data, each padded to the alignment.

mod read;
mod strings;
mod value;
mod write;

pub use read::{Entry, Header, read_header};
pub use strings::Strings;
pub use value::{Array, Value, ValueType};
pub use write::{TensorEntry, digest, encode_header, value_offset};

use std::collections::BTreeMap;

/// The first four bytes.
pub const MAGIC: [u8; 4] = *b"GGUF";
/// The version that is written.
pub const VERSION: u32 = 3;
/// Alignment of tensor data when `general.alignment` is absent.
pub const DEFAULT_ALIGNMENT: u64 = 32;
/// ggml's limit on dimensions.
pub const MAX_DIMS: usize = 4;
/// ggml stores a name in 64 bytes with a zero at the end.
pub const MAX_NAME: usize = 63;
/// The key that sets the alignment.
pub const ALIGNMENT_KEY: &str = "general.alignment";

/// `n` rounded up to a multiple of `alignment`; `None` on overflow.
pub fn align_up(n: u64, alignment: u64) -> Option<u64> {
    n.checked_next_multiple_of(alignment)
}

/// Key-value pairs in file order, with each key once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    pairs: Vec<(String, Value)>,
    index: BTreeMap<String, usize>,
}

impl Metadata {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.index.get(key).map(|at| &self.pairs[*at].1)
    }

    /// Set `key`, in place if it is there, otherwise at the end.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        let (key, value) = (key.into(), value.into());
        match self.index.get(&key) {
            Some(at) => self.pairs[*at].1 = value,
            None => {
                self.index.insert(key.clone(), self.pairs.len());
                self.pairs.push((key, value));
            }
        }
    }

    /// Take out every pair that `keep` refuses.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.pairs.retain(|(k, _)| keep(k));
        self.index = self.pairs.iter().enumerate().map(|(i, (k, _))| (k.clone(), i)).collect();
    }

    /// Pairs in file order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.pairs.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// True when there is no pair.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The text of `key`.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }

    /// The number of `key` as an unsigned integer.
    pub fn count(&self, key: &str) -> Option<u64> {
        self.get(key)?.as_u64()
    }

    /// The number of `key` as a real.
    pub fn real(&self, key: &str) -> Option<f64> {
        self.get(key)?.as_f64()
    }

    /// The flag of `key`.
    pub fn flag(&self, key: &str) -> Option<bool> {
        match self.get(key)? {
            Value::Bool(b) => Some(*b),
            _ => None,
        }
    }

    /// The strings of the array `key`.
    pub fn strings(&self, key: &str) -> Option<&Strings> {
        match self.get(key)? {
            Value::Array(Array::String(v)) => Some(v),
            _ => None,
        }
    }
}

impl IntoIterator for Metadata {
    type Item = (String, Value);
    type IntoIter = std::vec::IntoIter<(String, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.pairs.into_iter()
    }
}

impl Extend<(String, Value)> for Metadata {
    fn extend<T: IntoIterator<Item = (String, Value)>>(&mut self, pairs: T) {
        for (key, value) in pairs {
            self.set(key, value);
        }
    }
}
