//! Weights in the order in which lanes of a warp need them: see `cuda/packed.cuh`.

use crate::{Format, Level};
use half::f16;
use half::slice::HalfFloatSliceExt;

/// Rows and columns of a tile.
pub(super) const ROWS: usize = 16;
pub(super) const COLUMNS: usize = 64;
/// Columns that have one head.
const SUPER: usize = 256;

/// A packed matrix.
#[derive(Debug, PartialEq)]
pub struct Packed {
    /// What kernels take it by: several formats are packed into the same.
    pub kernel: &'static str,
    /// Of each tile, lane by lane.
    pub codes: Vec<u8>,
    /// Of each tile, row by row.
    pub scales: Vec<u8>,
    /// Of each 256 columns of 16 rows, row by row.
    pub heads: Vec<u8>,
    /// Of each row, a power of two that brings its values into the range of halves.
    pub powers: Vec<f32>,
}

/// How a format is packed.
pub(super) struct Layout {
    format: &'static str,
    kernel: &'static str,
    /// Bytes of a tile's codes, of a row's scales there, and of a row's head.
    sizes: [usize; 3],
    /// What no magnitude of a row is above; whatever is not finite does not count.
    top: fn(&Row<'_>) -> f32,
    /// What a row of a tile has.
    take: fn(&mut Part, &Row<'_>, usize),
    /// Puts the codes of a row where its lanes need them.
    place: fn(&mut [u8], usize, &Codes),
}

/// A row of a matrix.
struct Row<'a> {
    bytes: &'a [u8],
    /// Of floats, what they are.
    values: &'a [f32],
    power: f32,
}

/// 64 columns of a row.
struct Part {
    codes: Codes,
    scales: [u8; 4],
    head: [u8; 4],
}

type Codes = [u32; COLUMNS];

static LAYOUTS: [Layout; 9] = [
    Layout {
        format: "q8_0",
        kernel: "q8_0",
        sizes: [1024, 4, 0],
        top: |row| top(row, 34, |b| 128.0 * half(b)),
        take: take_q8_0,
        place: bytes,
    },
    Layout {
        format: "q4_0",
        kernel: "q4_0",
        sizes: [512, 4, 0],
        top: |row| top(row, 18, |b| 8.0 * half(b)),
        take: take_q4_0,
        place: nibbles_apart,
    },
    Layout {
        format: "q4_k",
        kernel: "q4_k",
        sizes: [512, 4, 4],
        top: |row| top(row, 144, |b| 63.0 * (15.0 * half(b)).max(half(&b[2..]))),
        take: take_q4_k,
        place: nibbles_apart,
    },
    Layout {
        format: "q6_k",
        kernel: "q6_k",
        sizes: [768, 4, 2],
        top: |row| top(row, 210, |b| 128.0 * 32.0 * half(&b[208..])),
        take: take_q6_k,
        place: nibbles_and_pairs,
    },
    Layout {
        format: "iq4_xs",
        kernel: "iq4_xs",
        sizes: [512, 2, 2],
        top: |row| top(row, 136, |b| 32.0 * 127.0 * half(b)),
        take: take_iq4_xs,
        place: nibbles_together,
    },
    Layout {
        format: "mxfp4",
        kernel: "mxfp4",
        sizes: [512, 2, 0],
        top: |row| top(row, 17, |b| 6.0 * (f32::from(b[0]) - 127.0).exp2()),
        take: take_mxfp4,
        place: signs_and_magnitudes,
    },
    Layout {
        format: "f16",
        kernel: "f16",
        sizes: [2048, 0, 0],
        top: top_of_floats,
        take: take_floats::<1>,
        place: halves::<1>,
    },
    Layout {
        format: "bf16",
        kernel: "f16",
        sizes: [2048, 0, 0],
        top: top_of_floats,
        take: take_floats::<1>,
        place: halves::<1>,
    },
    Layout {
        format: "f32",
        kernel: "f32",
        sizes: [4096, 0, 0],
        top: top_of_floats,
        take: take_floats::<2>,
        place: halves::<2>,
    },
];

/// Pack whole rows of `columns` values; `None` for a format that is not packed. What is left of the last tiles is zero.
///
/// Integers stay what they are. Floats become halves, times the power of their row; f32 the sum of two of them: 22 bits.
///
/// # Panics
/// When `bytes` are no whole number of rows.
pub fn pack(format: &Format, columns: usize, bytes: &[u8]) -> Option<Packed> {
    let layout = LAYOUTS.iter().find(|layout| layout.format == format.name)?;
    let [code_bytes, scale_bytes, head_bytes] = layout.sizes;
    let row_bytes = columns / format.block * format.bytes;
    assert!(columns.is_multiple_of(format.block) && bytes.len().is_multiple_of(row_bytes), "no whole rows");
    let (rows, tiles) = ((bytes.len() / row_bytes).div_ceil(ROWS), columns.div_ceil(COLUMNS));
    let supers = columns.div_ceil(SUPER);
    let mut packed = Packed {
        kernel: layout.kernel,
        codes: vec![0; rows * tiles * code_bytes],
        scales: vec![0; rows * tiles * ROWS * scale_bytes],
        heads: vec![0; rows * supers * ROWS * head_bytes],
        powers: vec![1.0; rows * ROWS],
    };
    let decode = format.decoder().filter(|_| format.block == 1);
    let mut values = vec![0.0; if decode.is_some() { columns } else { 0 }];
    for (row, bytes) in bytes.chunks_exact(row_bytes).enumerate() {
        if let Some(decode) = decode {
            decode(Level::SCALAR, bytes, &mut values);
        }
        let mut own = Row { bytes, values: &values, power: 1.0 };
        own.power = power_for((layout.top)(&own));
        packed.powers[row] = own.power;
        let (above, row) = (row / ROWS, row % ROWS);
        for tile in 0..tiles {
            let mut part = Part { codes: [0; COLUMNS], scales: [0; 4], head: [0; 4] };
            (layout.take)(&mut part, &own, tile);
            let at = above * tiles + tile;
            (layout.place)(&mut packed.codes[at * code_bytes..][..code_bytes], row, &part.codes);
            let to = &mut packed.scales[(at * ROWS + row) * scale_bytes..][..scale_bytes];
            to.copy_from_slice(&part.scales[..scale_bytes]);
            let super_block = above * supers + tile * COLUMNS / SUPER;
            let to = &mut packed.heads[(super_block * ROWS + row) * head_bytes..][..head_bytes];
            to.copy_from_slice(&part.head[..head_bytes]);
        }
    }
    Some(packed)
}

/// The codes of a row, each with its lane, and what it is there: half `high` of register `e` of product `w`.
fn places(row: usize, codes: &Codes) -> impl Iterator<Item = (usize, [usize; 3], u32)> {
    let place =
        move |(k, code): (usize, &u32)| (row % 8 * 4 + k % 16 / 4, [k / 16, k % 4 / 2 * 2 + row / 8, k % 2], *code);
    codes.iter().enumerate().map(place)
}

fn bytes(tile: &mut [u8], row: usize, codes: &Codes) {
    for (lane, [w, e, high], code) in places(row, codes) {
        let word = w % 2 * 2 + e / 2;
        tile[w / 2 * 512 + lane * 16 + word * 4 + e % 2 * 2 + high] = code as u8;
    }
}

/// The two of a register are in different half-words.
fn nibbles_apart(tile: &mut [u8], row: usize, codes: &Codes) {
    for (lane, [w, e, high], code) in places(row, codes) {
        tile[lane * 16 + w * 4 + high * 2 + e / 2] |= (code as u8 & 15) << (4 * (e % 2));
    }
}

/// The two of a register are one byte.
fn nibbles_together(tile: &mut [u8], row: usize, codes: &Codes) {
    for (lane, [w, e, high], code) in places(row, codes) {
        tile[lane * 16 + w * 4 + e] |= (code as u8) << (4 * high);
    }
}

fn nibbles_and_pairs(tile: &mut [u8], row: usize, codes: &Codes) {
    nibbles_apart(tile, row, codes);
    for (lane, [w, e, high], code) in places(row, codes) {
        tile[512 + lane * 8 + w / 2 * 4 + high * 2 + w % 2] |= (code as u8 >> 4) << (2 * e);
    }
}

/// Of the four codes of a half-word, the three lower bits one after the other, and the upper ones where shifts by as many bits
/// bring them to the uppermost bit.
fn signs_and_magnitudes(tile: &mut [u8], row: usize, codes: &Codes) {
    const SIGNS: [u32; 4] = [15, 12, 14, 13];
    for (lane, [w, e, high], code) in places(row, codes) {
        let bits = (code & 7) << (9 - 3 * e) | code >> 3 << SIGNS[e];
        for (byte, bits) in tile[lane * 16 + w * 4 + high * 2..].iter_mut().zip([bits, bits >> 8]) {
            *byte |= bits as u8;
        }
    }
}

/// The halves of codes, the lower ones first.
fn halves<const PLANES: usize>(tile: &mut [u8], row: usize, codes: &Codes) {
    for (lane, [w, e, high], code) in places(row, codes) {
        for (plane, bytes) in code.to_le_bytes().chunks_exact(2).take(PLANES).enumerate() {
            tile[(w * PLANES + plane) * 512 + lane * 16 + e * 4 + high * 2..][..2].copy_from_slice(bytes);
        }
    }
}

/// A power of two that brings this between 2^14 and 2^15, or as close as one whose inverse is normal can.
fn power_for(top: f32) -> f32 {
    let exponent = (top.to_bits() >> 23) as i32 - 127;
    f32::from_bits((((14 - exponent).min(126) + 127) as u32) << 23)
}

/// The largest magnitude, from those of blocks.
fn top(row: &Row<'_>, bytes: usize, of: impl Fn(&[u8]) -> f32) -> f32 {
    largest(row.bytes.chunks_exact(bytes).map(of))
}

fn top_of_floats(row: &Row<'_>) -> f32 {
    largest(row.values.iter().copied())
}

fn largest(values: impl Iterator<Item = f32>) -> f32 {
    let finite = values.map(|value| if value.is_finite() { value.abs() } else { 0.0 });
    finite.fold(0.0, |top, size| if size > top { size } else { top })
}

/// The magnitude of a half.
fn half(bytes: &[u8]) -> f32 {
    f16::from_le_bytes([bytes[0], bytes[1]]).to_f32().abs()
}

fn take_floats<const PLANES: usize>(part: &mut Part, row: &Row<'_>, tile: usize) {
    let values = &row.values[tile * COLUMNS..];
    let mut left = [0.0; COLUMNS];
    left.iter_mut().zip(values).for_each(|(left, value)| *left = value * row.power);
    for plane in 0..PLANES {
        let (mut halves, mut singles) = ([f16::ZERO; COLUMNS], [0.0; COLUMNS]);
        halves.convert_from_f32_slice(&left);
        halves.convert_to_f32_slice(&mut singles);
        for n in 0..COLUMNS {
            part.codes[n] |= u32::from(halves[n].to_bits()) << (16 * plane);
            // Of what is not finite nothing is left.
            left[n] = if singles[n].is_finite() { left[n] - singles[n] } else { 0.0 };
        }
    }
}

/// Blocks of 32 values in a tile, each with its place there.
fn thirty_twos(row: &[u8], tile: usize, bytes: usize) -> impl Iterator<Item = (usize, &[u8])> {
    row.chunks_exact(bytes).skip(2 * tile).take(2).enumerate()
}

/// Low halves of bytes, then high halves.
fn take_nibbles(bytes: &[u8], codes: &mut [u32]) {
    let (low, high) = codes.split_at_mut(bytes.len());
    for ((byte, low), high) in bytes.iter().zip(low).zip(high) {
        (*low, *high) = (u32::from(byte & 15), u32::from(byte >> 4));
    }
}

fn take_q8_0(part: &mut Part, row: &Row<'_>, tile: usize) {
    for (n, block) in thirty_twos(row.bytes, tile, 34) {
        part.scales[2 * n..][..2].copy_from_slice(&block[..2]);
        for (code, byte) in part.codes[32 * n..].iter_mut().zip(&block[2..]) {
            *code = u32::from(byte ^ 128);
        }
    }
}

fn take_q4_0(part: &mut Part, row: &Row<'_>, tile: usize) {
    for (n, block) in thirty_twos(row.bytes, tile, 18) {
        part.scales[2 * n..][..2].copy_from_slice(&block[..2]);
        take_nibbles(&block[2..], &mut part.codes[32 * n..][..32]);
    }
}

fn take_mxfp4(part: &mut Part, row: &Row<'_>, tile: usize) {
    for (n, block) in thirty_twos(row.bytes, tile, 17) {
        part.scales[n] = block[0];
        take_nibbles(&block[1..], &mut part.codes[32 * n..][..32]);
    }
}

/// The block of 256 values that a tile is in, and which quarter it is.
fn quarter(row: &[u8], tile: usize, bytes: usize) -> (&[u8], usize) {
    (&row[tile / 4 * bytes..][..bytes], tile % 4)
}

fn take_q4_k(part: &mut Part, row: &Row<'_>, tile: usize) {
    let (block, n) = quarter(row.bytes, tile, 144);
    part.head.copy_from_slice(&block[..4]);
    let packed = &block[4..16];
    for (half, scales) in part.scales.chunks_exact_mut(2).enumerate() {
        let sub = 2 * n + half;
        (scales[0], scales[1]) = match sub.checked_sub(4) {
            None => (packed[sub] & 63, packed[sub + 4] & 63),
            Some(j) => (packed[j + 8] & 15 | packed[j] >> 6 << 4, packed[j + 8] >> 4 | packed[j + 4] >> 6 << 4),
        };
    }
    take_nibbles(&block[16 + 32 * n..][..32], &mut part.codes);
}

fn take_q6_k(part: &mut Part, row: &Row<'_>, tile: usize) {
    let (block, n) = quarter(row.bytes, tile, 210);
    part.head[..2].copy_from_slice(&block[208..210]);
    part.scales.copy_from_slice(&block[192 + 4 * n..][..4]);
    let (low, upper) = (&block[n / 2 * 64..][..64], &block[128 + n / 2 * 32..][..32]);
    for (k, code) in part.codes.iter_mut().enumerate() {
        let pair = upper[k % 32] >> (2 * (n % 2 * 2 + k / 32)) & 3;
        *code = u32::from(low[k] >> (4 * (n % 2)) & 15 | pair << 4);
    }
}

fn take_iq4_xs(part: &mut Part, row: &Row<'_>, tile: usize) {
    let (block, n) = quarter(row.bytes, tile, 136);
    part.head[..2].copy_from_slice(&block[..2]);
    let upper = u16::from_le_bytes([block[2], block[3]]);
    for half in 0..2 {
        let sub = 2 * n + half;
        let scale = block[4 + sub / 2] >> (sub % 2 * 4) & 15 | ((upper >> (2 * sub) & 3) as u8) << 4;
        part.scales[half] = scale.wrapping_sub(32);
        take_nibbles(&block[8 + 16 * sub..][..16], &mut part.codes[32 * half..][..32]);
    }
}
