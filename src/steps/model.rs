//! Models that commands run, and the text that they are measured on.

use crate::error::Result;
use crate::model::{Choice, Model, Room, Weights};
use crate::options::TextArgs;
use crate::progress::{Unit, Watch, metered};
use crate::source::Source;
use crate::windows::{Text, Windows};
use tersor_kernels::Level;

/// Where models are computed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) device: Choice,
    pub(crate) room: Room,
    /// For what the CPU does.
    pub(crate) threads: usize,
}

/// Load a model, with a meter.
pub(crate) fn load(source: Source, weights: Weights, place: Place, watch: &dyn Watch) -> Result<Model> {
    let (bytes, Place { device, room, threads }) = (source.bytes(), place);
    metered(watch, Unit::Bytes, bytes, |meter| {
        Model::load_on((device, room), source, weights, Level::best(), threads, meter)
    })
}

/// The text as the tokenizer of `source` cuts it, if there is one. `base` must have the same tokenizer.
pub(crate) fn windows(args: &TextArgs, source: &Source, base: Option<&Source>) -> Result<Option<Windows>> {
    let Some(path) = &args.text else { return Ok(None) };
    let windows = Windows::cut(source, &Text { path, context: args.ctx, chunks: args.chunks })?;
    base.iter().try_for_each(|base| windows.check_base(source, base))?;
    Ok(Some(windows))
}
