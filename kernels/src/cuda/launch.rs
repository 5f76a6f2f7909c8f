//! A launch for each kernel: grid, block and arguments as the head of its source says.

use super::{Buffer, Device, NoDevice, failed};
use crate::Format;
use cudarc::driver::{CudaFunction, LaunchConfig, PushKernelArg};

/// Of a block of every kernel here.
const THREADS: u32 = 256;

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
    pub fn dequantize(&self, format: &Format, blocks: &Buffer<u8>) -> Result<Buffer<f32>, NoDevice> {
        const PER_BLOCK: u64 = 1024;
        assert!(
            format.decoder().is_some() && blocks.len().is_multiple_of(format.bytes),
            "{format:?}, {}",
            blocks.len()
        );
        let count = blocks.len() / format.bytes * format.block;
        let mut values = self.room(count)?;
        let kernel = self.modules.kernel("dequantize", &format!("dequantize_{}", format.name))?;
        let count = count as u64;
        let mut launch = self.stream.launch_builder(&kernel);
        launch.arg(&blocks.room).arg(&mut values.room).arg(&count);
        if let Some(grid) = grid(count.div_ceil(PER_BLOCK))? {
            // SAFETY: the kernel takes these arguments, reads `count` values' blocks, and writes `count` values.
            unsafe { launch.launch(grid) }.map_err(failed("launch dequantize"))?;
        }
        Ok(values)
    }

    /// Blocks of q8_0, as [`crate::Codec::encode`] gives them, and what became of each.
    ///
    /// # Errors
    /// [`NoDevice`].
    ///
    /// # Panics
    /// For values that are no whole blocks.
    pub fn encode_q8_0(&self, values: &Buffer<f32>) -> Result<(Buffer<u8>, Vec<Outcome>), NoDevice> {
        const PER_BLOCK: u64 = 8;
        assert!(values.len().is_multiple_of(32), "{}", values.len());
        let count = values.len() / 32;
        let (mut blocks, mut bad) = (self.room(count * 34)?, self.room(count)?);
        let kernel: CudaFunction = self.modules.kernel("encode_q8_0", "encode_q8_0")?;
        let count = count as u64;
        let mut launch = self.stream.launch_builder(&kernel);
        launch.arg(&values.room).arg(&mut blocks.room).arg(&mut bad.room).arg(&count);
        if let Some(grid) = grid(count.div_ceil(PER_BLOCK))? {
            // SAFETY: the kernel takes these arguments, reads 32 values of each block, and writes its 34 bytes and its outcome.
            unsafe { launch.launch(grid) }.map_err(failed("launch encode_q8_0"))?;
        }
        let outcome = |bad: u8| match bad {
            0 => Outcome::Encoded,
            1 => Outcome::NonFinite,
            _ => Outcome::Overflow,
        };
        Ok((blocks, self.download(&bad)?.into_iter().map(outcome).collect()))
    }
}

/// So many blocks; `None` for none, which is no launch.
pub(super) fn grid(blocks: u64) -> Result<Option<LaunchConfig>, NoDevice> {
    let most = i32::MAX as u64;
    if blocks > most {
        let reason = format!("{blocks} blocks, a grid has {most}");
        return Err(NoDevice::Failed { what: "launch a kernel", reason });
    }
    let config = LaunchConfig { grid_dim: (blocks as u32, 1, 1), block_dim: (THREADS, 1, 1), shared_mem_bytes: 0 };
    Ok((blocks > 0).then_some(config))
}
