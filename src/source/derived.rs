//! Checkpoints as a pass would leave them: other tensors behind the same interface, computed as they are read.

use super::{Origin, Place, Source};
use crate::error::Result;
use crate::tensor::{Shape, TensorId, TensorInfo};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use tersor_kernels::{Encoding, Format, Level};

/// How the bytes of a tensor come about that no file holds.
pub trait Derive: fmt::Debug + Send + Sync {
    /// Fill `buffer` with the tensor's bytes from `offset` on, both whole values. The bytes never depend on how reads
    /// are cut.
    ///
    /// # Errors
    /// Those of the source that it is derived from.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()>;

    /// Where a matrix is stored without its zeros: how many values row `n` has at most that are none.
    fn kept(&self, n: u64) -> Option<u64> {
        let _ = n;
        None
    }
}

/// Bytes that are there already.
#[derive(Debug)]
pub(super) struct Given(pub(super) Vec<u8>);

impl Derive for Given {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        buffer.copy_from_slice(&self.0[offset as usize..][..buffer.len()]);
        Ok(())
    }
}

/// What is behind a tensor's header.
#[derive(Clone, Debug)]
pub enum Content {
    /// The bytes of a tensor of the source that is changed.
    Of(TensorId),
    /// Computed bytes.
    Derived(Arc<dyn Derive>),
}

/// A tensor of `values` in `format`; `None` when that cannot hold them.
pub fn given(name: &str, dims: Vec<u64>, format: &'static Format, values: &[f32]) -> Option<(TensorInfo, Content)> {
    let shape = Shape::new(dims)?;
    let mut bytes = vec![0; format.size_of(shape.values())? as usize];
    format.encoder()?(Level::best(), values, &Encoding::default(), &mut bytes).ok()?;
    let info = TensorInfo { name: name.to_owned(), shape, format, bytes: bytes.len() as u64 };
    Some((info, Content::Derived(Arc::new(Given(bytes)))))
}

impl Source {
    /// The same checkpoint with other tensors, whose names must be unique.
    pub fn with_tensors(&self, tensors: Vec<(TensorInfo, Content)>) -> Source {
        let mut source = Source { by_name: HashMap::new(), derived: true, ..self.clone() };
        (source.tensors, source.places) = tensors
            .into_iter()
            .map(|(info, content)| {
                let place = match content {
                    Content::Of(id) => self.places[id.0].clone(),
                    Content::Derived(derive) => Place::Derived(derive),
                };
                (info, place)
            })
            .unzip();
        let names = source.tensors.iter().enumerate().map(|(n, t)| (t.name.clone(), TensorId(n)));
        source.by_name = names.collect();
        source
    }

    /// Where a matrix is stored without its zeros: how many values row `n` has at most that are none.
    pub fn kept(&self, id: TensorId, n: u64) -> Option<u64> {
        match &self.places[id.0] {
            Place::Derived(derive) => derive.kept(n),
            _ => None,
        }
    }

    /// True for what [`Source::with_tensors`] gives: neither its tensors nor its settings are those of the files.
    pub fn is_derived(&self) -> bool {
        self.derived
    }

    /// Set a text that writers leave in the output, see [`Source::fact`].
    pub fn set_fact(&mut self, key: &str, value: String) {
        match &mut self.origin {
            Origin::Gguf { metadata } => metadata.set(key, value),
            _ => _ = self.facts.insert(key.to_owned(), value),
        }
    }
}
