//! Tensors that were encoded before: their bytes are copied in place of being made.

use super::piece::{Buffers, Piece};
use crate::conversion::Job;
use crate::error::{Error, Result};
use crate::plan::{Input, TensorPlan};
use crate::sink::Layout;
use crate::source::Source;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tersor_kernels::Fit;

/// Grows when encoders give other bytes for the same values.
pub const ENCODERS: u32 = 1;

/// What a run wrote of one tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// In the output's one file.
    offset: u64,
    /// The bits of [`Fit`]'s sums.
    fit: [u64; 2],
    zeros: u64,
    /// The hash of the bytes that it was made from.
    source: String,
}

/// By a hash of what decides a tensor's bytes.
pub type Index = BTreeMap<String, Stored>;

/// Tensors of outputs that were made from the same model.
#[derive(Debug)]
pub struct Reuse {
    model: String,
    known: HashMap<String, (PathBuf, Stored)>,
    written: Mutex<Index>,
    copied: AtomicUsize,
}

impl Reuse {
    /// Nothing yet; `model` is a hash of all that the model consists of.
    pub fn new(model: String) -> Reuse {
        Reuse { model, known: HashMap::new(), written: Mutex::default(), copied: AtomicUsize::new(0) }
    }

    /// The tensors of an output with one file, which is as it was written.
    pub fn add(&mut self, output: &Path, index: Index) {
        self.known.extend(index.into_iter().map(|(key, stored)| (key, (output.to_owned(), stored))));
    }

    /// What the run wrote.
    pub fn index(&self) -> Index {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many tensors the run copied.
    pub fn copied(&self) -> usize {
        self.copied.load(Ordering::Relaxed)
    }

    /// A hash of what decides the bytes of `t`; `None` for those that are not worth it.
    fn key(&self, job: &Job, source: &Source, t: &TensorPlan) -> Option<String> {
        let Input::Stored { id, order, scale: None, .. } = &t.input else { return None };
        let mut hasher = blake3::Hasher::new();
        let (name, format) = (&source.tensor(*id).name, t.format.name);
        let how = (ENCODERS, job.effort, job.allow_non_finite, job.count_zeros);
        hasher.update(format!("{} {name} {order:?} {format} {how:?}", self.model).as_bytes());
        job.importance.get(&t.name).into_iter().flatten().for_each(|x| _ = hasher.update(&x.to_le_bytes()));
        Some(hasher.finalize().to_hex().to_string())
    }

    /// Where the tensors of a job were written before, by their numbers.
    pub(super) fn find(&self, job: &Job, source: &Source) -> HashMap<usize, Found> {
        let mut files = HashMap::new();
        let mut found = HashMap::new();
        for (n, t) in job.plan.tensors.iter().enumerate() {
            let Some((path, stored)) = self.key(job, source, t).and_then(|key| self.known.get(&key)) else { continue };
            let file: &Option<Arc<File>> =
                files.entry(path.clone()).or_insert_with(|| File::open(path).ok().map(Into::into));
            if let (Some(file), Ok(source)) = (file, blake3::Hash::from_hex(&stored.source)) {
                found.insert(n, Found { path: path.clone(), file: file.clone(), stored: stored.clone(), source });
            }
        }
        self.copied.store(found.len(), Ordering::Relaxed);
        found
    }

    /// Remember what a run wrote; `hashes` are those of source tensors by name.
    pub(super) fn record(
        &self,
        job: &Job,
        source: &Source,
        layout: &Layout,
        results: (&[Fit], &[u64]),
        hashes: &[(String, blake3::Hash)],
    ) {
        let hashes: HashMap<&str, &blake3::Hash> = hashes.iter().map(|(name, hash)| (name.as_str(), hash)).collect();
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        for (n, t) in job.plan.tensors.iter().enumerate() {
            let (Some(key), Input::Stored { id, .. }) = (self.key(job, source, t), &t.input) else { continue };
            let Some(hash) = hashes.get(source.tensor(*id).name.as_str()) else { continue };
            let (_, offset) = layout.places[n];
            let (fit, zeros) = (results.0[n], results.1[n]);
            let fit = [fit.error.to_bits(), fit.energy.to_bits()];
            written.insert(key, Stored { offset, fit, zeros, source: hash.to_hex().to_string() });
        }
    }
}

/// A tensor that was written before.
pub(super) struct Found {
    path: PathBuf,
    file: Arc<File>,
    stored: Stored,
    /// The hash of the bytes that it was made from.
    pub(super) source: blake3::Hash,
}

impl Found {
    /// The bytes of a piece.
    pub(super) fn read(&self, piece: &Piece, t: &TensorPlan, buffers: &mut Buffers) -> Result<()> {
        let (start, bytes) = piece.output_range(t);
        buffers.make_room(bytes);
        let read = self.file.read_exact_at(&mut buffers.encoded, self.stored.offset + start);
        read.map_err(Error::io("read", &self.path))
    }

    pub(super) fn fit(&self) -> Fit {
        let [error, energy] = self.stored.fit.map(f64::from_bits);
        Fit { error, energy }
    }

    pub(super) fn zeros(&self) -> u64 {
        self.stored.zeros
    }
}
