//! Values to encode, and how far off they come back.

use crate::support::Random;
use tersor_kernels::{Encoding, Format, Level};

/// Values as weights have them.
pub fn weights(random: &mut Random, count: usize) -> Vec<f32> {
    (0..count).map(|_| (random.gaussian() * 0.02) as f32).collect()
}

/// What an error costs, per column: exp(Gaussian).
pub fn importance(random: &mut Random, columns: usize) -> Vec<f32> {
    (0..columns).map(|_| random.gaussian().exp() as f32).collect()
}

/// The bytes of `values` in a format that is written.
pub fn encode(format: &Format, values: &[f32], how: &Encoding<'_>) -> Vec<u8> {
    let mut bytes = vec![0; format.size_of(values.len() as u64).expect("whole blocks") as usize];
    format.encoder().expect("an encoder")(Level::best(), values, how, &mut bytes).expect("values that it can hold");
    bytes
}

/// Relative RMSE of encoded values, each square weighed with its column's `importance` where that is given.
pub fn error(format: &Format, bytes: &[u8], values: &[f32], importance: Option<&[f32]>) -> f64 {
    let mut back = vec![f32::NAN; values.len()];
    format.decoder().expect("a decoder")(Level::best(), bytes, &mut back);
    let columns = importance.map_or(values.len(), <[f32]>::len);
    let (mut error, mut energy) = (0.0, 0.0);
    for (values, back) in values.chunks(columns).zip(back.chunks(columns)) {
        for (i, (&x, &y)) in values.iter().zip(back).enumerate() {
            let weight = importance.map_or(1.0, |w| f64::from(w[i]));
            let (x, y) = (f64::from(x), f64::from(y));
            error += weight * (y - x) * (y - x);
            energy += weight * x * x;
        }
    }
    if energy == 0.0 { 0.0 } else { (error / energy).sqrt() }
}
