//! Keys and values in a device's memory, and attention over them.

use super::{Buffer, Device, NoDevice, Scratch};
use std::f32::consts::LOG2_E;

/// Numbers of a head at most.
pub const HEAD: usize = 256;

/// Lanes of a warp that have a position, by numbers of a head at most.
static LANES: [(usize, u32); 3] = [(64, 8), (128, 16), (HEAD, 32)];
/// Tokens of a block, where there is more than one.
const TOGETHER: usize = 4;
/// Positions that a part of them is worth a block for.
const LEAST: usize = 64;

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
    /// For heads of nothing, of more than [`HEAD`] numbers, or of an odd number of them.
    pub fn room_for_keys(&self, heads: usize, size: usize, room: usize) -> Result<Kept, NoDevice> {
        assert!((1..=HEAD).contains(&size) && size.is_multiple_of(2) && heads > 0, "{heads} heads of {size}");
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
        scratch: &mut Scratch,
        out: &mut Buffer<f32>,
    ) -> Result<(), NoDevice> {
        let Kept { heads, size, room, .. } = *kept;
        let own = queries.len() / (tokens * size).max(1);
        let whole = queries.len() == tokens * own * size && own.is_multiple_of(heads) && position.len() == 1;
        assert!(whole, "{} numbers for {tokens} tokens", queries.len());
        let together = if tokens > 1 { TOGETHER } else { 1 };
        let blocks = own * tokens.div_ceil(together);
        // Four blocks for each multiprocessor. Positions are not known here: recorded launches have the same parts at all of them.
        let parts = (4 * self.multiprocessors / blocks.max(1)).min(room / LEAST).max(1);
        let found = &mut scratch.parts;
        self.fit(out, queries.len())?;
        self.fit(found, if parts == 1 { 0 } else { own * tokens * parts * (size + 2) })?;
        let (_, lanes) = LANES.iter().find(|(most, _)| size <= *most).expect("heads of at most HEAD");
        let launch = self.launch("attention", &format!("attention_{lanes}_{together}"))?.buffer(queries);
        let launch = launch.buffer(&kept.keys).buffer(&kept.values).buffer(if parts == 1 { out } else { found });
        let launch = launch.buffer(position).u32(tokens).u32(size).u32(own / heads).u32(room);
        let launch = launch.f32(LOG2_E / (size as f32).sqrt());
        // SAFETY: the kernel takes these arguments, reads positions that there is room for, and writes one head of `together`
        // tokens for each block, of each part as many numbers and two.
        unsafe { launch.start([own, tokens.div_ceil(together), parts]) }?;
        if parts == 1 {
            return Ok(());
        }
        let launch = self.launch("attention", "join_parts")?.buffer(found).buffer(out).u32(size).u32(parts);
        // SAFETY: the kernel takes these arguments, and reads the parts that were written.
        unsafe { launch.start([own * tokens, 1, 1]) }
    }
}
