//! From a storage format, and to one.

use super::{Buffer, Device, NoDevice};
use crate::Format;

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

    /// Blocks of q8_0, as [`crate::Codec::encode`] gives them, and what became of each.
    ///
    /// # Errors
    /// [`NoDevice`].
    ///
    /// # Panics
    /// For values that are no whole blocks.
    pub fn encode_q8_0(&self, values: &Buffer<f32>) -> Result<(Buffer<u8>, Vec<Outcome>), NoDevice> {
        const PER_BLOCK: usize = 8;
        assert!(values.len().is_multiple_of(32), "{}", values.len());
        let count = values.len() / 32;
        let (blocks, bad) = (self.room(count * 34)?, self.room(count)?);
        let launch = self.launch("encode_q8_0", "encode_q8_0")?.buffer(values).buffer(&blocks).buffer(&bad).u64(count);
        // SAFETY: the kernel takes these arguments, reads 32 values of each block, and writes its 34 bytes and its outcome.
        unsafe { launch.start([count.div_ceil(PER_BLOCK), 1, 1]) }?;
        let outcome = |bad: u8| match bad {
            0 => Outcome::Encoded,
            1 => Outcome::NonFinite,
            _ => Outcome::Overflow,
        };
        Ok((blocks, self.download(&bad)?.into_iter().map(outcome).collect()))
    }
}
