//! What a checkpoint says of its model.

use super::{Origin, Source};
use crate::arch::{self, Settings};
use crate::error::{Error, Result};
use crate::machine::in_parallel;
use crate::progress::Progress;
use crate::tensor::TensorId;
use tersor_kernels::Level;

/// Divisors of the rotary frequencies, in GGUF.
pub const ROPE_FREQS: &str = "rope_freqs.weight";
/// Values that are decoded at a time to count zeros: whole blocks of every format.
const COUNTED: u64 = 1 << 20;
/// Frequencies at most.
const MOST_FREQUENCIES: u64 = 1 << 16;

impl Source {
    /// The settings of the model, from config.json or the keys of a GGUF.
    ///
    /// # Errors
    /// A family that is not known, settings that are missing or absurd, or a file of weights alone.
    pub fn settings(&self) -> Result<Settings> {
        let metadata = match &self.origin {
            Origin::HuggingFace { config, .. } => return arch::from_config(&self.config_path(), config),
            Origin::Gguf { metadata } => metadata,
            Origin::Bare => {
                let found = "weights without a config.json beside them".into();
                return Err(Error::NotAModel { path: self.path.clone(), found });
            }
        };
        let embedding = self.find("token_embd.weight").map(|id| self.tensor(id).shape.rows());
        let embedding = embedding.ok_or_else(|| Error::MissingTensors { names: vec!["token_embd.weight".into()] })?;
        let tied = self.find("output.weight").is_none();
        let divisors = self.find(ROPE_FREQS).map(|id| self.frequencies(id)).transpose()?;
        arch::from_metadata(&self.path, metadata, embedding, tied, divisors.as_deref())
    }

    fn frequencies(&self, id: TensorId) -> Result<Vec<f32>> {
        let tensor = self.tensor(id);
        if tensor.shape.values() <= MOST_FREQUENCIES && tensor.format.decoder().is_some() {
            return self.values(id);
        }
        let found = format!("{} values of {}", tensor.shape.values(), tensor.format.name);
        Err(Error::malformed(&self.path, format!("tensor `{}`", tensor.name), found, "one f32 per frequency"))
    }

    /// All values of a tensor that is small enough to be held.
    ///
    /// # Errors
    /// A format that is only recognised, or a file that cannot be read.
    pub fn values(&self, id: TensorId) -> Result<Vec<f32>> {
        let tensor = self.tensor(id);
        let decode = tensor.format.decoder().ok_or_else(|| self.unreadable(id))?;
        let mut bytes = vec![0; tensor.bytes as usize];
        self.read(id, 0, &mut bytes)?;
        let mut values = vec![0.0; tensor.shape.values() as usize];
        decode(Level::best(), &bytes, &mut values);
        Ok(values)
    }

    /// For every tensor, the zeros among its values; `None` for a format without a decoder. `progress` hears of bytes.
    ///
    /// # Errors
    /// A file that cannot be read, [`Error::Interrupted`].
    pub fn zeros(&self, threads: usize, progress: &dyn Progress) -> Result<Vec<Option<u64>>> {
        let pieces: Vec<(usize, u64)> = self
            .tensors()
            .iter()
            .enumerate()
            .flat_map(|(n, t)| (0..t.shape.values().div_ceil(COUNTED)).map(move |piece| (n, piece * COUNTED)))
            .collect();
        let counts = in_parallel(threads, pieces.len(), |n| {
            let (id, start) = (TensorId(pieces[n].0), pieces[n].1);
            let tensor = self.tensor(id);
            let Some(decode) = tensor.format.decoder() else { return Ok(0) };
            let count = COUNTED.min(tensor.shape.values() - start) as usize;
            let of = |values: usize| values / tensor.format.block * tensor.format.bytes;
            let (mut bytes, mut values) = (vec![0; of(count)], vec![0.0; count]);
            self.read(id, of(start as usize) as u64, &mut bytes)?;
            decode(Level::best(), &bytes, &mut values);
            progress.advance(bytes.len() as u64);
            if progress.cancelled() {
                return Err(Error::Interrupted);
            }
            Ok(values.iter().filter(|v| **v == 0.0).count() as u64)
        })?;
        let mut zeros: Vec<_> = self.tensors().iter().map(|t| t.format.decoder().map(|_| 0)).collect();
        for ((n, _), count) in pieces.into_iter().zip(counts) {
            zeros[n].iter_mut().for_each(|sum| *sum += count);
        }
        Ok(zeros)
    }

    /// The error for a tensor whose values are wanted and cannot be had.
    pub(crate) fn unreadable(&self, id: TensorId) -> Error {
        let tensor = self.tensor(id);
        let place = format!("tensor `{}`", tensor.name);
        Error::malformed(&self.path, place, format!("the format {}", tensor.format.name), "one that a model can run in")
    }
}
