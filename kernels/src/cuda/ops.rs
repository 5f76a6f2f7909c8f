//! What a model computes between products.

use super::launch::start;
use super::{Buffer, Device, NoDevice};
use cudarc::driver::PushKernelArg;

/// Values of a block, for what is computed value by value.
const THREADS: usize = 256;

impl Device {
    /// Each row of `x`, which are as long as `weight`, as [`crate::ops::rms_norm`] makes it.
    ///
    /// # Errors
    /// [`NoDevice`].
    ///
    /// # Panics
    /// When `x` are no whole rows.
    pub fn rms_norm(&self, x: &Buffer<f32>, weight: &Buffer<f32>, eps: f32) -> Result<Buffer<f32>, NoDevice> {
        assert!(x.len().is_multiple_of(weight.len()), "{} numbers for rows of {}", x.len(), weight.len());
        let mut y = self.room(x.len())?;
        let kernel = self.modules.kernel("rms_norm", "rms_norm")?;
        let length = weight.len() as u32;
        let mut launch = self.stream.launch_builder(&kernel);
        launch.arg(&x.room).arg(&weight.room).arg(&mut y.room).arg(&length).arg(&eps);
        // SAFETY: the kernel takes these arguments, and reads and writes one row of `length` numbers for each block.
        unsafe { start(launch, [x.len() / weight.len().max(1), 1, 1], "launch rms_norm") }?;
        Ok(y)
    }

    /// gate = silu(gate) * up, as [`crate::ops::silu_times`].
    ///
    /// # Errors
    /// [`NoDevice`].
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn silu_times(&self, gate: &mut Buffer<f32>, up: &Buffer<f32>) -> Result<(), NoDevice> {
        self.value_by_value("silu_times", gate, up)
    }

    /// x = x + y.
    ///
    /// # Errors
    /// [`NoDevice`].
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn add(&self, x: &mut Buffer<f32>, y: &Buffer<f32>) -> Result<(), NoDevice> {
        self.value_by_value("add", x, y)
    }

    /// Turn the pairs (i, i + size / 2) of each head in `x`. `turns` has, for each token, size / 2 cosines and as many sines.
    ///
    /// # Errors
    /// [`NoDevice`].
    ///
    /// # Panics
    /// When the lengths do not fit.
    pub fn rope(&self, x: &mut Buffer<f32>, turns: &Buffer<f32>, size: usize) -> Result<(), NoDevice> {
        let tokens = turns.len() / size;
        let fits = size.is_multiple_of(2) && turns.len().is_multiple_of(size);
        assert!(fits && x.len().is_multiple_of((tokens * size).max(1)), "{} numbers, {} turns", x.len(), turns.len());
        let kernel = self.modules.kernel("rope", "rope")?;
        let numbers = [x.len() / (tokens * size).max(1), size].map(|n| n as u32);
        let mut launch = self.stream.launch_builder(&kernel);
        launch.arg(&mut x.room).arg(&turns.room);
        numbers.iter().for_each(|number| _ = launch.arg(number));
        // SAFETY: the kernel takes these arguments, and reads and writes the heads of one token for each block.
        unsafe { start(launch, [tokens, 1, 1], "launch rope") }?;
        Ok(())
    }

    fn value_by_value(&self, kernel: &str, x: &mut Buffer<f32>, y: &Buffer<f32>) -> Result<(), NoDevice> {
        assert_eq!(x.len(), y.len());
        let count = x.len() as u64;
        let kernel = self.modules.kernel("elementwise", kernel)?;
        let mut launch = self.stream.launch_builder(&kernel);
        launch.arg(&mut x.room).arg(&y.room).arg(&count);
        // SAFETY: the kernels take these arguments, read `count` numbers of both, and write those of the first.
        unsafe { start(launch, [x.len.div_ceil(THREADS), 1, 1], "launch a kernel") }?;
        Ok(())
    }
}
