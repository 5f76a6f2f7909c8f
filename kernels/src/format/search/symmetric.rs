//! One scale per sub-block, no minimum: x is about d * q, with q of a [`Grid`].
//!
//! For given codes the best scale is a quotient of two sums, and the square that it saves is `xq^2 / qq`. So the search
//! is over codes: candidates for the scale give codes, codes give sums, and the best sums are kept.

use super::grid::Grid;
use super::tile::{LANES, Work, clamp, group_max, group_sum, inverse, ratio, round, spread};
use crate::simd::Lanes;

/// Which scales are tried.
pub(in crate::format) struct Search {
    /// Where the value of largest magnitude lands, in numbers of the grid. A multiple of four.
    pub(in crate::format) images: &'static [f32],
    /// The same around the best of those, added to it. A multiple of four.
    pub(in crate::format) around: &'static [f32],
    /// Rounds in which codes and scale follow each other.
    pub(in crate::format) refits: usize,
}

/// Sums over a sub-block for one candidate.
pub(in crate::format) struct Sums<L: Lanes> {
    /// Of w * x * q.
    xq: L::F,
    /// Of w * q * q.
    qq: L::F,
}

impl<L: Lanes> Clone for Sums<L> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<L: Lanes> Copy for Sums<L> {}

/// The sums for `C` inverse scales.
#[inline(always)]
fn sums<L: Lanes, G: Grid, const N: usize, const WEIGHED: bool, const C: usize>(
    l: L,
    work: &Work<N>,
    inverse: [L::F; C],
) -> [Sums<L>; C] {
    let zero = l.splat(0.0);
    let mut sums = [Sums { xq: zero, qq: zero }; C];
    for k in 0..N {
        let x = work.x.get(l, k);
        for c in 0..C {
            let q = G::near(l, l.mul(x, inverse[c]));
            let (wq, wx) = if WEIGHED { (l.mul(work.w.get(l, k), q), work.wx.get(l, k)) } else { (q, x) };
            sums[c].xq = l.add(sums[c].xq, l.mul(wx, q));
            sums[c].qq = l.add(sums[c].qq, l.mul(wq, q));
        }
    }
    sums
}

/// The same for `C` of them, side by side where there are registers for it.
#[inline(always)]
fn sums_of<L: Lanes, G: Grid, const N: usize, const WEIGHED: bool, const C: usize>(
    l: L,
    work: &Work<N>,
    inverse: [L::F; C],
) -> [Sums<L>; C] {
    if L::WIDE {
        return sums::<L, G, N, WEIGHED, C>(l, work, inverse);
    }
    let zero = l.splat(0.0);
    let mut all = [Sums { xq: zero, qq: zero }; C];
    for c in 0..C {
        all[c] = sums::<L, G, N, WEIGHED, 1>(l, work, [inverse[c]])[0];
    }
    all
}

/// The best scale so far.
struct Best<L: Lanes> {
    sums: Sums<L>,
    gain: L::F,
    image: L::F,
}

impl<L: Lanes> Best<L> {
    /// Keep what is better; the first among equals.
    #[inline(always)]
    fn offer(&mut self, l: L, sums: Sums<L>, image: L::F) {
        let gain = ratio(l, l.mul(sums.xq, sums.xq), sums.qq);
        self.sums.xq = l.select_less(self.gain, gain, sums.xq, self.sums.xq);
        self.sums.qq = l.select_less(self.gain, gain, sums.qq, self.sums.qq);
        self.image = l.select_less(self.gain, gain, image, self.image);
        self.gain = l.max(gain, self.gain);
    }

    #[inline(always)]
    fn scale(&self, l: L) -> L::F {
        ratio(l, self.sums.xq, self.sums.qq)
    }
}

/// The scale of each sub-block.
#[inline(always)]
fn scales<L: Lanes, G: Grid, const N: usize, const WEIGHED: bool>(l: L, work: &Work<N>, search: &Search) -> L::F {
    let zero = l.splat(0.0);
    let (mut low, mut high) = (zero, zero);
    for k in 0..N {
        let x = work.x.get(l, k);
        (low, high) = (l.min(x, low), l.max(x, high));
    }
    let largest = l.select_less(l.sub(zero, low), high, high, low);
    let unit = inverse(l, largest);
    let mut best = Best { sums: Sums { xq: zero, qq: zero }, gain: l.splat(-1.0), image: zero };
    let mut centre = zero;
    for offsets in [search.images, search.around] {
        for offsets in offsets.as_chunks::<4>().0 {
            try_four::<L, G, N, WEIGHED>(l, work, unit, centre, offsets, &mut best);
        }
        centre = best.image;
    }
    for _ in 0..search.refits {
        let sums = sums::<L, G, N, WEIGHED, 1>(l, work, [inverse(l, best.scale(l))])[0];
        let image = best.image;
        best.offer(l, sums, image);
    }
    best.scale(l)
}

#[inline(always)]
fn try_four<L: Lanes, G: Grid, const N: usize, const WEIGHED: bool>(
    l: L,
    work: &Work<N>,
    unit: L::F,
    centre: L::F,
    offsets: &[f32; 4],
    best: &mut Best<L>,
) {
    let mut images = [centre; 4];
    let mut inverse = [centre; 4];
    for j in 0..4 {
        images[j] = l.add(centre, l.splat(offsets[j]));
        inverse[j] = l.mul(unit, images[j]);
    }
    let sums = sums_of::<L, G, N, WEIGHED, 4>(l, work, inverse);
    for j in 0..4 {
        best.offer(l, sums[j], images[j]);
    }
}

/// Codes for scales as they are stored.
#[inline(always)]
pub(in crate::format) fn set_codes<L: Lanes, G: Grid, const N: usize>(l: L, work: &mut Work<N>, scales: L::F) {
    let inverse = inverse(l, scales);
    for k in 0..N {
        let code = G::code(l, l.mul(work.x.get(l, k), inverse));
        work.q.set(l, k, code);
    }
}

/// Scales of blocks in half precision, and codes for them.
#[inline(always)]
pub(in crate::format) fn blocks<L: Lanes, G: Grid, const N: usize, const WEIGHED: bool>(
    l: L,
    work: &mut Work<N>,
    search: &Search,
) -> [u16; LANES] {
    let d = l.halves(scales::<L, G, N, WEIGHED>(l, work, search));
    set_codes::<L, G, N>(l, work, l.widen_halves(&d));
    d
}

/// Scales of sub-blocks as integers times one scale per block.
pub(in crate::format) struct Shared<L: Lanes> {
    /// The block's scale in half precision, in every lane of the block.
    pub(in crate::format) d: [u16; LANES],
    /// The integers.
    pub(in crate::format) steps: L::F,
}

/// Scales of super-blocks of `group` sub-blocks, and codes for them; see [`share`].
#[inline(always)]
pub(in crate::format) fn super_blocks<L: Lanes, G: Grid, const N: usize, const LOW: i32, const WEIGHED: bool>(
    l: L,
    work: &mut Work<N>,
    search: &Search,
    group: usize,
    rounds: usize,
) -> Shared<L> {
    let scales = scales::<L, G, N, WEIGHED>(l, work, search);
    let shared = share::<L, G, N, LOW, WEIGHED>(l, work, scales, group, rounds);
    let scales = l.mul(l.widen_halves(&shared.d), shared.steps);
    set_codes::<L, G, N>(l, work, scales);
    shared
}

/// Give groups of `group` sub-blocks a scale `d` and integer steps from `LOW` to -`LOW` - 1, starting from the scales
/// that would be best for each: round, try each step's neighbours `rounds` times, then fit `d` to all of them.
#[inline(always)]
fn share<L: Lanes, G: Grid, const N: usize, const LOW: i32, const WEIGHED: bool>(
    l: L,
    work: &Work<N>,
    scales: L::F,
    group: usize,
    rounds: usize,
) -> Shared<L> {
    let (low, high) = (LOW as f32, (-LOW - 1) as f32);
    let mut d = l.halves(largest_step(l, scales, group, low));
    let mut unit = l.widen_halves(&d);
    let mut steps = round(l, clamp(l, l.mul(scales, inverse(l, unit)), low, high));
    for _ in 0..rounds {
        let (found, sums) = neighbours::<L, G, N, WEIGHED>(l, work, unit, steps, (low, high));
        steps = found;
        // The best d for these codes.
        let saved = group_sum(l, l.mul(steps, sums.xq), group);
        let spent = group_sum(l, l.mul(l.mul(steps, steps), sums.qq), group);
        let fitted = l.select_less(l.splat(0.0), spent, l.div(saved, spent), unit);
        d = l.halves(fitted);
        unit = l.widen_halves(&d);
    }
    Shared { d, steps }
}

/// What makes `low` of the scale with the largest magnitude in each group, but a number that half precision has.
#[inline(always)]
fn largest_step<L: Lanes>(l: L, scales: L::F, group: usize, low: f32) -> L::F {
    const LEAST: f32 = 1.0 / (1 << 24) as f32;
    let magnitudes = l.abs(scales);
    let top = spread(l, group_max(l, magnitudes, group));
    let mut steps = spread(l, scales);
    for (group, top) in steps.chunks_exact_mut(group).zip(top.chunks_exact(group)) {
        let mut largest = 0.0;
        for x in &*group {
            // The first among equals.
            largest = if largest == 0.0 && x.abs() == top[0] { *x } else { largest };
        }
        let step = largest / low;
        group.fill(if step != 0.0 && step.abs() < LEAST { LEAST.copysign(step) } else { step });
    }
    l.load(&steps)
}

/// The best of each step and the two beside it, with its sums.
#[inline(always)]
fn neighbours<L: Lanes, G: Grid, const N: usize, const WEIGHED: bool>(
    l: L,
    work: &Work<N>,
    unit: L::F,
    steps: L::F,
    (low, high): (f32, f32),
) -> (L::F, Sums<L>) {
    let one = l.splat(1.0);
    let tried = [steps, l.max(l.sub(steps, one), l.splat(low)), l.min(l.add(steps, one), l.splat(high))];
    let mut scales = tried;
    for j in 0..3 {
        scales[j] = l.mul(unit, tried[j]);
    }
    best_of::<L, G, N, WEIGHED, 3>(l, work, scales, tried)
}

/// The best of `C` scales for each sub-block, by its name, with its sums; the first among equals.
#[inline(always)]
pub(in crate::format) fn best_of<L: Lanes, G: Grid, const N: usize, const WEIGHED: bool, const C: usize>(
    l: L,
    work: &Work<N>,
    scales: [L::F; C],
    names: [L::F; C],
) -> (L::F, Sums<L>) {
    let mut inverses = scales;
    for j in 0..C {
        inverses[j] = inverse(l, scales[j]);
    }
    let sums = sums_of::<L, G, N, WEIGHED, C>(l, work, inverses);
    let mut best = (names[0], sums[0]);
    let mut least = l.splat(f32::INFINITY);
    for j in 0..C {
        let s = scales[j];
        let error = l.mul(s, l.sub(l.mul(s, sums[j].qq), l.add(sums[j].xq, sums[j].xq)));
        best.0 = l.select_less(error, least, names[j], best.0);
        best.1.xq = l.select_less(error, least, sums[j].xq, best.1.xq);
        best.1.qq = l.select_less(error, least, sums[j].qq, best.1.qq);
        least = l.min(error, least);
    }
    best
}
