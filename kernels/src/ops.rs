//! What a model computes between products: normalisation, activation, softmax, rotary embedding.
//!
//! Sums run down sixteen lanes and fold in a fixed tree, as everywhere; so all levels give the same bits.

mod gradients;

use crate::simd::{DotLanes, Level, Op, run};

pub use gradients::{rms_norm_back, silu_times_back};

/// y = x / sqrt(mean(x^2) + eps) * weight (arXiv 1910.07467).
///
/// # Panics
/// When the lengths differ.
pub fn rms_norm(level: Level, x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
    assert!(x.len() == weight.len() && x.len() == y.len());
    run(level, RmsNorm { x, weight, eps, y });
}

/// gate = silu(gate) * up, with silu(x) = x / (1 + exp(-x)).
///
/// # Panics
/// When the lengths differ.
pub fn silu_times(level: Level, gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len());
    run(level, SiluTimes { gate, up });
}

/// x = exp(scale * x) / sum(exp(scale * x)); gives the logarithm of that sum. Of no values, minus infinity.
pub fn softmax(level: Level, x: &mut [f32], scale: f32) -> f64 {
    run(level, Softmax { x, scale })
}

/// The values that are left after the last sixteen, and `fill` for the others.
#[inline(always)]
fn rest(x: &[f32], fill: f32) -> [f32; 16] {
    let mut all = [fill; 16];
    all[..x.len()].copy_from_slice(x);
    all
}

struct RmsNorm<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    y: &'a mut [f32],
}

impl Op for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn body<L: DotLanes>(self, l: L) {
        let (x, x_rest) = self.x.as_chunks::<16>();
        let mut squares = l.splat(0.0);
        for x in x {
            let x = l.load(x);
            squares = l.fma(x, x, squares);
        }
        let last = l.load(&rest(x_rest, 0.0));
        squares = l.fma(last, last, squares);
        let scale = 1.0 / (l.fold_sum(squares) / self.x.len() as f32 + self.eps).sqrt();
        let (weight, weight_rest) = self.weight.as_chunks::<16>();
        let (y, y_rest) = self.y.as_chunks_mut::<16>();
        for ((x, weight), y) in x.iter().zip(weight).zip(y) {
            l.store(l.mul(l.mul(l.load(x), l.splat(scale)), l.load(weight)), y);
        }
        for ((x, weight), y) in x_rest.iter().zip(weight_rest).zip(y_rest) {
            *y = x * scale * weight;
        }
    }
}

/// 1.5 * 2^23: what is added to it is rounded to an integer.
const MAGIC: f32 = 12_582_912.0;

/// e^x, within 2 units in the last place where the result is normal; 0 below -87.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2, and a polynomial of degree 6 for e^r.
#[inline(always)]
fn exp<L: DotLanes>(l: L, x: L::F) -> L::F {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = l.min(l.max(x, l.splat(-87.0)), l.splat(88.0));
    let t = l.fma(clamped, l.splat(std::f32::consts::LOG2_E), l.splat(MAGIC));
    let n = l.sub(t, l.splat(MAGIC));
    let r = l.fma(n, l.splat(-LN2_HIGH), clamped);
    let r = l.fma(n, l.splat(-LN2_LOW), r);
    let mut y = l.splat(1.0 / 720.0);
    for c in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        y = l.fma(y, r, l.splat(c));
    }
    l.select_less(x, l.splat(-87.0), l.splat(0.0), l.times_power(y, t))
}

struct SiluTimes<'a> {
    gate: &'a mut [f32],
    up: &'a [f32],
}

impl Op for SiluTimes<'_> {
    type Output = ();

    #[inline(always)]
    fn body<L: DotLanes>(self, l: L) {
        let (gate, gate_rest) = self.gate.as_chunks_mut::<16>();
        let (up, up_rest) = self.up.as_chunks::<16>();
        for (gate, up) in gate.iter_mut().zip(up) {
            let y = silu_of(l, l.load(gate));
            l.store(l.mul(y, l.load(up)), gate);
        }
        let mut last = [0.0; 16];
        l.store(silu_of(l, l.load(&rest(gate_rest, 0.0))), &mut last);
        for ((gate, up), y) in gate_rest.iter_mut().zip(up_rest).zip(last) {
            *gate = y * up;
        }
    }
}

#[inline(always)]
fn silu_of<L: DotLanes>(l: L, x: L::F) -> L::F {
    let negative = l.sub(l.splat(0.0), x);
    l.div(x, l.add(l.splat(1.0), exp(l, negative)))
}

struct Softmax<'a> {
    x: &'a mut [f32],
    scale: f32,
}

impl Op for Softmax<'_> {
    type Output = f64;

    #[inline(always)]
    fn body<L: DotLanes>(self, l: L) -> f64 {
        if self.x.is_empty() {
            return f64::NEG_INFINITY;
        }
        let scale = l.splat(self.scale);
        let (x, x_rest) = self.x.as_chunks_mut::<16>();
        let mut top = l.splat(f32::NEG_INFINITY);
        for x in &mut *x {
            let scaled = l.mul(l.load(x), scale);
            top = l.max(top, scaled);
            l.store(scaled, x);
        }
        let mut last = rest(x_rest, 0.0);
        l.store(l.mul(l.load(&last), scale), &mut last);
        last[x_rest.len()..].fill(f32::NEG_INFINITY);
        top = l.max(top, l.load(&last));
        let top = l.fold_max(top);
        let mut sum = l.splat(0.0);
        for x in &mut *x {
            let y = exp(l, l.sub(l.load(x), l.splat(top)));
            sum = l.add(sum, y);
            l.store(y, x);
        }
        let y = exp(l, l.sub(l.load(&last), l.splat(top)));
        sum = l.add(sum, y);
        l.store(y, &mut last);
        let sum = l.fold_sum(sum);
        let inverse = 1.0 / sum;
        for x in x {
            l.store(l.mul(l.load(x), l.splat(inverse)), x);
        }
        for (x, y) in x_rest.iter_mut().zip(last) {
            *x = y * inverse;
        }
        f64::from(top) + f64::from(sum).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(count: usize, from: f32, to: f32) -> Vec<f32> {
        (0..count).map(|i| from + (to - from) * i as f32 / (count.max(2) - 1) as f32).collect()
    }

    /// At every level the same bits.
    fn alike(compute: impl Fn(Level) -> Vec<f32>) -> Vec<f32> {
        let wanted = compute(Level::SCALAR);
        for level in Level::available() {
            assert_eq!(compute(level), wanted, "{}", level.name());
        }
        wanted
    }

    #[test]
    fn silu_is_near_to_the_real_one() {
        for count in [0, 1, 15, 16, 17, 4001] {
            let x = ramp(count, -100.0, 100.0);
            let up = ramp(count, 2.0, -1.0);
            let y = alike(|level| {
                let mut gate = x.clone();
                silu_times(level, &mut gate, &up);
                gate
            });
            for ((x, up), y) in x.iter().zip(&up).zip(y) {
                let wanted = f64::from(*x) / (1.0 + (-f64::from(*x)).exp()) * f64::from(*up);
                assert!((f64::from(y) - wanted).abs() <= wanted.abs() * 1e-6 + 1e-35, "{x}: {y} for {wanted}");
            }
        }
    }

    #[test]
    fn softmax_is_near_to_the_real_one() {
        for count in [1, 2, 16, 31, 1000] {
            let x: Vec<f32> = ramp(count, -30.0, 5.0).iter().map(|v| v * v.sin()).collect();
            let scale = 0.7f32;
            let y = alike(|level| {
                let mut x = x.clone();
                softmax(level, &mut x, scale);
                x
            });
            let powers: Vec<f64> = x.iter().map(|v| f64::from(v * scale).exp()).collect();
            let sum: f64 = powers.iter().sum();
            for (y, power) in y.iter().zip(&powers) {
                assert!((f64::from(*y) - power / sum).abs() <= power / sum * 1e-5 + 1e-37, "{y} for {}", power / sum);
            }
            let log = softmax(Level::best(), &mut x.clone(), scale);
            assert!((log - sum.ln()).abs() < 1e-5);
        }
        assert_eq!(softmax(Level::best(), &mut [], 1.0), f64::NEG_INFINITY);
        let mut lone = [f32::NEG_INFINITY, 3.0];
        softmax(Level::best(), &mut lone, 1.0);
        assert_eq!(lone, [0.0, 1.0]);
    }

    #[test]
    fn norms_have_a_mean_square_of_one() {
        for count in [1, 16, 70, 576] {
            let x = ramp(count, -3.0, 4.0);
            let weight = ramp(count, 0.5, 1.5);
            let y = alike(|level| {
                let mut y = vec![0.0; count];
                rms_norm(level, &x, &weight, 1e-5, &mut y);
                y
            });
            let mean: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / count as f64;
            for ((x, w), y) in x.iter().zip(&weight).zip(y) {
                let wanted = f64::from(*x) / (mean + 1e-5).sqrt() * f64::from(*w);
                assert!((f64::from(y) - wanted).abs() <= 1e-6 * wanted.abs().max(0.1), "{y} for {wanted}");
            }
        }
    }
}
