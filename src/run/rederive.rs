//! What a job writes, once more, for a comparison.

use super::encoding;
use super::hashes::hash_of_all;
use super::piece::{Buffers, Scales, pieces_of};
use crate::conversion::Job;
use crate::error::Result;
use crate::plan::{Input, TensorPlan};
use crate::source::Source;
use tersor_kernels::{Level, NonFinite};

/// The pieces of a job's tensors: source values, and their bytes in the output's format.
pub(crate) struct Rederive<'a> {
    job: &'a Job,
    source: &'a Source,
    scales: Scales,
    level: Level,
}

/// One piece of an output tensor.
pub(crate) struct Rederived<'a> {
    /// Position of its first value in the tensor.
    pub(crate) start: u64,
    /// The values before rounding; `None` where the source's format has no decoder.
    pub(crate) values: Option<&'a [f32]>,
    /// The bytes that tersor writes; `None` where it has no encoder.
    pub(crate) encoded: Option<&'a [u8]>,
    /// Where they stand, from the tensor's start.
    pub(crate) output_offset: u64,
    /// How many there are.
    pub(crate) output_bytes: usize,
}

impl<'a> Rederive<'a> {
    pub(crate) fn new(job: &'a Job, source: &'a Source, level: Level) -> Result<Self> {
        let scales = Scales::read(&job.plan, source, level)?;
        Ok(Rederive { job, source, scales, level })
    }

    /// Call `visit` for every piece of `t`; gives the name and hash of the source tensor.
    pub(crate) fn pieces(
        &self,
        t: &TensorPlan,
        visit: &mut dyn FnMut(Rederived<'_>) -> Result<()>,
    ) -> Result<Option<(String, blake3::Hash)>> {
        let mut buffers = Buffers::default();
        let mut hasher = blake3::Hasher::new();
        let how = encoding(self.job, &t.name, NonFinite::Keep);
        for piece in pieces_of(0, t) {
            let read = piece.read(t, self.source, &mut buffers)?;
            hasher.update(&buffers.stored[..read]);
            let (has_values, has_bytes) = piece.rederive(t, &self.scales, &how, self.level, &mut buffers);
            let (output_offset, output_bytes) = piece.output_range(t);
            visit(Rederived {
                start: piece.start,
                values: has_values.then_some(&buffers.decoded),
                encoded: has_bytes.then_some(&buffers.encoded),
                output_offset,
                output_bytes,
            })?;
        }
        let Input::Stored { id, .. } = &t.input else { return Ok(None) };
        Ok(Some((self.source.tensor(*id).name.clone(), hasher.finalize())))
    }

    /// The source's hash from those of its tensors.
    pub(crate) fn source_hash(&self, tensors: Vec<(String, blake3::Hash)>) -> String {
        hash_of_all(tensors, &self.job.inputs, &self.scales)
    }
}
