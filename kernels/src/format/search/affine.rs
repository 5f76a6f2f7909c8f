//! A scale and a minimum per sub-block: x is about s * q + m, with q from 0 to `TOP`.
//!
//! For given codes the best pair is a least-squares fit, and what it saves is known from five sums. So, as for one scale,
//! the search is over codes: candidates for width and low end give codes, codes give sums, and the best sums are kept.

use super::tile::{LANES, Work, clamp, group_max, group_sum, inverse, ratio, round};
use crate::simd::Lanes;

/// Which pairs are tried: codes are x in units of `range / (TOP + wider)`, from `shift` units above the lowest value.
pub(in crate::format) struct Search {
    /// `wider` and `shift`. A multiple of four.
    pub(in crate::format) grid: &'static [(f32, f32)],
    /// The same around the best of those, added to it. A multiple of four.
    pub(in crate::format) around: &'static [(f32, f32)],
    /// Rounds in which codes and pair follow each other.
    pub(in crate::format) refits: usize,
}

/// How scales and minima of sub-blocks become integers.
pub(in crate::format) struct Sharing {
    /// What is tried beside a rounded pair: added to the scale's and to the minimum's integer, of which the latter is
    /// then fitted. A multiple of three; the first is (0, 0).
    pub(in crate::format) beside: &'static [(f32, f32)],
    /// Rounds of that, each followed by a fit of the block's two scales.
    pub(in crate::format) rounds: usize,
}

/// The scale's neighbours.
pub(in crate::format) const THREE: &[(f32, f32)] = &[(0.0, 0.0), (-1.0, 0.0), (1.0, 0.0)];
/// The same for codes of a minimum one step up and down.
pub(in crate::format) const NINE: &[(f32, f32)] =
    &[(0.0, 0.0), (-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (-1.0, -1.0), (1.0, -1.0), (0.0, 1.0), (-1.0, 1.0), (1.0, 1.0)];

/// Sums over a sub-block that do not depend on codes.
struct Whole<L: Lanes> {
    /// Of w.
    w: L::F,
    /// Of w * x.
    wx: L::F,
}

/// Sums over a sub-block for one candidate.
struct Sums<L: Lanes> {
    /// Of w * q.
    q: L::F,
    /// Of w * q * q.
    qq: L::F,
    /// Of w * x * q.
    xq: L::F,
}

impl<L: Lanes> Clone for Sums<L> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<L: Lanes> Copy for Sums<L> {}

/// A scale and a minimum.
struct Pair<L: Lanes> {
    scale: L::F,
    min: L::F,
}

/// The sums for codes x * inverse + offset.
#[inline(always)]
fn sums<L: Lanes, const N: usize, const TOP: i32, const WEIGHED: bool, const C: usize>(
    l: L,
    work: &Work<N>,
    codes: [(L::F, L::F); C],
) -> [Sums<L>; C] {
    let zero = l.splat(0.0);
    let mut sums = [Sums { q: zero, qq: zero, xq: zero }; C];
    for k in 0..N {
        let x = work.x.get(l, k);
        for c in 0..C {
            let (inverse, offset) = codes[c];
            let q = round(l, clamp(l, l.add(l.mul(x, inverse), offset), 0.0, TOP as f32));
            let (wq, wx) = if WEIGHED { (l.mul(work.w.get(l, k), q), work.wx.get(l, k)) } else { (q, x) };
            sums[c].q = l.add(sums[c].q, wq);
            sums[c].qq = l.add(sums[c].qq, l.mul(wq, q));
            sums[c].xq = l.add(sums[c].xq, l.mul(wx, q));
        }
    }
    sums
}

/// The same for `C` of them, side by side where there are registers for it.
#[inline(always)]
fn sums_of<L: Lanes, const N: usize, const TOP: i32, const WEIGHED: bool, const C: usize>(
    l: L,
    work: &Work<N>,
    codes: [(L::F, L::F); C],
) -> [Sums<L>; C] {
    if L::WIDE {
        return sums::<L, N, TOP, WEIGHED, C>(l, work, codes);
    }
    let zero = l.splat(0.0);
    let mut all = [Sums { q: zero, qq: zero, xq: zero }; C];
    for c in 0..C {
        all[c] = sums::<L, N, TOP, WEIGHED, 1>(l, work, [codes[c]])[0];
    }
    all
}

impl<L: Lanes> Whole<L> {
    #[inline(always)]
    fn of<const N: usize, const WEIGHED: bool>(l: L, work: &Work<N>) -> Self {
        let zero = l.splat(0.0);
        let (mut w, mut wx) = (zero, zero);
        for k in 0..N {
            if WEIGHED {
                (w, wx) = (l.add(w, work.w.get(l, k)), l.add(wx, work.wx.get(l, k)));
            } else {
                wx = l.add(wx, work.x.get(l, k));
            }
        }
        if !WEIGHED {
            w = l.splat(N as f32);
        }
        Whole { w, wx }
    }

    /// Numerators and denominator of the best pair; the denominator is 0 where the codes hardly differ, or where the
    /// minimum would be positive and must not be: then there is only one of the two.
    #[inline(always)]
    fn solve<const FREE: bool>(&self, l: L, s: Sums<L>) -> (L::F, L::F, L::F) {
        const HARDLY: f32 = 1e-5;
        let zero = l.splat(0.0);
        let product = l.mul(self.w, s.qq);
        let determinant = l.sub(product, l.mul(s.q, s.q));
        let scale = l.sub(l.mul(self.w, s.xq), l.mul(self.wx, s.q));
        let min = l.sub(l.mul(s.qq, self.wx), l.mul(s.q, s.xq));
        let mut usable = l.select_less(l.mul(product, l.splat(HARDLY)), determinant, determinant, zero);
        if !FREE {
            usable = l.select_less(zero, min, zero, usable);
        }
        (scale, min, usable)
    }

    /// True (1) where a minimum alone is better than a scale alone.
    #[inline(always)]
    fn flat<const FREE: bool>(&self, l: L, s: Sums<L>) -> L::F {
        let (zero, one) = (l.splat(0.0), l.splat(1.0));
        if FREE { one } else { l.select_less(self.wx, zero, l.select_less(s.q, one, one, zero), zero) }
    }

    /// The square that the best pair saves.
    #[inline(always)]
    fn gain<const FREE: bool>(&self, l: L, s: Sums<L>) -> L::F {
        let zero = l.splat(0.0);
        let (scale, min, determinant) = self.solve::<FREE>(l, s);
        let both = l.add(l.mul(scale, s.xq), l.mul(min, self.wx));
        let flat = self.flat::<FREE>(l, s);
        let alone = l.select_less(zero, flat, l.mul(self.wx, self.wx), l.mul(s.xq, s.xq));
        let by = l.select_less(zero, flat, self.w, s.qq);
        ratio(l, l.select_less(zero, determinant, both, alone), l.select_less(zero, determinant, determinant, by))
    }

    /// The best pair.
    #[inline(always)]
    fn fit<const FREE: bool>(&self, l: L, s: Sums<L>) -> Pair<L> {
        let zero = l.splat(0.0);
        let (scale, min, determinant) = self.solve::<FREE>(l, s);
        let flat = self.flat::<FREE>(l, s);
        let scale_alone = l.select_less(zero, flat, zero, ratio(l, s.xq, s.qq));
        let min_alone = l.select_less(zero, flat, ratio(l, self.wx, self.w), zero);
        Pair {
            scale: l.select_less(zero, determinant, l.div(scale, determinant), scale_alone),
            min: l.select_less(zero, determinant, l.div(min, determinant), min_alone),
        }
    }
}

/// The best candidate so far.
struct Best<L: Lanes> {
    sums: Sums<L>,
    gain: L::F,
    wider: L::F,
    shift: L::F,
}

impl<L: Lanes> Best<L> {
    /// Keep what is better; the first among equals.
    #[inline(always)]
    fn offer<const FREE: bool>(&mut self, l: L, whole: &Whole<L>, s: Sums<L>, at: (L::F, L::F)) {
        let gain = whole.gain::<FREE>(l, s);
        self.sums.q = l.select_less(self.gain, gain, s.q, self.sums.q);
        self.sums.qq = l.select_less(self.gain, gain, s.qq, self.sums.qq);
        self.sums.xq = l.select_less(self.gain, gain, s.xq, self.sums.xq);
        self.wider = l.select_less(self.gain, gain, at.0, self.wider);
        self.shift = l.select_less(self.gain, gain, at.1, self.shift);
        self.gain = l.max(gain, self.gain);
    }
}

/// What candidates are measured in.
struct Range<L: Lanes> {
    low: L::F,
    /// 1 / (high - low)
    unit: L::F,
}

impl<L: Lanes> Range<L> {
    /// Without `FREE` it reaches up to 0, since the minimum cannot be above.
    #[inline(always)]
    fn of<const N: usize, const FREE: bool>(l: L, work: &Work<N>) -> Self {
        let first = work.x.get(l, 0);
        let (mut low, mut high) = (if FREE { first } else { l.min(first, l.splat(0.0)) }, first);
        for k in 1..N {
            let x = work.x.get(l, k);
            (low, high) = (l.min(x, low), l.max(x, high));
        }
        Range { low, unit: inverse(l, l.sub(high, low)) }
    }

    /// Factor and offset that make codes of values.
    #[inline(always)]
    fn codes<const TOP: i32>(&self, l: L, wider: L::F, shift: L::F) -> (L::F, L::F) {
        let inverse = l.mul(self.unit, l.add(l.splat(TOP as f32), wider));
        (inverse, l.sub(l.sub(l.splat(0.0), l.mul(self.low, inverse)), shift))
    }
}

/// The scale and minimum of each sub-block. Without `FREE` the minimum is never above 0.
#[inline(always)]
fn pairs<L: Lanes, const N: usize, const TOP: i32, const FREE: bool, const WEIGHED: bool>(
    l: L,
    work: &Work<N>,
    search: &Search,
) -> Pair<L> {
    let zero = l.splat(0.0);
    let whole = Whole::of::<N, WEIGHED>(l, work);
    let range = Range::of::<N, FREE>(l, work);
    let none = Sums { q: zero, qq: zero, xq: zero };
    let mut best = Best { sums: none, gain: l.splat(-1.0), wider: zero, shift: zero };
    let mut centre = (zero, zero);
    for offsets in [search.grid, search.around] {
        for offsets in offsets.as_chunks::<4>().0 {
            try_four::<L, N, TOP, FREE, WEIGHED>(l, work, &whole, &range, centre, offsets, &mut best);
        }
        centre = (best.wider, best.shift);
    }
    for _ in 0..search.refits {
        let pair = whole.fit::<FREE>(l, best.sums);
        let inverse = inverse(l, pair.scale);
        let offset = l.sub(zero, l.mul(pair.min, inverse));
        let s = sums::<L, N, TOP, WEIGHED, 1>(l, work, [(inverse, offset)])[0];
        let at = (best.wider, best.shift);
        best.offer::<FREE>(l, &whole, s, at);
    }
    whole.fit::<FREE>(l, best.sums)
}

#[inline(always)]
fn try_four<L: Lanes, const N: usize, const TOP: i32, const FREE: bool, const WEIGHED: bool>(
    l: L,
    work: &Work<N>,
    whole: &Whole<L>,
    range: &Range<L>,
    centre: (L::F, L::F),
    offsets: &[(f32, f32); 4],
    best: &mut Best<L>,
) {
    let mut at = [centre; 4];
    let mut codes = [centre; 4];
    for j in 0..4 {
        at[j] = (l.add(centre.0, l.splat(offsets[j].0)), l.add(centre.1, l.splat(offsets[j].1)));
        codes[j] = range.codes::<TOP>(l, at[j].0, at[j].1);
    }
    let sums = sums_of::<L, N, TOP, WEIGHED, 4>(l, work, codes);
    for j in 0..4 {
        best.offer::<FREE>(l, whole, sums[j], at[j]);
    }
}

/// Codes for scales and minima as they are stored.
#[inline(always)]
fn set_codes<L: Lanes, const N: usize, const TOP: i32>(l: L, work: &mut Work<N>, scale: L::F, min: L::F) {
    let inverse = inverse(l, scale);
    let offset = l.sub(l.splat(0.0), l.mul(min, inverse));
    for k in 0..N {
        let t = l.add(l.mul(work.x.get(l, k), inverse), offset);
        work.q.set(l, k, round(l, clamp(l, t, 0.0, TOP as f32)));
    }
}

/// Scales and minima of blocks in half precision, and codes for them.
#[inline(always)]
pub(in crate::format) fn blocks<L: Lanes, const N: usize, const TOP: i32, const WEIGHED: bool>(
    l: L,
    work: &mut Work<N>,
    search: &Search,
) -> ([u16; LANES], [u16; LANES]) {
    let pair = pairs::<L, N, TOP, true, WEIGHED>(l, work, search);
    let (d, m) = (l.halves(pair.scale), l.halves(pair.min));
    set_codes::<L, N, TOP>(l, work, l.widen_halves(&d), l.widen_halves(&m));
    (d, m)
}

/// Scales and minima of sub-blocks as integers times two scales per block.
pub(in crate::format) struct Shared<L: Lanes> {
    /// The scale of scales in half precision, in every lane of the block.
    pub(in crate::format) d: [u16; LANES],
    /// The scale of minima.
    pub(in crate::format) dmin: [u16; LANES],
    /// The integers of scales.
    pub(in crate::format) steps: L::F,
    /// The integers of minima, which are subtracted.
    pub(in crate::format) min_steps: L::F,
}

/// Scales and minima of super-blocks of `group` sub-blocks, and codes for them; see [`share`].
#[inline(always)]
pub(in crate::format) fn super_blocks<
    L: Lanes,
    const N: usize,
    const TOP: i32,
    const MOST: i32,
    const WEIGHED: bool,
>(
    l: L,
    work: &mut Work<N>,
    search: &Search,
    sharing: &Sharing,
    group: usize,
) -> Shared<L> {
    let pair = pairs::<L, N, TOP, false, WEIGHED>(l, work, search);
    let shared = share::<L, N, TOP, MOST, WEIGHED>(l, work, &pair, group, sharing);
    let min = l.mul(l.widen_halves(&shared.dmin), shared.min_steps);
    let scale = l.mul(l.widen_halves(&shared.d), shared.steps);
    set_codes::<L, N, TOP>(l, work, scale, l.sub(l.splat(0.0), min));
    shared
}

/// Give groups of `group` sub-blocks two scales, and every pair two integers up to `MOST`, starting from the pairs that
/// would be best for each.
#[inline(always)]
fn share<L: Lanes, const N: usize, const TOP: i32, const MOST: i32, const WEIGHED: bool>(
    l: L,
    work: &Work<N>,
    pair: &Pair<L>,
    group: usize,
    how: &Sharing,
) -> Shared<L> {
    let (zero, most) = (l.splat(0.0), MOST as f32);
    let whole = Whole::of::<N, WEIGHED>(l, work);
    let (scale, min) = (l.max(pair.scale, zero), l.max(l.sub(zero, pair.min), zero));
    let least = l.splat(1.0 / most);
    let mut d = l.halves(l.mul(group_max(l, scale, group), least));
    let mut dmin = l.halves(l.mul(group_max(l, min, group), least));
    let (mut unit, mut min_unit) = (l.widen_halves(&d), l.widen_halves(&dmin));
    let mut steps = round(l, clamp(l, l.mul(scale, inverse(l, unit)), 0.0, most));
    let mut min_steps = round(l, clamp(l, l.mul(min, inverse(l, min_unit)), 0.0, most));
    for _ in 0..how.rounds {
        let s = beside::<L, N, TOP, MOST, WEIGHED>(
            l,
            work,
            &whole,
            (unit, min_unit),
            (&mut steps, &mut min_steps),
            how.beside,
        );
        let fitted = fit_units(l, &whole, s, (steps, min_steps), (unit, min_unit), group);
        (d, dmin) = (l.halves(fitted.0), l.halves(fitted.1));
        (unit, min_unit) = (l.widen_halves(&d), l.widen_halves(&dmin));
    }
    Shared { d, dmin, steps, min_steps }
}

/// The best of the pairs beside each, with its sums.
#[inline(always)]
fn beside<L: Lanes, const N: usize, const TOP: i32, const MOST: i32, const WEIGHED: bool>(
    l: L,
    work: &Work<N>,
    whole: &Whole<L>,
    (unit, min_unit): (L::F, L::F),
    (steps, min_steps): (&mut L::F, &mut L::F),
    offsets: &[(f32, f32)],
) -> Sums<L> {
    let (zero, most) = (l.splat(0.0), MOST as f32);
    let per_min = inverse(l, min_unit);
    let per_weight = inverse(l, whole.w);
    let (start, min_start) = (*steps, *min_steps);
    let mut kept = Sums { q: zero, qq: zero, xq: zero };
    let mut least = l.splat(f32::INFINITY);
    for three in offsets.as_chunks::<3>().0 {
        let mut tried = [zero; 3];
        let mut codes = [(zero, zero); 3];
        for j in 0..3 {
            tried[j] = clamp(l, l.add(start, l.splat(three[j].0)), 0.0, most);
            let inverse = inverse(l, l.mul(unit, tried[j]));
            let min = l.mul(min_unit, l.max(l.add(min_start, l.splat(three[j].1)), zero));
            codes[j] = (inverse, l.mul(min, inverse));
        }
        let sums = sums_of::<L, N, TOP, WEIGHED, 3>(l, work, codes);
        for j in 0..3 {
            let (s, t) = (sums[j], l.mul(unit, tried[j]));
            // The minimum that is best for these codes, as one that can be stored.
            let wanted = l.mul(l.sub(l.mul(t, s.q), whole.wx), per_weight);
            let min_step = round(l, clamp(l, l.mul(wanted, per_min), 0.0, most));
            let m = l.mul(min_unit, min_step);
            // t^2 qq + m^2 w - 2 t xq + 2 m wx - 2 t m q
            let by_scale = l.mul(t, l.sub(l.mul(t, s.qq), l.add(s.xq, s.xq)));
            let by_min = l.sub(l.add(l.mul(m, whole.w), l.add(whole.wx, whole.wx)), l.mul(l.add(t, t), s.q));
            let error = l.add(by_scale, l.mul(m, by_min));
            *steps = l.select_less(error, least, tried[j], *steps);
            *min_steps = l.select_less(error, least, min_step, *min_steps);
            kept.q = l.select_less(error, least, s.q, kept.q);
            kept.qq = l.select_less(error, least, s.qq, kept.qq);
            kept.xq = l.select_less(error, least, s.xq, kept.xq);
            least = l.min(error, least);
        }
    }
    kept
}

/// The two scales of each block that are best for all its codes; those that there are where that is none.
#[inline(always)]
fn fit_units<L: Lanes>(
    l: L,
    whole: &Whole<L>,
    s: Sums<L>,
    (steps, min_steps): (L::F, L::F),
    (unit, min_unit): (L::F, L::F),
    group: usize,
) -> (L::F, L::F) {
    const HARDLY: f32 = 1e-6;
    let zero = l.splat(0.0);
    // | a b | unit = p, -b unit + .. the normal equations of x = unit * steps * q - min_unit * min_steps
    let a = group_sum(l, l.mul(l.mul(steps, steps), s.qq), group);
    let b = group_sum(l, l.mul(l.mul(steps, min_steps), s.q), group);
    let c = group_sum(l, l.mul(l.mul(min_steps, min_steps), whole.w), group);
    let p = group_sum(l, l.mul(steps, s.xq), group);
    let r = group_sum(l, l.mul(min_steps, whole.wx), group);
    let product = l.mul(a, c);
    let determinant = l.sub(product, l.mul(b, b));
    let both = l.select_less(l.mul(product, l.splat(HARDLY)), determinant, determinant, zero);
    let fitted = l.div(l.sub(l.mul(p, c), l.mul(r, b)), determinant);
    let min_fitted = l.div(l.sub(l.mul(p, b), l.mul(r, a)), determinant);
    // Both must come out as scales can be: neither negative nor NaN.
    let both = l.select_less(zero, fitted, l.select_less(min_fitted, zero, zero, both), zero);
    let alone = l.select_less(zero, c, unit, l.select_less(zero, a, l.max(l.div(p, a), zero), unit));
    (l.select_less(zero, both, fitted, alone), l.select_less(zero, both, min_fitted, min_unit))
}
