//! From a storage format, and to one.

use super::{Buffer, Device, NoDevice};
use crate::{Effort, Format};

/// What became of a block that was encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was.
    Encoded,
    /// It has a value that is not finite, and became zeros.
    NonFinite,
    /// Its scale has no place in half precision, and it became zeros.
    Overflow,
}

/// Blocks, and what became of each.
pub type Encoded = (Buffer<u8>, Vec<Outcome>);

/// Formats with an encoder: its kernel, whether it searches for scales, and the blocks of values of a block of threads.
static ENCODERS: [(&str, &str, bool, usize); 3] =
    [("q8_0", "encode_q8_0", false, 8), ("q4_0", "encode_q4_0", true, 256), ("q4_k", "encode_q4_k", true, 32)];

impl Device {
    /// The values of whole blocks, as [`crate::Codec::decode`] gives them.
    ///
    /// # Errors
    /// [`NoDevice`].
    ///
    /// # Panics
    /// For a format without a decoder, and for bytes that are no whole blocks.
    pub fn dequantize(&self, format: &Format, blocks: &Buffer<u8>, values: &mut Buffer<f32>) -> Result<(), NoDevice> {
        const PER_BLOCK: usize = 1024;
        let whole = blocks.len().is_multiple_of(format.bytes);
        assert!(format.decoder().is_some() && whole, "{format:?}, {}", blocks.len());
        let count = blocks.len() / format.bytes * format.block;
        self.fit(values, count)?;
        let launch = self.launch("dequantize", &format!("dequantize_{}", format.name))?;
        let launch = launch.buffer(blocks).buffer(values).u64(count);
        // SAFETY: the kernel takes these arguments, reads `count` values' blocks, and writes `count` values.
        unsafe { launch.start([count.div_ceil(PER_BLOCK), 1, 1]) }
    }

    /// Blocks of a format, as [`crate::Codec::encode`] gives them, and what became of each; nothing for a format that there is no
    /// kernel for. `importance` is that of the columns of a matrix whose first row begins with `values`.
    ///
    /// # Errors
    /// [`NoDevice`].
    ///
    /// # Panics
    /// For values, or columns, that are no whole blocks.
    pub fn encode(
        &self,
        format: &Format,
        effort: Effort,
        values: &Buffer<f32>,
        importance: Option<&Buffer<f32>>,
    ) -> Result<Option<Encoded>, NoDevice> {
        let Some((name, source, searches, per_block)) = ENCODERS.iter().find(|(name, ..)| *name == format.name) else {
            return Ok(None);
        };
        let columns = importance.map_or(0, Buffer::len);
        let whole = values.len().is_multiple_of(format.block) && columns.is_multiple_of(format.block);
        assert!(whole, "{} values of {columns} columns", values.len());
        let count = values.len() / format.block;
        let (blocks, bad) = (self.room(count * format.bytes)?, self.room(count)?);
        let launch = self.launch(source, source)?.buffer(values);
        let launch = if *searches { launch.buffer(importance.unwrap_or(values)) } else { launch };
        let launch = launch.buffer(&blocks).buffer(&bad).u64(count);
        let plain = *name == "q4_0" && effort == Effort::Fast && importance.is_none();
        let effort = if plain { 0 } else { 1 + usize::from(effort == Effort::Best) };
        let launch = if *searches { launch.u64(columns).u32(effort) } else { launch };
        // SAFETY: the kernel takes these arguments, reads the values of each block and whole rows of columns, and writes its bytes
        // and its outcome.
        unsafe { launch.start([count.div_ceil(*per_block), 1, 1]) }?;
        let outcome = |bad: u8| match bad {
            0 => Outcome::Encoded,
            1 => Outcome::NonFinite,
            _ => Outcome::Overflow,
        };
        Ok(Some((blocks, self.download(&bad)?.into_iter().map(outcome).collect())))
    }
}
