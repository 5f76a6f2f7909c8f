//! Products in every format at every level: the same bits, near to what decoded weights give, whatever else is computed.

use tersor_kernels::matmul::{Activations, Input, Matrix, Out, View};
use tersor_kernels::{Effort, Encoding, FORMATS, Format, Level};

const HOW: Encoding<'_> =
    Encoding { importance: None, effort: Effort::Fast, non_finite: tersor_kernels::NonFinite::Refuse };

/// A small generator, so that the values are the same everywhere.
struct Random(u64);

impl Random {
    /// Between -1 and 1.
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next()).collect()
    }
}

fn with_products() -> impl Iterator<Item = &'static Format> {
    FORMATS.iter().filter(|f| f.codec.is_some_and(|c| c.product.is_some()))
}

fn encode(format: &Format, values: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0; format.size_of(values.len() as u64).unwrap() as usize];
    format.encoder().unwrap()(Level::SCALAR, values, &HOW, &mut bytes).unwrap();
    bytes
}

fn packed(level: Level, input: Input, x: &[f32], width: usize) -> Activations {
    let mut activations = Activations::new(level);
    activations.pack(input, x, width);
    activations
}

fn multiply(matrix: &Matrix, level: Level, x: &[f32]) -> Vec<f32> {
    let activations = packed(level, matrix.input(), x, matrix.columns());
    let mut y = vec![f32::NAN; matrix.rows() * activations.columns()];
    let mut out = Out::new(&mut y, matrix.rows(), activations.columns());
    matrix.multiply(level, 0..matrix.panels(), &activations, &mut out);
    y
}

/// What the packed activations stand for, and the sum of magnitudes of the products.
fn defined(weights: &[f32], input: Input, x: &[f32], rows: usize, width: usize) -> Vec<(f64, f64)> {
    let mut x = x.to_vec();
    if input == Input::Int8 {
        for block in x.chunks_exact_mut(32) {
            let top = block.iter().fold(0f32, |m, v| m.max(v.abs()));
            let inverse = if top == 0.0 { 0.0 } else { 127.0 / top };
            for v in block {
                *v = (*v * inverse).round() * (top / 127.0);
            }
        }
    }
    let mut sums = Vec::new();
    for x in x.chunks_exact(width) {
        for w in weights.chunks_exact(width).take(rows) {
            let products = || w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x));
            sums.push((products().sum(), products().map(f64::abs).sum()));
        }
    }
    sums
}

#[test]
fn products_are_those_of_decoded_weights_at_every_level() {
    let mut random = Random(1);
    for format in with_products() {
        let width = if format.block > 32 { 768 } else { 224 };
        for (rows, columns) in [(16, 1), (37, 7), (1, 19), (48, 4)] {
            let bytes = encode(format, &random.values(rows * width));
            let x = random.values(columns * width);
            let mut weights = vec![0.0; rows * width];
            format.decoder().unwrap()(Level::SCALAR, &bytes, &mut weights);
            let matrix = Matrix::from_bytes(format, rows, width, &bytes).unwrap();
            let wanted = multiply(&matrix, Level::SCALAR, &x);
            for (n, (y, (sum, size))) in
                wanted.iter().zip(defined(&weights, matrix.input(), &x, rows, width)).enumerate()
            {
                let off = (f64::from(*y) - sum).abs();
                assert!(off <= size * 2e-6, "{format:?} {rows} x {columns}, {n}: {y} for {sum}, magnitudes {size}");
            }
            for level in Level::available() {
                let found = multiply(&matrix, level, &x);
                assert_eq!(found, wanted, "{format:?} {} {rows} x {columns}", level.name());
            }
        }
    }
}

#[test]
fn extreme_codes_do_not_overflow() {
    // Every code at its end, every activation at 127: sums of 16 bits are as large as they can be.
    for format in with_products() {
        let width = format.block.max(256);
        for (sign, byte) in [(1.0, 0xff), (-1.0, 0x00), (1.0, 0x77), (-1.0, 0x88)] {
            let mut bytes = vec![byte; format.size_of(16 * width as u64).unwrap() as usize];
            if !bytes.len().is_multiple_of(format.bytes) || format.block == 1 {
                continue;
            }
            let mut weights = vec![0.0; 16 * width];
            format.decoder().unwrap()(Level::SCALAR, &bytes, &mut weights);
            if weights.iter().any(|w| !w.is_finite()) {
                // Scales of such bits are NaN: take those of an encoded row, and only the codes of these bytes.
                let row = encode(format, &Random(3).values(16 * width));
                for (block, sound) in bytes.chunks_exact_mut(format.bytes).zip(row.chunks_exact(format.bytes)) {
                    for at in scale_bytes(format) {
                        block[at] = sound[at];
                    }
                }
                format.decoder().unwrap()(Level::SCALAR, &bytes, &mut weights);
            }
            let matrix = Matrix::from_bytes(format, 16, width, &bytes).unwrap();
            let x = vec![sign; width];
            let wanted = defined(&weights, matrix.input(), &x, 16, width);
            for level in Level::available() {
                for (y, (sum, size)) in multiply(&matrix, level, &x).iter().zip(&wanted) {
                    let off = (f64::from(*y) - sum).abs();
                    assert!(off <= size * 2e-6, "{format:?} {} {byte:x}: {y} for {sum}", level.name());
                }
            }
        }
    }
}

/// Where the halves of a block's scales are.
fn scale_bytes(format: &Format) -> Vec<usize> {
    match format.name {
        "q2_k" => (80..84).collect(),
        "q3_k" => (108..110).collect(),
        "q6_k" => (208..210).collect(),
        "q4_1" | "q5_1" | "q4_k" | "q5_k" => (0..4).collect(),
        _ => (0..2).collect(),
    }
}

#[test]
fn a_result_does_not_depend_on_its_neighbours() {
    let mut random = Random(2);
    for format in with_products() {
        let (rows, width) = (50, 256);
        let bytes = encode(format, &random.values(rows * width));
        let matrix = Matrix::from_bytes(format, rows, width, &bytes).unwrap();
        let x = random.values(11 * width);
        for level in Level::available() {
            let whole = multiply(&matrix, level, &x);
            for (x, y) in x.chunks_exact(width).zip(whole.chunks_exact(rows)) {
                assert_eq!(multiply(&matrix, level, x), y, "{format:?} {}: one column", level.name());
            }
            let activations = packed(level, matrix.input(), &x, width);
            let mut y = vec![f32::NAN; rows * 11];
            let (mut first, mut rest) = Out::new(&mut y, rows, 11).split_at(32);
            matrix.multiply(level, 2..4, &activations, &mut rest);
            matrix.multiply(level, 0..2, &activations, &mut first);
            assert_eq!(y, whole, "{format:?} {}: two parts", level.name());
        }
    }
}

#[test]
fn odd_activations() {
    let format = Format::by_name("q4_0").unwrap();
    let matrix = Matrix::from_bytes(format, 16, 64, &encode(format, &Random(4).values(16 * 64))).unwrap();
    for level in Level::available() {
        assert_eq!(multiply(&matrix, level, &[0.0; 64]), [0.0; 16]);
        let tiny = multiply(&matrix, level, &[1e-44; 64]);
        assert!(tiny.iter().all(|y| *y == 0.0));
        for bad in [f32::NAN, f32::INFINITY] {
            let mut x = [1.0; 64];
            x[40] = bad;
            assert!(multiply(&matrix, level, &x).iter().all(|y| y.is_nan()));
        }
        assert_eq!(multiply(&matrix, level, &[]), []);
    }
}

#[test]
fn matrices_of_floats_grow() {
    let mut random = Random(5);
    let f32 = Format::by_name("f32").unwrap();
    let (rows, width) = (40, 24);
    let values = random.values(rows * width);
    let (mut by_rows, mut by_columns) =
        (Matrix::new(f32, rows + 9, width + 30).unwrap(), Matrix::new(f32, rows + 9, width + 30).unwrap());
    for (r, row) in values.chunks_exact(width).enumerate() {
        by_rows.put_row(r, row);
    }
    for c in 0..width {
        let column: Vec<f32> = values.iter().skip(c).step_by(width).copied().collect();
        by_columns.put_column(c, &column);
    }
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let whole = Matrix::from_bytes(f32, rows, width, &bytes).unwrap();
    let x = random.values(3 * width);
    for level in Level::available() {
        let wanted = multiply(&whole, level, &x);
        let activations = packed(level, Input::F32, &x, width);
        for matrix in [&by_rows, &by_columns] {
            let mut y = vec![f32::NAN; (rows + 9) * 3];
            matrix.multiply(level, 0..matrix.panels(), &activations, &mut Out::new(&mut y, rows + 9, 3));
            for (y, wanted) in y.chunks_exact(rows + 9).zip(wanted.chunks_exact(rows)) {
                assert_eq!(&y[..rows], wanted);
                assert!(y[rows..].iter().all(|y| *y == 0.0));
            }
        }
    }
}

#[test]
fn panels_are_about_as_large_as_in_a_file() {
    for format in with_products() {
        let matrix = Matrix::new(format, 1024, 2048).unwrap();
        let file = format.size_of(1024 * 2048).unwrap() as f64;
        assert!(matrix.bytes() as f64 <= file * 1.15, "{format:?}: {} bytes for {file}", matrix.bytes());
    }
    assert!(Matrix::new(Format::by_name("q4_k").unwrap(), 16, 128).is_none());
    assert!(Matrix::new(Format::by_name("i32").unwrap(), 16, 128).is_none());
}

/// A row is more or less sparse than the next, from no zeros to nothing but zeros.
fn with_zeros(random: &mut Random, rows: usize, width: usize) -> Vec<f32> {
    let mut values = random.values(rows * width);
    for (r, row) in values.chunks_exact_mut(width).enumerate() {
        let share = (r % 5) as f32 / 4.0;
        row.iter_mut().filter(|_| random.next().abs() < share).for_each(|v| *v = 0.0);
    }
    values
}

#[test]
fn matrices_without_zeros_have_the_products_of_dense_ones() {
    let mut random = Random(6);
    let q8_0 = Format::by_name("q8_0").unwrap();
    for (rows, width, columns) in [(16, 32, 1), (37, 224, 7), (1, 64, 3), (80, 768, 1), (80, 768, 33)] {
        let bytes = encode(q8_0, &with_zeros(&mut random, rows, width));
        let dense = Matrix::from_bytes(q8_0, rows, width, &bytes).unwrap();
        let mut kept = Vec::new();
        for rows in bytes.chunks(16 * width / 32 * 34) {
            let codes = rows.chunks_exact(34).flat_map(|block| &block[2..]);
            kept.push(codes.filter(|code| **code != 0).count());
        }
        let x = random.values(columns * width);
        let wanted = multiply(&dense, Level::SCALAR, &x);
        for more in [0, 100] {
            let kept: Vec<usize> = kept.iter().map(|kept| kept + more).collect();
            let mut matrix = Matrix::sparse(rows, width, &kept).unwrap();
            for mut panel in matrix.panels_mut() {
                let (start, end) = (panel.rows.start * panel.row_bytes, panel.rows.end * panel.row_bytes);
                panel.fill(&bytes[start..end]);
            }
            for level in Level::available() {
                assert_eq!(multiply(&matrix, level, &x), wanted, "{} {rows} x {width} x {columns}", level.name());
            }
        }
    }
    assert!(Matrix::sparse(16, 40, &[0]).is_none());
    assert!(Matrix::sparse(17, 32, &[0]).is_none());
}

#[test]
fn products_of_views_add_up() {
    let mut random = Random(7);
    let (rows, depth, columns) = (37, 50, 13);
    let (a, b) = (random.values(rows * depth), random.values(columns * depth));
    let transposed = |values: &[f32], width: usize| -> Vec<f32> {
        (0..width).flat_map(|c| values.iter().skip(c).step_by(width).copied().collect::<Vec<_>>()).collect()
    };
    let (a_across, b_across) = (transposed(&a, depth), transposed(&b, depth));
    let halves = |a: View<'_>, b: View<'_>, level: Level| {
        let mut y = vec![1.0; rows * columns];
        let mut out = Out::new(&mut y, rows, columns);
        for (n, part) in [0..20, 20..50].into_iter().enumerate() {
            let matrix = Matrix::from_view(level, Input::F32, a.part(0..rows, part.clone()));
            let mut x = Activations::new(level);
            x.pack_view(Input::F32, b.part(0..columns, part));
            matrix.multiply(level, 0..matrix.panels(), &x, &mut out.columns_mut(0..columns, n > 0));
        }
        y
    };
    let wanted = halves(View::new(&a, depth), View::new(&b, depth), Level::SCALAR);
    for (y, (sum, size)) in wanted.iter().zip(defined(&a, Input::F32, &b, rows, depth)) {
        assert!((f64::from(*y) - sum).abs() <= size * 2e-6);
    }
    for level in Level::available() {
        let (a, b) = (View::new(&a_across, rows).transposed(), View::new(&b_across, columns).transposed());
        assert_eq!(halves(a, b, level), wanted, "{}", level.name());
    }
}

/// Round half to even to bf16; what is below 2^-56 is zero.
fn to_bf16(value: f32) -> f32 {
    let bits = value.to_bits();
    let rounded = f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000);
    if rounded.abs() < 2f32.powi(-56) { 0.0 } else { rounded }
}

#[test]
fn products_of_bf16_have_the_same_bits_at_every_level() {
    let mut random = Random(8);
    for (rows, depth, columns) in [(1, 1, 1), (16, 32, 16), (37, 50, 13), (48, 224, 33), (70, 129, 64)] {
        let (mut a, b) = (random.values(rows * depth), random.values(columns * depth));
        // Far apart, and far below what counts.
        a.iter_mut().enumerate().for_each(|(n, a)| *a *= 2f32.powi([0, -20, -60, -130, 9][n % 5]));
        let across = |values: &[f32], width: usize| -> Vec<f32> {
            (0..width).flat_map(|c| values.iter().skip(c).step_by(width).copied().collect::<Vec<_>>()).collect()
        };
        let (a_across, b_across) = (across(&a, depth), across(&b, depth));
        let products = |level: Level, a: View<'_>, b: View<'_>| {
            let matrix = Matrix::from_view(level, Input::Bf16, a);
            let mut x = Activations::new(level);
            x.pack_view(Input::Bf16, b);
            let mut y = vec![f32::NAN; rows * columns];
            matrix.multiply(level, 0..matrix.panels(), &x, &mut Out::new(&mut y, rows, columns));
            y
        };
        let wanted = products(Level::SCALAR, View::new(&a, depth), View::new(&b, depth));
        let (a_rounded, b_rounded): (Vec<f32>, Vec<f32>) =
            (a.iter().copied().map(to_bf16).collect(), b.iter().copied().map(to_bf16).collect());
        for (y, (sum, size)) in wanted.iter().zip(defined(&a_rounded, Input::Bf16, &b_rounded, rows, depth)) {
            assert!((f64::from(*y) - sum).abs() <= size * 2e-6, "{rows} x {depth} x {columns}: {y} for {sum}");
        }
        let bytes: Vec<u8> = a.iter().flat_map(|a| ((to_bf16(*a).to_bits() >> 16) as u16).to_le_bytes()).collect();
        let mut stored = Matrix::bf16(rows, depth);
        for mut panel in stored.panels_mut() {
            let (start, end) = (panel.rows.start * panel.row_bytes, panel.rows.end * panel.row_bytes);
            panel.fill(&bytes[start..end]);
        }
        for level in Level::available() {
            let name = level.name();
            assert_eq!(products(level, View::new(&a, depth), View::new(&b, depth)), wanted, "{name}");
            let (a, b_view) = (View::new(&a_across, rows).transposed(), View::new(&b_across, columns).transposed());
            assert_eq!(products(level, a, b_view), wanted, "{name}: transposed, {rows} x {depth} x {columns}");
            assert_eq!(multiply(&stored, level, &b), wanted, "{name}: as stored");
        }
    }
}

#[test]
fn products_of_bf16_keep_what_is_no_number() {
    for level in Level::available() {
        let mut values = vec![1.0; 16 * 40];
        values[17] = f32::NAN;
        let x = vec![2.0; 40];
        let y = multiply(&Matrix::from_view(level, Input::Bf16, View::new(&values, 40)), level, &x);
        assert!(y[0].is_nan() && y[1..].iter().all(|y| *y == 80.0), "{}: {y:?}", level.name());
    }
}
