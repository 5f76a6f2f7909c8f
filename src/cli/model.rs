//! Models that commands run.

use super::progress::{Unit, metered};
use crate::error::Result;
use crate::model::{Model, Weights};
use crate::source::Source;
use std::path::Path;
use tersor_kernels::Level;

/// Load the model at `path`, with a meter on stderr.
pub(super) fn load(path: &Path, weights: Weights, threads: usize, quiet: bool) -> Result<Model> {
    let source = Source::open(path)?;
    let bytes = source.bytes();
    metered(quiet, Unit::Bytes, bytes, |meter| Model::load(source, weights, Level::best(), threads, meter))
}
