//! Keys and values in a device's memory, and attention over them.

use super::launch::start;
use super::{Buffer, Device, NoDevice};
use cudarc::driver::PushKernelArg;

/// Numbers of a head at most.
pub const HEAD: usize = 256;

/// The keys and values of one layer.
#[derive(Debug)]
pub struct Kept {
    keys: Buffer<f32>,
    values: Buffer<f32>,
    heads: usize,
    size: usize,
    room: usize,
}

impl Device {
    /// Room for so many positions of `heads` keys and values of `size` numbers each.
    ///
    /// # Errors
    /// [`NoDevice::Memory`].
    ///
    /// # Panics
    /// For heads of nothing, or of more than [`HEAD`] numbers.
    pub fn room_for_keys(&self, heads: usize, size: usize, room: usize) -> Result<Kept, NoDevice> {
        assert!((1..=HEAD).contains(&size) && heads > 0, "{heads} heads of {size}");
        let count = heads * room * size;
        Ok(Kept { keys: self.room(count)?, values: self.room(count)?, heads, size, room })
    }

    /// Keep the keys and values of successive tokens, the first of them at `position`.
    ///
    /// # Errors
    /// [`NoDevice`].
    ///
    /// # Panics
    /// When there is no room for them, or the lengths do not fit.
    pub fn keep(
        &self,
        kept: &mut Kept,
        position: usize,
        keys: &Buffer<f32>,
        values: &Buffer<f32>,
    ) -> Result<(), NoDevice> {
        let Kept { heads, size, room, .. } = *kept;
        let tokens = keys.len() / (heads * size);
        assert!(keys.len() == values.len() && keys.len().is_multiple_of(heads * size), "{} numbers", keys.len());
        assert!(position + tokens <= room, "{tokens} tokens from {position} on, there is room for {room}");
        let kernel = self.modules.kernel("attention", "keep")?;
        let numbers = [heads, size, room, position].map(|n| n as u32);
        for (from, to) in [(keys, &mut kept.keys), (values, &mut kept.values)] {
            let mut launch = self.stream.launch_builder(&kernel);
            launch.arg(&from.room).arg(&mut to.room);
            numbers.iter().for_each(|number| _ = launch.arg(number));
            // SAFETY: the kernel takes these arguments, and writes to positions that there is room for.
            unsafe { start(launch, [tokens, 1, 1], "launch keep") }?;
        }
        Ok(())
    }

    /// The attention of successive tokens, the first of them at `position`, each over what is kept up to its own position:
    /// scores times 1 / sqrt(size). `queries` has the same number of heads for each token, and so has what it gives.
    ///
    /// # Errors
    /// [`NoDevice`].
    ///
    /// # Panics
    /// When the lengths do not fit.
    pub fn attention(
        &self,
        kept: &Kept,
        position: usize,
        queries: &Buffer<f32>,
        tokens: usize,
    ) -> Result<Buffer<f32>, NoDevice> {
        let Kept { heads, size, room, .. } = *kept;
        let own = queries.len() / (tokens * size).max(1);
        assert!(queries.len() == tokens * own * size && own.is_multiple_of(heads), "{} numbers", queries.len());
        assert!(position + tokens <= room, "{tokens} tokens from {position} on, there is room for {room}");
        let mut out = self.room(queries.len())?;
        let kernel = self.modules.kernel("attention", "attention")?;
        let numbers = [size, own / heads, room, position].map(|n| n as u32);
        let scale = 1.0 / (size as f32).sqrt();
        let mut launch = self.stream.launch_builder(&kernel);
        launch.arg(&queries.room).arg(&kept.keys.room).arg(&kept.values.room).arg(&mut out.room);
        numbers.iter().for_each(|number| _ = launch.arg(number));
        launch.arg(&scale);
        // SAFETY: the kernel takes these arguments, reads positions that there is room for, and writes one head of one token for
        // each block.
        unsafe { start(launch, [own, tokens, 1], "launch attention") }?;
        Ok(out)
    }
}
