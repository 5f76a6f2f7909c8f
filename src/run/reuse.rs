//! Tensors that were encoded before: their bytes are copied in place of being made.

use super::piece::{Buffers, Piece};
use super::{Done, Task};
use crate::conversion::Job;
use crate::error::{Error, Result};
use crate::gguf::{self, Metadata};
use crate::plan::{Input, TensorPlan};
use crate::source::Source;
use crate::tokenizer::PROBES;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tersor_kernels::Fit;

/// Grows when encoders give other bytes for the same values.
pub const ENCODERS: u32 = 1;

/// What a run wrote of one tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Stored {
    /// In the output's one file.
    offset: u64,
    /// The bits of [`Fit`]'s sums.
    fit: [u64; 2],
    zeros: u64,
    /// The hash of the bytes that it was made from.
    source: String,
}

/// What a run wrote, for runs after it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Index {
    /// By a hash of what decides a tensor's bytes.
    tensors: BTreeMap<String, Stored>,
    /// By a hash of a tokenizer's keys that were held against the model's tokenizer, of how many texts.
    tokenizers: BTreeMap<String, usize>,
}

/// What outputs have that were made from the same model.
#[derive(Debug)]
pub struct Known {
    model: String,
    tensors: HashMap<String, (PathBuf, Stored)>,
    /// Of outputs that are under way, too.
    tokenizers: Mutex<HashMap<String, usize>>,
}

/// Known tensors for one output, and what is written of it.
#[derive(Debug)]
pub struct Reuse {
    known: Arc<Known>,
    written: Mutex<Index>,
}

impl Stored {
    pub(super) fn new(offset: u64, done: Done, source: blake3::Hash) -> Stored {
        let fit = [done.fit.error.to_bits(), done.fit.energy.to_bits()];
        Stored { offset, fit, zeros: done.zeros, source: source.to_hex().to_string() }
    }
}

impl Known {
    /// Nothing yet; `model` is a hash of all that the model consists of.
    pub fn new(model: String) -> Known {
        Known { model, tensors: HashMap::new(), tokenizers: Mutex::default() }
    }

    /// What is in an output with one file, which is as it was written.
    pub fn add(&mut self, output: &Path, index: Index) {
        self.tensors.extend(index.tensors.into_iter().map(|(key, stored)| (key, (output.to_owned(), stored))));
        self.tokenizers.get_mut().unwrap_or_else(PoisonError::into_inner).extend(index.tokenizers);
    }
}

impl Reuse {
    /// For an output of which nothing is written yet.
    pub fn new(known: Arc<Known>) -> Reuse {
        Reuse { known, written: Mutex::default() }
    }

    /// What the run wrote.
    pub fn index(&self) -> Index {
        self.written().clone()
    }

    fn written(&self) -> MutexGuard<'_, Index> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Of how many texts the tokenizer with these keys makes what the model's own makes, asked of `check` unless it is known.
    pub(crate) fn check_tokenizer(&self, keys: &Metadata, check: impl FnOnce() -> Result<usize>) -> Result<usize> {
        let of = gguf::digest(keys, "tokenizer.");
        let key = blake3::hash(format!("{of} {PROBES:?}").as_bytes()).to_hex().to_string();
        let known = || self.known.tokenizers.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known().get(&key).copied();
        let texts = found.map_or_else(check, Ok)?;
        known().insert(key.clone(), texts);
        self.written().tokenizers.insert(key, texts);
        Ok(texts)
    }

    /// A hash of what decides the bytes of each tensor of a job; `None` for those that are not worth it.
    pub(super) fn keys(&self, job: &Job, source: &Source) -> Vec<Option<String>> {
        job.plan.tensors.iter().map(|t| self.key(job, source, t)).collect()
    }

    fn key(&self, job: &Job, source: &Source, t: &TensorPlan) -> Option<String> {
        let Input::Stored { id, order, scale: None, .. } = &t.input else { return None };
        let mut hasher = blake3::Hasher::new();
        let (name, format) = (&source.tensor(*id).name, t.format.name);
        let how = (ENCODERS, job.effort, job.allow_non_finite, job.count_zeros);
        hasher.update(format!("{} {name} {order:?} {format} {how:?}", self.known.model).as_bytes());
        job.importance.get(&t.name).into_iter().flatten().for_each(|x| _ = hasher.update(&x.to_le_bytes()));
        Some(hasher.finalize().to_hex().to_string())
    }

    /// Where tensors with these keys were written before, by their numbers.
    pub(super) fn find(&self, keys: &[Option<String>]) -> HashMap<usize, Found> {
        let mut files = HashMap::new();
        let mut found = HashMap::new();
        for (n, key) in keys.iter().enumerate() {
            let Some((path, stored)) = key.as_ref().and_then(|key| self.known.tensors.get(key)) else { continue };
            let file: &Option<Arc<File>> =
                files.entry(path.clone()).or_insert_with(|| File::open(path).ok().map(Into::into));
            let file = file.as_ref().map(|file| (path.clone(), file.clone()));
            found.extend(file.and_then(|file| Some((n, Found::new(Some(file), stored.clone())?))));
        }
        found
    }

    /// Remember what a run wrote of a tensor.
    pub(super) fn record(&self, key: &str, stored: Stored) {
        self.written().tensors.insert(key.to_owned(), stored);
    }
}

/// A tensor that was written before.
pub(super) struct Found {
    /// Where its bytes are; `None` where they are in their place already.
    file: Option<(PathBuf, Arc<File>)>,
    stored: Stored,
    /// The hash of the bytes that it was made from.
    pub(super) source: blake3::Hash,
}

impl Found {
    pub(super) fn new(file: Option<(PathBuf, Arc<File>)>, stored: Stored) -> Option<Found> {
        let source = blake3::Hash::from_hex(&stored.source).ok()?;
        Some(Found { file, stored, source })
    }

    pub(super) fn is_in_place(&self) -> bool {
        self.file.is_none()
    }

    /// Copy a piece that is elsewhere to its place in the output of `task`.
    pub(super) fn copy(&self, piece: &Piece, task: &Task<'_>, buffers: &mut Buffers) -> Result<()> {
        let Some((path, from)) = &self.file else { return Ok(()) };
        let (start, bytes) = piece.output_range(&task.job.plan.tensors[piece.tensor]);
        let (file, place) = task.layout.places[piece.tensor];
        let (from_start, offset) = (self.stored.offset + start, place + start);
        if task.output.copy(file, offset, from, from_start, bytes as u64) {
            return Ok(());
        }
        buffers.make_room(bytes);
        from.read_exact_at(&mut buffers.encoded, from_start).map_err(Error::io("read", path))?;
        task.output.write(file, offset, &buffers.encoded)
    }

    /// What making it came to.
    pub(super) fn done(&self) -> Done {
        let [error, energy] = self.stored.fit.map(f64::from_bits);
        Done { fit: Fit { error, energy }, zeros: self.stored.zeros }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tokenizer_is_checked_once() {
        let known = Arc::new(Known::new("model".into()));
        let keys = |pre: &str| {
            let mut keys = Metadata::default();
            keys.set("general.name", "any");
            keys.set("tokenizer.ggml.pre", pre);
            keys
        };
        let first = Reuse::new(known.clone());
        assert_eq!(first.check_tokenizer(&keys("a"), || Ok(7)).unwrap(), 7);
        let must_not = || -> Result<usize> { panic!("it is known") };
        assert_eq!(Reuse::new(known.clone()).check_tokenizer(&keys("a"), must_not).unwrap(), 7);
        assert!(Reuse::new(known).check_tokenizer(&keys("b"), || Err(Error::Interrupted)).is_err());

        let mut known = Known::new("model".into());
        known.add(Path::new("x.gguf"), first.index());
        let later = Reuse::new(known.into());
        assert_eq!(later.check_tokenizer(&keys("a"), must_not).unwrap(), 7);
        assert_eq!(later.check_tokenizer(&keys("b"), || Ok(9)).unwrap(), 9);
    }
}
