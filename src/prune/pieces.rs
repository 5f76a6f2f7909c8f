//! Weights of many tensors, some rows at a time, on all threads and in bounded memory.

use crate::error::{Error, Result};
use crate::machine::in_parallel;
use crate::progress::Progress;
use crate::source::Source;
use crate::tensor::TensorId;
use tersor_kernels::Level;

/// Values of a piece, unless a row is longer.
const PIECE_VALUES: u64 = 1 << 20;

/// Whole rows of one tensor.
pub(super) struct Piece {
    /// Position in the list of tensors.
    pub(super) tensor: usize,
    /// Of its first value.
    pub(super) start: u64,
    values: u64,
}

impl Piece {
    /// The position after its last value.
    pub(super) fn end(&self) -> u64 {
        self.start + self.values
    }
}

/// Reads for passes that look at weights before anything is written.
pub(super) struct Reader<'a> {
    pub(super) source: &'a Source,
    pub(super) level: Level,
    pub(super) threads: usize,
    pub(super) progress: &'a dyn Progress,
}

impl Reader<'_> {
    /// `look` at the values of every piece of `tensors`; what it gives, in order.
    ///
    /// # Errors
    /// Files that cannot be read, [`Error::Interrupted`].
    pub(super) fn each<T: Send>(
        &self,
        tensors: &[TensorId],
        look: impl Fn(&Piece, &[f32]) -> T + Sync,
    ) -> Result<Vec<(Piece, T)>> {
        let pieces: Vec<Piece> = tensors.iter().enumerate().flat_map(|(n, id)| self.pieces(n, *id)).collect();
        let seen = in_parallel(self.threads, pieces.len(), |n| {
            if self.progress.cancelled() {
                return Err(Error::Interrupted);
            }
            let piece = &pieces[n];
            let values = self.values(tensors[piece.tensor], piece)?;
            Ok(look(piece, &values))
        })?;
        Ok(pieces.into_iter().zip(seen).collect())
    }

    /// The values of one piece of a tensor.
    pub(super) fn values(&self, id: TensorId, piece: &Piece) -> Result<Vec<f32>> {
        let (format, count) = (self.source.tensor(id).format, piece.values as usize);
        let mut bytes = vec![0; count * format.bytes];
        self.source.read(id, piece.start * format.bytes as u64, &mut bytes)?;
        let mut values = vec![0.0; count];
        format.decoder().ok_or_else(|| self.source.unreadable(id))?(self.level, &bytes, &mut values);
        self.progress.advance(bytes.len() as u64);
        Ok(values)
    }

    fn pieces(&self, tensor: usize, id: TensorId) -> impl Iterator<Item = Piece> + use<> {
        let shape = &self.source.tensor(id).shape;
        let (total, row) = (shape.values(), shape.cols().max(1));
        let step = (PIECE_VALUES / row).max(1) * row;
        (0..total.div_ceil(step)).map(move |n| Piece { tensor, start: n * step, values: step.min(total - n * step) })
    }
}
