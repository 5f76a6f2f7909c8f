//! Keys and values in a device's memory, and attention over them.

use super::{Buffer, Device, NoDevice};

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

    /// Keep the keys and values of `tokens` successive tokens, the first of them at the position that `position` has, as far as
    /// there is room.
    ///
    /// # Errors
    /// [`NoDevice`].
    ///
    /// # Panics
    /// When the lengths do not fit.
    pub fn keep(
        &self,
        kept: &mut Kept,
        position: &Buffer<u32>,
        keys: &Buffer<f32>,
        values: &Buffer<f32>,
    ) -> Result<(), NoDevice> {
        let Kept { heads, size, room, .. } = *kept;
        let tokens = keys.len() / (heads * size);
        let whole = keys.len() == tokens * heads * size && values.len() == keys.len() && position.len() == 1;
        assert!(whole, "{} and {} numbers", keys.len(), values.len());
        for (from, to) in [(keys, &kept.keys), (values, &kept.values)] {
            let launch = self.launch("attention", "keep")?.buffer(from).buffer(to).buffer(position);
            let launch = launch.u32(heads).u32(size).u32(room);
            // SAFETY: the kernel takes these arguments, and writes to positions that there is room for.
            unsafe { launch.start([tokens, 1, 1]) }?;
        }
        Ok(())
    }

    /// The attention of `tokens` successive tokens, the first of them at the position that `position` has, each over what is
    /// kept up to its own position: scores times 1 / sqrt(size). `queries` has the same number of heads for each token, and so
    /// has `out`.
    ///
    /// # Errors
    /// [`NoDevice`].
    ///
    /// # Panics
    /// When the lengths do not fit.
    pub fn attention(
        &self,
        kept: &Kept,
        position: &Buffer<u32>,
        queries: &Buffer<f32>,
        tokens: usize,
        out: &mut Buffer<f32>,
    ) -> Result<(), NoDevice> {
        let Kept { heads, size, room, .. } = *kept;
        let own = queries.len() / (tokens * size).max(1);
        let whole = queries.len() == tokens * own * size && own.is_multiple_of(heads) && position.len() == 1;
        assert!(whole, "{} numbers for {tokens} tokens", queries.len());
        self.fit(out, queries.len())?;
        let launch = self.launch("attention", "attention")?.buffer(queries).buffer(&kept.keys).buffer(&kept.values);
        let launch = launch.buffer(out).buffer(position).u32(size).u32(own / heads).u32(room);
        let launch = launch.f32(1.0 / (size as f32).sqrt());
        // SAFETY: the kernel takes these arguments, reads positions that there is room for, and writes one head of one token for
        // each block.
        unsafe { launch.start([own, tokens, 1]) }
    }
}
