//! A tensor in another format, encoded as it is read.

use crate::error::{Error, Result};
use crate::source::{Content, Derive, Source};
use crate::tensor::{TensorId, TensorInfo};
use std::sync::Arc;
use tersor_kernels::{Encoding, Format, Level};

/// A tensor in another format.
#[derive(Debug)]
pub(super) struct Rounded {
    source: Arc<Source>,
    id: TensorId,
    format: &'static Format,
    level: Level,
}

impl Rounded {
    /// Tensor `id` of `source` in `format`, whose blocks divide its rows.
    pub(super) fn tensor(
        source: &Arc<Source>,
        id: TensorId,
        format: &'static Format,
        level: Level,
    ) -> (TensorInfo, Content) {
        let info = source.tensor(id);
        let bytes = format.size_of(info.shape.values()).expect("rows are whole blocks");
        let rounded = Rounded { source: Arc::clone(source), id, format, level };
        (TensorInfo { format, bytes, ..info.clone() }, Content::Derived(Arc::new(rounded)))
    }
}

impl Derive for Rounded {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let stored = self.source.tensor(self.id);
        let values = |bytes: u64| bytes / self.format.bytes as u64 * self.format.block as u64;
        let (start, count) = (values(offset), values(buffer.len() as u64) as usize);
        let mut bytes = vec![0; count * stored.format.bytes];
        self.source.read(self.id, start * stored.format.bytes as u64, &mut bytes)?;
        let mut floats = vec![0.0; count];
        stored.format.decoder().ok_or_else(|| self.source.unreadable(self.id))?(self.level, &bytes, &mut floats);
        let encode = self.format.encoder().ok_or_else(|| self.source.unreadable(self.id))?;
        encode(self.level, &floats, &Encoding::default(), buffer)
            .map(|_| ())
            .map_err(|_| Error::unwritable(&stored.name, self.format.name))
    }
}
