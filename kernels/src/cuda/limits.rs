//! What a device does at most, to hold kernels against.

use super::{Buffer, Device, NoDevice, failed};

/// Blocks for each multiprocessor: more warps than tensor cores need.
const BLOCKS: usize = 4;
const THREADS: usize = 256;
/// Sums of eight chains, of 16 by 8 numbers and 16 products each, by a warp in a round.
const OPERATIONS: usize = 2 * 8 * 16 * 8 * 16;

impl Device {
    /// Wait for everything that was launched.
    ///
    /// # Errors
    /// [`NoDevice::Failed`], also for a kernel that failed.
    pub fn wait(&self) -> Result<(), NoDevice> {
        self.stream.synchronize().map_err(failed("wait for the device"))
    }

    /// Multiply ones by tensor cores, in registers, for so many rounds on all multiprocessors; how many multiplications and
    /// additions that is. `out` has what each thread found.
    ///
    /// # Errors
    /// [`NoDevice`].
    pub fn multiply_ones(&self, rounds: usize, out: &mut Buffer<f32>) -> Result<u64, NoDevice> {
        let blocks = BLOCKS * self.multiprocessors;
        self.fit(out, blocks * THREADS)?;
        let launch = self.launch("limits", "multiply_ones")?.buffer(out).u32(rounds);
        // SAFETY: the kernel takes these arguments, and writes a number for each thread.
        unsafe { launch.start([blocks, 1, 1]) }?;
        Ok((blocks * THREADS / 32 * rounds * OPERATIONS) as u64)
    }
}
