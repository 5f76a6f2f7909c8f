//! Products of bf16 with bf16, summed in f32.
//!
//! Numbers lie in pairs of neighbours along a row, a word each. A panel is one line after another, each with a pair of every
//! row; a column of activations is one line after another, each with sixteen of its pairs. Both are filled up with zeros
//! to whole blocks of 32 numbers, and columns to whole sixteens.
//!
//! The sum of a block begins with zero twice, for the first number of each pair and for the second, and both go to the sum
//! of the blocks before it, as AMX adds up (`tdpbf16ps`, Intel's manual, volume 2). A product of two such numbers is exact
//! in f32. Numbers below 2^-56 count as zero: then no sum but zero is subnormal, which AMX would not keep, and results are
//! the same bits at every level.

use super::activations::{Activations, BLOCK, Block};
use super::out::Out;
use super::{Input, PANEL, Panels, Product, View, level};
use crate::Level;
use crate::format::round_to_bf16;
#[cfg(target_arch = "x86_64")]
use crate::simd::Tiles;
use crate::simd::{DotLanes, Isa, Op, run};

/// Bytes of a line: a pair of each of sixteen rows.
const LINE: usize = 4 * PANEL;
/// Pairs of a block.
const PAIRS: usize = BLOCK / 2;
/// 2^-56 as bf16: what is below counts as zero.
const LEAST: u16 = (127 - 56) << 7;

pub(super) const PRODUCT: Product = Product { input: Input::Bf16, panel, pack, multiply };

fn panel(columns: usize) -> usize {
    columns.div_ceil(BLOCK) * PAIRS * LINE
}

#[inline(always)]
fn kept(number: u16) -> u32 {
    if number & 0x7fff < LEAST { 0 } else { u32::from(number) }
}

/// Two numbers as a word.
#[inline(always)]
fn pair(first: f32, second: f32) -> u32 {
    kept(round_to_bf16(first)) | kept(round_to_bf16(second)) << 16
}

/// See [`Product`].
fn pack(rows: &[u8], row_bytes: usize, panel: &mut [u8]) {
    for (r, row) in rows.chunks_exact(row_bytes).enumerate() {
        for (pair, line) in row.chunks(4).zip(panel.chunks_exact_mut(LINE)) {
            for (number, to) in pair.as_chunks::<2>().0.iter().zip(line[4 * r..].as_chunks_mut::<2>().0) {
                *to = (kept(u16::from_le_bytes(*number)) as u16).to_le_bytes();
            }
        }
    }
}

/// Sixteen times sixteen words, as bits of values.
type Square = [[f32; PANEL]; PANEL];

/// Where the lines of a square go.
trait Lines {
    fn put(&mut self, n: usize, line: &[f32; PANEL]);
}

impl Lines for &mut [u8] {
    #[inline(always)]
    fn put(&mut self, n: usize, line: &[f32; PANEL]) {
        let to = self[n * LINE..][..LINE].as_chunks_mut::<4>().0;
        to.iter_mut().zip(line).for_each(|(to, word)| *to = word.to_bits().to_le_bytes());
    }
}

impl Lines for &mut [Block; PANEL] {
    #[inline(always)]
    fn put(&mut self, n: usize, line: &[f32; PANEL]) {
        self[n].0 = line.map(f32::to_bits);
    }
}

/// The panel of all rows of `view`, at most sixteen.
pub(super) fn pack_panel(level: Level, view: View<'_>, panel: &mut [u8]) {
    for (first, to) in (0..view.columns()).step_by(BLOCK).zip(panel.chunks_exact_mut(PAIRS * LINE)) {
        run(level, Take { view, first, by_row: false, to });
    }
}

/// All rows of `view`, each a column of activations.
pub(super) fn pack_columns(level: Level, view: View<'_>, to: &mut Vec<Block>) {
    let steps = view.columns().div_ceil(BLOCK);
    to.resize(view.rows().next_multiple_of(PANEL) * steps, Block([0; PANEL]));
    let mut tiles = to.as_chunks_mut::<PANEL>().0.iter_mut();
    for row in (0..view.rows()).step_by(PANEL) {
        let view = view.part(row..view.rows().min(row + PANEL), 0..view.columns());
        for (first, to) in (0..view.columns()).step_by(BLOCK).zip(&mut tiles) {
            run(level, Take { view, first, by_row: true, to });
        }
    }
}

/// The pairs of 32 columns of all rows of a view, at most sixteen, from column `first` on: row by row, or pair by pair.
struct Take<'a, T> {
    view: View<'a>,
    first: usize,
    by_row: bool,
    to: T,
}

impl<T: Lines> Op for Take<'_, T> {
    type Output = ();

    #[inline(always)]
    fn body<L: DotLanes>(self, l: L) {
        let Take { view, first, by_row, mut to } = self;
        let mut square = [[0.0; PANEL]; PANEL];
        fill(view, first, &mut square);
        let mut turned = [[0.0; PANEL]; PANEL];
        let lines = if view.is_transposed() == by_row {
            l.transpose(square.as_flattened(), PANEL, &mut turned);
            &turned
        } else {
            &square
        };
        lines.iter().enumerate().for_each(|(n, line)| to.put(n, line));
    }
}

/// Row by row, or pair by pair where that is how they lie in memory.
#[inline(always)]
fn fill(view: View<'_>, first: usize, to: &mut Square) {
    let columns = first..view.columns().min(first + BLOCK);
    if !view.is_transposed() {
        for (row, to) in to.iter_mut().enumerate().take(view.rows()) {
            let numbers: [f32; BLOCK] = filled_up(view.run(row, columns.clone()));
            for (to, numbers) in to.iter_mut().zip(numbers.as_chunks::<2>().0) {
                *to = f32::from_bits(pair(numbers[0], numbers[1]));
            }
        }
        return;
    }
    for (column, to) in columns.clone().step_by(2).zip(to) {
        let one: [f32; PANEL] = filled_up(view.run(column, 0..view.rows()));
        let next = if column + 1 < columns.end { view.run(column + 1, 0..view.rows()) } else { &[] };
        let next: [f32; PANEL] = filled_up(next);
        for (to, (one, next)) in to.iter_mut().zip(one.iter().zip(&next)) {
            *to = f32::from_bits(pair(*one, *next));
        }
    }
}

#[inline(always)]
fn filled_up<const N: usize>(values: &[f32]) -> [f32; N] {
    let mut all = [0.0; N];
    match values.first_chunk() {
        Some(values) => all = *values,
        None => all[..values.len()].copy_from_slice(values),
    }
    all
}

fn multiply(level: Level, panels: Panels<'_>, x: &Activations, out: &mut Out<'_>) {
    match level.0 {
        #[cfg(target_arch = "x86_64")]
        Isa::Amx => by_tiles(level, panels, x, out),
        _ => level::multiply::<Body>(level, panels, x, out),
    }
}

/// Two panels times 32 columns at a time, at the level of AMX.
#[cfg(target_arch = "x86_64")]
fn by_tiles(level: Level, panels: Panels<'_>, x: &Activations, out: &mut Out<'_>) {
    let steps = x.width().div_ceil(BLOCK);
    let (panels, tiles): (Vec<_>, Vec<_>) = (panels.iter().collect(), x.blocks().chunks(steps * PANEL).collect());
    assert!(panels.iter().all(|panel| panel.len() >= steps * PAIRS * LINE));
    assert!(tiles.iter().all(|tile| tile.len() == steps * PANEL));
    // SAFETY: it is the level of AMX.
    let amx = unsafe { Tiles::new() };
    for (n, w) in panels.chunks(2).enumerate() {
        for (c, x) in tiles.chunks(2).enumerate() {
            // Where there is one left, it stands for two.
            let (xs, ws) = ([x[0], x[x.len() - 1]], [w[0], w[w.len() - 1]]);
            let (xs, ws) = (xs.map(|x| x.as_ptr().cast()), ws.map(<[u8]>::as_ptr));
            if let Some((to, stride)) = out.square(2 * n, 2 * c * PANEL) {
                // SAFETY: as many tiles are there, as asserted above, and so is the square.
                unsafe { amx.multiply(steps, xs, ws, to, stride) };
                continue;
            }
            let mut to = [[0.0; 2 * PANEL]; 2 * PANEL];
            // SAFETY: as above.
            unsafe { amx.multiply(steps, xs, ws, to.as_mut_ptr().cast(), 2 * PANEL) };
            run(level, Put { square: &to, panels: w.len(), out, at: (2 * n, 2 * c * PANEL) });
        }
    }
}

/// The products of at most two panels and 32 columns, from those of `at` on.
#[cfg(target_arch = "x86_64")]
struct Put<'a, 'o> {
    square: &'a [[f32; 2 * PANEL]; 2 * PANEL],
    panels: usize,
    out: &'a mut Out<'o>,
    at: (usize, usize),
}

#[cfg(target_arch = "x86_64")]
impl Op for Put<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn body<L: DotLanes>(self, _: L) {
        for (column, rows) in (self.at.1..self.out.columns()).zip(self.square) {
            for (n, rows) in rows.as_chunks::<PANEL>().0.iter().enumerate().take(self.panels) {
                self.out.put(self.at.0 + n, column, rows);
            }
        }
    }
}

struct Body;

impl level::Body for Body {
    #[inline(always)]
    fn multiply<L: DotLanes>(l: L, panels: Panels<'_>, x: &Activations, out: &mut Out<'_>) {
        for (n, panel) in panels.iter().enumerate() {
            let mut first = 0;
            while first < x.columns() {
                let left = x.columns() - first;
                first += if L::PAIRS && left >= 6 {
                    columns::<L, 6>(l, panel, x, out, (n, first))
                } else if L::COLUMNS > 1 && left >= 2 {
                    columns::<L, 2>(l, panel, x, out, (n, first))
                } else {
                    columns::<L, 1>(l, panel, x, out, (n, first))
                };
            }
        }
    }
}

/// A panel times `M` columns, from those of `at` on; gives how many.
#[inline(always)]
fn columns<L: DotLanes, const M: usize>(
    l: L,
    panel: &[u8],
    x: &Activations,
    out: &mut Out<'_>,
    at: (usize, usize),
) -> usize {
    let steps = x.width().div_ceil(BLOCK);
    let mut blocks = [&[] as &[Block]; M];
    for (j, blocks) in blocks.iter_mut().enumerate() {
        let (tile, row) = ((at.1 + j) / PANEL, (at.1 + j) % PANEL);
        *blocks = &x.blocks()[tile * steps * PANEL + row..][..(steps - 1) * PANEL + 1];
    }
    let mut sums = [l.splat(0.0); M];
    for (step, lines) in panel.chunks_exact(PAIRS * LINE).take(steps).enumerate() {
        let (mut firsts, mut seconds) = ([l.splat(0.0); M], [l.splat(0.0); M]);
        for (k, line) in lines.as_chunks::<LINE>().0.iter().enumerate() {
            let (first, second) = l.bf16_pairs(line);
            for j in 0..M {
                let word = blocks[j][step * PANEL].0[k];
                firsts[j] = l.fma(first, l.splat(f32::from_bits(word << 16)), firsts[j]);
                seconds[j] = l.fma(second, l.splat(f32::from_bits(word & 0xffff_0000)), seconds[j]);
            }
        }
        for j in 0..M {
            sums[j] = l.add(sums[j], l.add(firsts[j], seconds[j]));
        }
    }
    for (j, sum) in sums.into_iter().enumerate() {
        let mut rows = [0.0; PANEL];
        l.store(sum, &mut rows);
        out.put(at.0, at.1 + j, &rows);
    }
    M
}
