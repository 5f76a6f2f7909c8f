//! Products of matrices in memory, shared among threads.

use super::pool::Pool;
use rayon::prelude::*;
use std::ops::Range;
use tersor_kernels::Level;
use tersor_kernels::matmul::{Activations, Input, Out, View};

/// Rows of one share, two panels each or two times two; few rows have smaller shares, so that no thread waits for long.
const ROWS: [usize; 2] = [32, 64];
/// So many rows are many.
const MANY: usize = 8 * ROWS[1];

/// What is packed together.
struct Parts {
    /// What is summed up at a time: a panel of so many stays in the nearest cache.
    depth: usize,
    /// The next cache holds so many columns, and they are whole tiles at every level.
    columns: usize,
}

fn parts_of(input: Input) -> Parts {
    match input {
        Input::Bf16 => Parts { depth: 1024, columns: 256 },
        Input::F32 | Input::Int8 => Parts { depth: 384, columns: 240 },
    }
}

/// `to[j][i]` becomes the sum over k of `rows[i][k] * columns[j][k]`, or has it added. The sums have one order for any number
/// of threads.
///
/// # Panics
/// When the sizes do not fit.
pub(super) fn multiply(pool: &Pool, level: Level, rows: View<'_>, columns: View<'_>, to: &mut [f32], adds: bool) {
    multiply_each(pool, level, [(rows, to)], columns, adds);
}

/// The same for several matrices with the same columns, which are packed once.
pub(super) fn multiply_each<'a>(
    pool: &Pool,
    level: Level,
    products: impl IntoIterator<Item = (View<'a>, &'a mut [f32])>,
    columns: View<'_>,
    adds: bool,
) {
    let Parts { depth: most, columns: wide } = parts_of(pool.input());
    let parts: Vec<(Range<usize>, Range<usize>)> =
        cut(columns.rows(), wide).flat_map(|c| cut(columns.columns(), most).map(move |d| (c.clone(), d))).collect();
    let packed: Vec<Activations> = parts
        .par_iter()
        .map(|(columns_of, depth)| pool.packed(level, columns.part(columns_of.clone(), depth.clone())))
        .collect();
    let mut shares = Vec::new();
    for (rows, to) in products {
        assert_eq!(rows.columns(), columns.columns());
        let mut rest = Out::new(to, rows.rows(), columns.rows());
        for share in cut(rows.rows(), ROWS[usize::from(rows.rows() > MANY)]) {
            let (out, others) = rest.split_at(share.len());
            rest = others;
            shares.push((rows, share, out));
        }
    }
    shares.into_par_iter().for_each(|(rows, share, mut out)| {
        for depth in cut(rows.columns(), most) {
            let matrix = pool.matrix(level, rows.part(share.clone(), depth.clone()));
            for ((columns, _), x) in parts.iter().zip(&packed).filter(|((_, of), _)| *of == depth) {
                let out = &mut out.columns_mut(columns.clone(), adds || depth.start > 0);
                matrix.multiply(level, 0..matrix.panels(), x, out);
            }
            pool.give_matrix(matrix);
        }
    });
    pool.give_packed(packed);
}

/// `0..all` in steps.
fn cut(all: usize, step: usize) -> impl Iterator<Item = Range<usize>> {
    (0..all).step_by(step).map(move |start| start..all.min(start + step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_all_sizes() {
        let pool = Pool::new(Input::F32);
        for (rows, depth, columns) in [(1, 1, 1), (70, 300, 5), (64, 256, 128), (33, 520, 131)] {
            let value = |n: usize| (n as f32 * 0.37).sin();
            let a: Vec<f32> = (0..rows * depth).map(value).collect();
            let b: Vec<f32> = (0..columns * depth).map(|n| value(n + 7)).collect();
            let mut to = vec![2.0; rows * columns];
            multiply(&pool, Level::best(), View::new(&a, depth), View::new(&b, depth), &mut to, true);
            for (n, found) in to.iter().enumerate() {
                let (row, column) = (n % rows, n / rows);
                let products = a[row * depth..].iter().zip(&b[column * depth..]).take(depth);
                let wanted = 2.0 + products.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
                assert!((f64::from(*found) - wanted).abs() < 1e-4, "{found} for {wanted}");
            }
            let mut anew = vec![f32::NAN; rows * columns];
            multiply(&pool, Level::best(), View::new(&a, depth), View::new(&b, depth), &mut anew, false);
            assert!(anew.iter().zip(&to).all(|(new, old)| (new + 2.0 - old).abs() < 1e-4));
        }
    }
}
