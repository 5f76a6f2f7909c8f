//! Merging neighbours until nothing is left to merge: the one loop behind ranked merges and scored pieces.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// No symbol there, or no token for it.
pub(super) const NONE: u32 = u32::MAX;

/// A stretch of the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symbol {
    /// Its first byte.
    pub(super) start: u32,
    /// The byte after its last; equal to `start` once it is merged into its left neighbour.
    pub(super) end: u32,
    /// Its token, or [`NONE`].
    pub(super) id: u32,
    prev: u32,
    next: u32,
}

/// A pair that could be merged: the lowest order first, then the leftmost.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    order: u64,
    left: u32,
    right: u32,
    /// From the left one's start to the right one's end: a candidate is stale once either has changed.
    bytes: u32,
    id: u32,
}

/// Symbols in a row, from the ends and tokens of the stretches.
pub(super) fn row(parts: impl Iterator<Item = (u32, u32)>) -> Vec<Symbol> {
    let mut start = 0;
    let mut symbols: Vec<Symbol> = parts
        .enumerate()
        .map(|(at, (end, id))| {
            let symbol = Symbol { start, end, id, prev: (at as u32).wrapping_sub(1), next: at as u32 + 1 };
            start = end;
            symbol
        })
        .collect();
    if let Some(last) = symbols.last_mut() {
        last.next = NONE;
    }
    symbols
}

/// Merge in place. `pair` gives the order and the token of two neighbours that can be merged. What is left has
/// `start < end`.
pub(super) fn merge(symbols: &mut [Symbol], pair: impl Fn(&Symbol, &Symbol) -> Option<(u64, u32)>) {
    let candidate = |symbols: &[Symbol], left: u32, right: u32| {
        let (a, b) = (symbols.get(left as usize)?, symbols.get(right as usize)?);
        let (order, id) = pair(a, b)?;
        Some(Reverse(Candidate { order, left, right, bytes: b.end - a.start, id }))
    };
    let mut queue: BinaryHeap<_> =
        (1..symbols.len() as u32).filter_map(|right| candidate(symbols, right - 1, right)).collect();
    while let Some(Reverse(best)) = queue.pop() {
        let (a, b) = (symbols[best.left as usize], symbols[best.right as usize]);
        if a.start == a.end || a.next != best.right || b.end - a.start != best.bytes {
            continue;
        }
        symbols[best.left as usize] = Symbol { end: b.end, id: best.id, next: b.next, ..a };
        symbols[best.right as usize].end = b.start;
        if let Some(after) = symbols.get_mut(b.next as usize) {
            after.prev = best.left;
        }
        queue.extend(candidate(symbols, a.prev, best.left));
        queue.extend(candidate(symbols, best.left, b.next));
    }
}
