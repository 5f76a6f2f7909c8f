//! Weights in the order in which lanes of a warp need them: see `cuda/matmul_few.cu`.

use crate::Format;

/// Rows and columns of a tile.
pub(super) const ROWS: usize = 16;
pub(super) const COLUMNS: usize = 64;
/// Columns that have one head.
const SUPER: usize = 256;

/// A packed matrix.
#[derive(Debug, PartialEq, Eq)]
pub struct Packed {
    /// Of each tile, lane by lane.
    pub codes: Vec<u8>,
    /// Of each tile, row by row.
    pub scales: Vec<u8>,
    /// Of each 256 columns of 16 rows, row by row.
    pub heads: Vec<u8>,
}

/// How a format is packed.
pub(super) struct Layout {
    name: &'static str,
    /// Bytes of a tile's codes, of a row's scales there, and of a row's head.
    sizes: [usize; 3],
    place: Place,
    /// What a row of a tile has, from the row's blocks that are there.
    take: fn(&mut Part, &[u8], usize),
}

/// Puts the code of a lane that is half `high` of register `e` of its product `w`: (w, e, high).
type Place = fn(tile: &mut [u8], lane: usize, product: (usize, usize, usize), code: u8);

/// 64 columns of a row.
#[derive(Default)]
struct Part {
    codes: Codes,
    scales: [u8; 4],
    head: [u8; 4],
}

struct Codes([u8; COLUMNS]);

impl Default for Codes {
    fn default() -> Codes {
        Codes([0; COLUMNS])
    }
}

static LAYOUTS: [Layout; 6] = [
    Layout { name: "q8_0", sizes: [1024, 4, 0], place: whole_byte, take: take_q8_0 },
    Layout { name: "q4_0", sizes: [512, 4, 0], place: nibble, take: take_q4_0 },
    Layout { name: "q4_k", sizes: [512, 4, 4], place: nibble, take: take_q4_k },
    Layout { name: "q6_k", sizes: [768, 4, 2], place: nibble_and_pair, take: take_q6_k },
    Layout { name: "iq4_xs", sizes: [512, 2, 2], place: nibble, take: take_iq4_xs },
    Layout { name: "mxfp4", sizes: [512, 2, 0], place: nibble, take: take_mxfp4 },
];

impl Layout {
    /// That of a format, if it is packed.
    pub(super) fn of(format: &Format) -> Option<&'static Layout> {
        LAYOUTS.iter().find(|layout| layout.name == format.name)
    }
}

/// Pack whole rows of `columns` values; `None` for a format that is not packed. What is left of the last tiles is zero.
///
/// # Panics
/// When `bytes` are no whole number of rows.
pub fn pack(format: &Format, columns: usize, bytes: &[u8]) -> Option<Packed> {
    let Layout { sizes: [code_bytes, scale_bytes, head_bytes], place, take, .. } = Layout::of(format)?;
    let row_bytes = columns / format.block * format.bytes;
    assert!(columns.is_multiple_of(format.block) && bytes.len().is_multiple_of(row_bytes), "no whole rows");
    let (rows, tiles) = ((bytes.len() / row_bytes).div_ceil(ROWS), columns.div_ceil(COLUMNS));
    let supers = columns.div_ceil(SUPER);
    let mut packed = Packed {
        codes: vec![0; rows * tiles * code_bytes],
        scales: vec![0; rows * tiles * ROWS * scale_bytes],
        heads: vec![0; rows * supers * ROWS * head_bytes],
    };
    for (row, bytes) in bytes.chunks_exact(row_bytes).enumerate() {
        let (above, row) = (row / ROWS, row % ROWS);
        for tile in 0..tiles {
            let mut part = Part::default();
            take(&mut part, bytes, tile);
            let at = above * tiles + tile;
            let codes = &mut packed.codes[at * code_bytes..][..*code_bytes];
            for (k, code) in part.codes.0.iter().enumerate() {
                let lane = row % 8 * 4 + k % 16 / 4;
                place(codes, lane, (k / 16, k % 4 / 2 * 2 + row / 8, k % 2), *code);
            }
            packed.scales[(at * ROWS + row) * scale_bytes..][..*scale_bytes]
                .copy_from_slice(&part.scales[..*scale_bytes]);
            let super_block = above * supers + tile * COLUMNS / SUPER;
            packed.heads[(super_block * ROWS + row) * head_bytes..][..*head_bytes]
                .copy_from_slice(&part.head[..*head_bytes]);
        }
    }
    Some(packed)
}

fn whole_byte(tile: &mut [u8], lane: usize, (w, e, high): (usize, usize, usize), code: u8) {
    let word = w % 2 * 2 + e / 2;
    tile[w / 2 * 512 + lane * 16 + word * 4 + e % 2 * 2 + high] = code;
}

fn nibble(tile: &mut [u8], lane: usize, (w, e, high): (usize, usize, usize), code: u8) {
    tile[lane * 16 + w * 4 + high * 2 + e / 2] |= (code & 15) << (4 * (e % 2));
}

fn nibble_and_pair(tile: &mut [u8], lane: usize, (w, e, high): (usize, usize, usize), code: u8) {
    nibble(tile, lane, (w, e, high), code);
    tile[512 + lane * 8 + w * 2 + high] |= (code >> 4) << (2 * e);
}

/// Blocks of 32 values in a tile, each with its place there.
fn halves_of(row: &[u8], tile: usize, bytes: usize) -> impl Iterator<Item = (usize, &[u8])> {
    row.chunks_exact(bytes).skip(2 * tile).take(2).enumerate()
}

/// Low halves of bytes, then high halves.
fn nibbles(bytes: &[u8], codes: &mut [u8]) {
    let (low, high) = codes.split_at_mut(bytes.len());
    for ((byte, low), high) in bytes.iter().zip(low).zip(high) {
        (*low, *high) = (byte & 15, byte >> 4);
    }
}

fn take_q8_0(part: &mut Part, row: &[u8], tile: usize) {
    for (n, block) in halves_of(row, tile, 34) {
        part.scales[2 * n..][..2].copy_from_slice(&block[..2]);
        for (code, byte) in part.codes.0[32 * n..].iter_mut().zip(&block[2..]) {
            *code = byte ^ 128;
        }
    }
}

fn take_q4_0(part: &mut Part, row: &[u8], tile: usize) {
    for (n, block) in halves_of(row, tile, 18) {
        part.scales[2 * n..][..2].copy_from_slice(&block[..2]);
        nibbles(&block[2..], &mut part.codes.0[32 * n..][..32]);
    }
}

fn take_mxfp4(part: &mut Part, row: &[u8], tile: usize) {
    for (n, block) in halves_of(row, tile, 17) {
        part.scales[n] = block[0];
        nibbles(&block[1..], &mut part.codes.0[32 * n..][..32]);
    }
}

/// The block of 256 values that a tile is in, and which quarter it is.
fn quarter(row: &[u8], tile: usize, bytes: usize) -> (&[u8], usize) {
    (&row[tile / 4 * bytes..][..bytes], tile % 4)
}

fn take_q4_k(part: &mut Part, row: &[u8], tile: usize) {
    let (block, n) = quarter(row, tile, 144);
    part.head.copy_from_slice(&block[..4]);
    let packed = &block[4..16];
    for (half, scales) in part.scales.chunks_exact_mut(2).enumerate() {
        let sub = 2 * n + half;
        (scales[0], scales[1]) = match sub.checked_sub(4) {
            None => (packed[sub] & 63, packed[sub + 4] & 63),
            Some(j) => (packed[j + 8] & 15 | packed[j] >> 6 << 4, packed[j + 8] >> 4 | packed[j + 4] >> 6 << 4),
        };
    }
    nibbles(&block[16 + 32 * n..][..32], &mut part.codes.0);
}

fn take_q6_k(part: &mut Part, row: &[u8], tile: usize) {
    let (block, n) = quarter(row, tile, 210);
    part.head[..2].copy_from_slice(&block[208..210]);
    part.scales.copy_from_slice(&block[192 + 4 * n..][..4]);
    let (low, upper) = (&block[n / 2 * 64..][..64], &block[128 + n / 2 * 32..][..32]);
    for (k, code) in part.codes.0.iter_mut().enumerate() {
        let pair = upper[k % 32] >> (2 * (n % 2 * 2 + k / 32)) & 3;
        *code = low[k] >> (4 * (n % 2)) & 15 | pair << 4;
    }
}

fn take_iq4_xs(part: &mut Part, row: &[u8], tile: usize) {
    let (block, n) = quarter(row, tile, 136);
    part.head[..2].copy_from_slice(&block[..2]);
    let upper = u16::from_le_bytes([block[2], block[3]]);
    for half in 0..2 {
        let sub = 2 * n + half;
        let scale = block[4 + sub / 2] >> (sub % 2 * 4) & 15 | ((upper >> (2 * sub) & 3) as u8) << 4;
        part.scales[half] = scale.wrapping_sub(32);
        nibbles(&block[8 + 16 * sub..][..16], &mut part.codes.0[32 * half..][..32]);
    }
}
