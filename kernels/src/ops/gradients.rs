//! Derivatives of what stands in [`super`], of one row.

use super::{exp, rest};
use crate::simd::{DotLanes, Level, Op, run};

/// The gradient of [`super::rms_norm`]: with `d` that of y, `dx` gets that of x added, and `dweight` that of the weights.
///
/// # Panics
/// When the lengths differ.
pub fn rms_norm_back(
    level: Level,
    x: &[f32],
    weight: &[f32],
    eps: f32,
    d: &[f32],
    dx: &mut [f32],
    dweight: &mut [f32],
) {
    assert!([weight.len(), d.len(), dx.len(), dweight.len()].iter().all(|len| *len == x.len()));
    run(level, RmsNormBack { x, weight, eps, d, dx, dweight });
}

/// The gradient of [`super::silu_times`]: with `d` that of silu(gate) * up, `gate` and `up` become their gradients, and `d`
/// becomes silu(gate) * up.
///
/// # Panics
/// When the lengths differ.
pub fn silu_times_back(level: Level, gate: &mut [f32], up: &mut [f32], d: &mut [f32]) {
    assert!(gate.len() == up.len() && gate.len() == d.len());
    run(level, SiluTimesBack { gate, up, d });
}

struct RmsNormBack<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    d: &'a [f32],
    dx: &'a mut [f32],
    dweight: &'a mut [f32],
}

impl Op for RmsNormBack<'_> {
    type Output = ();

    #[inline(always)]
    fn body<L: DotLanes>(self, l: L) {
        let (x, x_rest) = self.x.as_chunks::<16>();
        let (weight, weight_rest) = self.weight.as_chunks::<16>();
        let (d, d_rest) = self.d.as_chunks::<16>();
        let (mut squares, mut products) = (l.splat(0.0), l.splat(0.0));
        for ((x, weight), d) in x.iter().zip(weight).zip(d) {
            let x = l.load(x);
            squares = l.fma(x, x, squares);
            products = l.fma(l.mul(l.load(weight), l.load(d)), x, products);
        }
        let last = l.load(&rest(x_rest, 0.0));
        let weighed = l.mul(l.load(&rest(weight_rest, 0.0)), l.load(&rest(d_rest, 0.0)));
        squares = l.fma(last, last, squares);
        products = l.fma(weighed, last, products);
        let count = self.x.len() as f32;
        let scale = 1.0 / (l.fold_sum(squares) / count + self.eps).sqrt();
        let share = scale * scale * scale * (l.fold_sum(products) / count);
        let (dx, dx_rest) = self.dx.as_chunks_mut::<16>();
        let (dweight, dweight_rest) = self.dweight.as_chunks_mut::<16>();
        let (scales, shares) = (l.splat(scale), l.splat(-share));
        for ((((x, weight), d), dx), dweight) in x.iter().zip(weight).zip(d).zip(dx).zip(dweight) {
            let (x, d) = (l.load(x), l.load(d));
            let direct = l.fma(l.mul(l.load(weight), d), scales, l.load(dx));
            l.store(l.fma(x, shares, direct), dx);
            l.store(l.fma(l.mul(x, d), scales, l.load(dweight)), dweight);
        }
        for ((((x, weight), d), dx), dweight) in
            x_rest.iter().zip(weight_rest).zip(d_rest).zip(dx_rest).zip(dweight_rest)
        {
            *dx = x.mul_add(-share, (weight * d).mul_add(scale, *dx));
            *dweight = (x * d).mul_add(scale, *dweight);
        }
    }
}

struct SiluTimesBack<'a> {
    gate: &'a mut [f32],
    up: &'a mut [f32],
    d: &'a mut [f32],
}

impl Op for SiluTimesBack<'_> {
    type Output = ();

    #[inline(always)]
    fn body<L: DotLanes>(self, l: L) {
        let (gate, gate_rest) = self.gate.as_chunks_mut::<16>();
        let (up, up_rest) = self.up.as_chunks_mut::<16>();
        let (d, d_rest) = self.d.as_chunks_mut::<16>();
        for ((gate, up), d) in gate.iter_mut().zip(up).zip(d) {
            sixteen(l, gate, up, d);
        }
        let [mut gate, mut up, mut d] = [rest(gate_rest, 0.0), rest(up_rest, 0.0), rest(d_rest, 0.0)];
        sixteen(l, &mut gate, &mut up, &mut d);
        for (to, from) in [(gate_rest, gate), (up_rest, up), (d_rest, d)] {
            let count = to.len();
            to.copy_from_slice(&from[..count]);
        }
    }
}

#[inline(always)]
fn sixteen<L: DotLanes>(l: L, gate: &mut [f32; 16], up: &mut [f32; 16], d: &mut [f32; 16]) {
    let (x, u, dy) = (l.load(gate), l.load(up), l.load(d));
    let one = l.splat(1.0);
    let sigmoid = l.div(one, l.add(one, exp(l, l.sub(l.splat(0.0), x))));
    let silu = l.mul(x, sigmoid);
    // silu'(x) = s (1 + x (1 - s))
    let slope = l.mul(sigmoid, l.fma(x, l.sub(one, sigmoid), one));
    l.store(l.mul(l.mul(dy, u), slope), gate);
    l.store(l.mul(dy, silu), up);
    l.store(l.mul(silu, u), d);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops;

    fn wave(count: usize, step: f32) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * step + 0.3).sin() * 2.0).collect()
    }

    /// The slope of `f` at `x`, place by place.
    fn slopes(x: &[f32], f: impl Fn(&[f32]) -> f64) -> Vec<f64> {
        let step = 1e-2;
        let at = |i: usize, by: f32| {
            let mut x = x.to_vec();
            x[i] += by;
            f(&x)
        };
        (0..x.len()).map(|i| (at(i, step) - at(i, -step)) / f64::from(2.0 * step)).collect()
    }

    fn near(found: &[f32], wanted: &[f64]) {
        for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
            assert!((f64::from(*found) - wanted).abs() < 2e-3 * wanted.abs().max(1.0), "{i}: {found} for {wanted}");
        }
    }

    fn dot(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    }

    #[test]
    fn norms_agree_with_differences() {
        for count in [3, 16, 37] {
            let (x, weight, d) = (wave(count, 0.7), wave(count, 1.3), wave(count, 2.9));
            let loss = |x: &[f32], weight: &[f32]| {
                let mut y = vec![0.0; count];
                ops::rms_norm(Level::SCALAR, x, weight, 1e-5, &mut y);
                dot(&y, &d)
            };
            let compute = |level| {
                let [mut dx, mut dweight] = [vec![0.0; count], vec![0.0; count]];
                rms_norm_back(level, &x, &weight, 1e-5, &d, &mut dx, &mut dweight);
                (dx, dweight)
            };
            let (dx, dweight) = compute(Level::SCALAR);
            near(&dx, &slopes(&x, |x| loss(x, &weight)));
            near(&dweight, &slopes(&weight, |weight| loss(&x, weight)));
            for level in Level::available() {
                assert_eq!(compute(level), (dx.clone(), dweight.clone()), "{}", level.name());
            }
        }
    }

    #[test]
    fn gated_units_agree_with_differences() {
        let count = 37;
        let (gate, up, d) = (wave(count, 0.7), wave(count, 1.3), wave(count, 2.9));
        let product = |gate: &[f32], up: &[f32]| {
            let mut y = gate.to_vec();
            ops::silu_times(Level::SCALAR, &mut y, up);
            y
        };
        let compute = |level| {
            let (mut gate, mut up, mut d) = (gate.clone(), up.clone(), d.clone());
            silu_times_back(level, &mut gate, &mut up, &mut d);
            (gate, up, d)
        };
        let found = compute(Level::SCALAR);
        near(&found.0, &slopes(&gate, |gate| dot(&product(gate, &up), &d)));
        near(&found.1, &slopes(&up, |up| dot(&product(&gate, up), &d)));
        for (y, wanted) in found.2.iter().zip(product(&gate, &up)) {
            assert!((y - wanted).abs() <= wanted.abs() * 1e-6);
        }
        for level in Level::available() {
            assert_eq!(compute(level), found, "{}", level.name());
        }
    }
}
