//! A launch for each kernel: grid, block and arguments as the head of its source says.

use super::{Buffer, Device, NoDevice, failed};
use crate::Format;
use cudarc::driver::{LaunchArgs, LaunchConfig, PushKernelArg};

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
        const PER_BLOCK: usize = 1024;
        assert!(
            format.decoder().is_some() && blocks.len().is_multiple_of(format.bytes),
            "{format:?}, {}",
            blocks.len()
        );
        let count = blocks.len() / format.bytes * format.block;
        let mut values = self.room(count)?;
        let kernel = self.modules.kernel("dequantize", &format!("dequantize_{}", format.name))?;
        let number = count as u64;
        let mut launch = self.stream.launch_builder(&kernel);
        launch.arg(&blocks.room).arg(&mut values.room).arg(&number);
        // SAFETY: the kernel takes these arguments, reads `count` values' blocks, and writes `count` values.
        unsafe { start(launch, [count.div_ceil(PER_BLOCK), 1, 1], "launch dequantize") }?;
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
        const PER_BLOCK: usize = 8;
        assert!(values.len().is_multiple_of(32), "{}", values.len());
        let count = values.len() / 32;
        let (mut blocks, mut bad) = (self.room(count * 34)?, self.room(count)?);
        let kernel = self.modules.kernel("encode_q8_0", "encode_q8_0")?;
        let number = count as u64;
        let mut launch = self.stream.launch_builder(&kernel);
        launch.arg(&values.room).arg(&mut blocks.room).arg(&mut bad.room).arg(&number);
        // SAFETY: the kernel takes these arguments, reads 32 values of each block, and writes its 34 bytes and its outcome.
        unsafe { start(launch, [count.div_ceil(PER_BLOCK), 1, 1], "launch encode_q8_0") }?;
        let outcome = |bad: u8| match bad {
            0 => Outcome::Encoded,
            1 => Outcome::NonFinite,
            _ => Outcome::Overflow,
        };
        Ok((blocks, self.download(&bad)?.into_iter().map(outcome).collect()))
    }
}

/// Launch a kernel with a grid of blocks of [`THREADS`] threads; none of them is no launch.
///
/// # Safety
/// The kernel takes the arguments that were given, and with this grid it reads and writes no more than is there.
pub(super) unsafe fn start(mut launch: LaunchArgs<'_>, grid: [usize; 3], what: &'static str) -> Result<(), NoDevice> {
    const MOST: [usize; 3] = [i32::MAX as usize, u16::MAX as usize, u16::MAX as usize];
    if grid.contains(&0) {
        return Ok(());
    }
    if grid.iter().zip(MOST).any(|(blocks, most)| *blocks > most) {
        return Err(NoDevice::Failed { what, reason: format!("a grid of {grid:?} blocks, the largest is {MOST:?}") });
    }
    let [x, y, z] = grid.map(|blocks| blocks as u32);
    let config = LaunchConfig { grid_dim: (x, y, z), block_dim: (THREADS, 1, 1), shared_mem_bytes: 0 };
    // SAFETY: the caller's promise.
    unsafe { launch.launch(config) }.map(drop).map_err(failed(what))
}
