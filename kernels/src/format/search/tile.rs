//! Sixteen sub-blocks side by side, one in each lane: every sum over a sub-block is vertical.

use super::super::{BadValue, Decoding, Encoding, Fit, Importance, NonFinite, block32, float};
use crate::simd::Lanes;

/// Sub-blocks of a tile.
pub(in crate::format) const LANES: usize = 16;
/// Added to a number below 2^22 it leaves the nearest integer, half to even, in the lowest bits of the pattern.
pub(in crate::format) const MAGIC: f32 = 12_582_912.0;

/// `N` vectors: lane i of vector k is value k of sub-block i.
#[derive(Clone)]
#[repr(align(64))]
pub(in crate::format) struct Tile<const N: usize>([[f32; LANES]; N]);

impl<const N: usize> Tile<N> {
    const ZERO: Tile<N> = Tile([[0.0; LANES]; N]);

    #[inline(always)]
    pub(in crate::format) fn get<L: Lanes>(&self, l: L, k: usize) -> L::F {
        l.load(&self.0[k])
    }

    #[inline(always)]
    pub(in crate::format) fn set<L: Lanes>(&mut self, l: L, k: usize, v: L::F) {
        l.store(v, &mut self.0[k]);
    }

    /// From sub-block after sub-block.
    #[inline(always)]
    fn fill<L: Lanes>(&mut self, l: L, values: &[f32]) {
        for (part, out) in self.0.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            l.transpose(&values[part * LANES..], N, out);
        }
    }

    /// Codes to bytes, sub-block after sub-block. Values are integers from 0 to 255.
    #[inline(always)]
    fn bytes<L: Lanes>(&self, l: L, out: &mut [u8]) {
        let mut rows = [[0f32; LANES]; LANES];
        for (part, columns) in self.0.as_chunks::<LANES>().0.iter().enumerate() {
            l.transpose(columns.as_flattened(), LANES, &mut rows);
            for (row, out) in rows.iter().zip(out.chunks_exact_mut(N)) {
                out[part * LANES..][..LANES].copy_from_slice(&l.codes(l.load(row)).0);
            }
        }
    }
}

/// What the search over a tile works on.
pub(in crate::format) struct Work<const N: usize> {
    /// The values.
    pub(in crate::format) x: Tile<N>,
    /// What an error costs, at most 1; only where there are weights.
    pub(in crate::format) w: Tile<N>,
    /// Their products; only where there are weights.
    pub(in crate::format) wx: Tile<N>,
    /// Codes, from 0.
    pub(in crate::format) q: Tile<N>,
    /// The same as bytes, sub-block after sub-block, after [`Work::pack`].
    codes: [[u8; LANES]; N],
}

impl<const N: usize> Work<N> {
    /// The codes as bytes, in the order of the values.
    #[inline(always)]
    pub(in crate::format) fn pack<L: Lanes>(&mut self, l: L) -> &[u8] {
        let bytes = self.codes.as_flattened_mut();
        self.q.bytes(l, bytes);
        bytes
    }

    /// The weights of `N * LANES` values, for groups of lanes that share a scale: the largest of a group becomes 1, and
    /// none is so small that a sub-block has none.
    #[inline(always)]
    fn weigh<L: Lanes>(&mut self, l: L, weights: &[f32], group: usize) {
        const LEAST: f32 = 1.0 / (1 << 20) as f32;
        self.w.fill(l, weights);
        let mut top = l.splat(f32::MIN_POSITIVE);
        for k in 0..N {
            top = l.max(self.w.get(l, k), top);
        }
        let unit = l.div(l.splat(1.0), group_max(l, top, group));
        for k in 0..N {
            let w = l.max(l.mul(self.w.get(l, k), unit), l.splat(LEAST));
            self.w.set(l, k, w);
            self.wx.set(l, k, l.mul(w, self.x.get(l, k)));
        }
    }
}

/// The largest lane of each group of lanes, in all lanes of the group.
#[inline(always)]
pub(in crate::format) fn group_max<L: Lanes>(l: L, v: L::F, group: usize) -> L::F {
    let mut lanes = spread(l, v);
    for group in lanes.chunks_exact_mut(group) {
        let mut top = group[0];
        for x in &*group {
            top = if *x > top { *x } else { top };
        }
        group.fill(top);
    }
    l.load(&lanes)
}

/// The sum of each group of lanes, first to last, in all lanes of the group.
#[inline(always)]
pub(in crate::format) fn group_sum<L: Lanes>(l: L, v: L::F, group: usize) -> L::F {
    let mut lanes = spread(l, v);
    for group in lanes.chunks_exact_mut(group) {
        let mut sum = 0.0;
        for x in &*group {
            sum += *x;
        }
        group.fill(sum);
    }
    l.load(&lanes)
}

/// The lanes as an array.
#[inline(always)]
pub(in crate::format) fn spread<L: Lanes>(l: L, v: L::F) -> [f32; LANES] {
    let mut lanes = [0.0; LANES];
    l.store(v, &mut lanes);
    lanes
}

/// The largest magnitude of each sub-block.
#[inline(always)]
pub(in crate::format) fn top<L: Lanes, const N: usize>(l: L, work: &Work<N>) -> L::F {
    let mut top = l.splat(0.0);
    for k in 0..N {
        top = l.max(l.abs(work.x.get(l, k)), top);
    }
    top
}

/// `a / b`, or 0 where `b` is not above 0.
#[inline(always)]
pub(in crate::format) fn ratio<L: Lanes>(l: L, a: L::F, b: L::F) -> L::F {
    let zero = l.splat(0.0);
    l.select_less(zero, b, l.div(a, b), zero)
}

/// 1 / v, or 0 where that is not finite.
#[inline(always)]
pub(in crate::format) fn inverse<L: Lanes>(l: L, v: L::F) -> L::F {
    let inverse = l.div(l.splat(1.0), v);
    l.select_less(l.abs(inverse), l.splat(f32::INFINITY), inverse, l.splat(0.0))
}

/// To the nearest integer, half to even; |v| must be below 2^22.
#[inline(always)]
pub(in crate::format) fn round<L: Lanes>(l: L, v: L::F) -> L::F {
    let magic = l.splat(MAGIC);
    l.sub(l.add(v, magic), magic)
}

/// What fits between `low` and `high`, NaN as `low`.
#[inline(always)]
pub(in crate::format) fn clamp<L: Lanes>(l: L, v: L::F, low: f32, high: f32) -> L::F {
    l.min(l.max(v, l.splat(low)), l.splat(high))
}

/// A block format whose encoder looks for scales, over sub-blocks of `N` values.
pub(in crate::format) trait Searched<const N: usize>: Decoding {
    /// Sub-blocks of a block, if their scales depend on each other; otherwise 1.
    const GROUP: usize;

    /// Where in a block a scale in half precision stands that makes all values NaN; `None` where the format has no NaN.
    const SCALE_AT: Option<usize>;

    /// Encode the values of `work` into whole blocks; `WEIGHED` tells that there are weights.
    fn encode_tile<L: Lanes, const WEIGHED: bool>(l: L, work: &mut Work<N>, how: &Encoding<'_>, out: &mut [u8]);
}

/// Encode tile after tile, measuring what was lost.
#[inline(always)]
pub(in crate::format) fn encode<F: Searched<N>, L: Lanes, const N: usize>(
    l: L,
    src: &[f32],
    how: &Encoding<'_>,
    dst: &mut [u8],
) -> Result<Fit, BadValue> {
    let mut work = Work::<N> { x: Tile::ZERO, w: Tile::ZERO, wx: Tile::ZERO, q: Tile::ZERO, codes: [[0; LANES]; N] };
    let mut fit = Fit::default();
    // No format makes more bytes than there are values.
    let (mut values, mut bytes, mut back) = ([[0f32; LANES]; N], [[0u8; LANES]; N], [[0f32; LANES]; N]);
    let (values, bytes, back) = (values.as_flattened_mut(), bytes.as_flattened_mut(), back.as_flattened_mut());
    let tile = N * LANES;
    let tile_bytes = tile / F::BLOCK * F::BYTES;
    for (n, (x, out)) in src.chunks(tile).zip(dst.chunks_mut(tile_bytes)).enumerate() {
        let base = n * tile;
        let finite = check(l, x, how, base)?;
        fill(values, x, finite, F::BLOCK);
        work.x.fill(l, values);
        if L::UNWEIGHED && how.importance.is_none() {
            F::encode_tile::<L, false>(l, &mut work, how, &mut bytes[..tile_bytes]);
        } else {
            weights(how.importance.as_ref(), base, F::BLOCK, values);
            work.weigh(l, values, F::GROUP);
            F::encode_tile::<L, true>(l, &mut work, how, &mut bytes[..tile_bytes]);
        }
        out.copy_from_slice(&bytes[..out.len()]);
        if finite {
            let back = &mut back[..x.len()];
            F::decode(l, out, back);
            let lost = float::measure(l, x, back);
            if !lost.error.is_finite() {
                return Err(overflow(x, back, F::BLOCK, base));
            }
            fit += lost;
        } else {
            poison::<F, N>(x, out, base)?;
        }
    }
    Ok(fit)
}

/// What an encoder that searches may do to a value of `block`: it may cut off what is rare or costs little, but makes
/// nothing worse than 0 would be, as far as half precision has scales so small.
pub(in crate::format) fn worst(block: &[f32]) -> f32 {
    const STEPS: f32 = 64.0;
    block32::top(block) + STEPS * 2f32.powi(-25)
}

/// True when all values are finite; an error when they are not and must be.
#[inline(always)]
fn check<L: Lanes>(l: L, x: &[f32], how: &Encoding<'_>, base: usize) -> Result<bool, BadValue> {
    let mut bad = false;
    for x in x.as_chunks::<LANES>().0 {
        bad |= l.any_non_finite(l.load(x));
    }
    if bad && how.non_finite == NonFinite::Refuse { Err(block32::non_finite(x, base)) } else { Ok(!bad) }
}

/// `x` and zeros after it; blocks that are not finite as zeros.
#[inline(always)]
fn fill(values: &mut [f32], x: &[f32], finite: bool, block: usize) {
    let (now, rest) = values.split_at_mut(x.len());
    now.copy_from_slice(x);
    rest.fill(0.0);
    if !finite {
        for block in now.chunks_exact_mut(block) {
            if !block.iter().all(|v| v.is_finite()) {
                block.fill(0.0);
            }
        }
    }
}

/// The weights of the values from `base` on; blocks do not cross rows.
#[inline(always)]
fn weights(importance: Option<&Importance<'_>>, base: usize, block: usize, out: &mut [f32]) {
    let Some(importance) = importance else { return out.fill(1.0) };
    let columns = importance.columns;
    for (n, out) in out.chunks_exact_mut(block).enumerate() {
        let at = (importance.start + base + n * block) % columns.len();
        out.copy_from_slice(&columns[at..at + block]);
    }
}

/// Blocks with NaN or infinity decode to NaN throughout.
#[cold]
fn poison<F: Searched<N>, const N: usize>(x: &[f32], out: &mut [u8], base: usize) -> Result<(), BadValue> {
    for (n, (x, out)) in x.chunks(F::BLOCK).zip(out.chunks_exact_mut(F::BYTES)).enumerate() {
        if !x.iter().all(|v| v.is_finite()) {
            let at = F::SCALE_AT.ok_or_else(|| block32::non_finite(x, base + n * F::BLOCK))?;
            out.fill(0);
            out[at..at + 2].copy_from_slice(&block32::NAN);
        }
    }
    Ok(())
}

/// The first block whose scale the format cannot hold.
#[cold]
fn overflow(x: &[f32], back: &[f32], block: usize, base: usize) -> BadValue {
    let bad = |(x, y): (&[f32], &[f32])| x.iter().zip(y).any(|(x, y)| !((y - x) * (y - x)).is_finite());
    let at = x.chunks(block).zip(back.chunks(block)).position(bad).unwrap_or(0) * block;
    BadValue::Overflow { index: base + at, value: block32::top(&x[at..at + block]) }
}
