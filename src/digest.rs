//! BLAKE3 of files, on several threads.

use crate::machine::all_threads;
use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};
use blake3::{Hash, Hasher};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that a thread hashes at once: a subtree, so a power of two.
const PART: u64 = 1 << 18;

/// The hash of a whole file.
///
/// # Errors
/// What reading it says, also when it becomes shorter meanwhile.
pub(crate) fn of_file(file: &File) -> io::Result<Hash> {
    let len = file.metadata()?.len();
    let parts = len.div_ceil(PART);
    if parts < 2 {
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, 0)?;
        return Ok(blake3::hash(&bytes));
    }
    let next = AtomicU64::new(0);
    let worker = || -> io::Result<Vec<(u64, ChainingValue)>> {
        let mut bytes = vec![0; PART as usize];
        let mut done = Vec::new();
        loop {
            let part = next.fetch_add(1, Ordering::Relaxed);
            if part >= parts {
                return Ok(done);
            }
            let start = part * PART;
            let bytes = &mut bytes[..PART.min(len - start) as usize];
            file.read_exact_at(bytes, start)?;
            let mut hasher = Hasher::new();
            done.push((part, hasher.set_input_offset(start).update(bytes).finalize_non_root()));
        }
    };
    let results: Vec<io::Result<_>> = std::thread::scope(|scope| {
        // A system that gives fewer threads than asked gets the work done by those, and by this one.
        let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, worker).ok();
        let workers: Vec<_> = (1..all_threads().min(parts as usize)).map_while(spawn).collect();
        let own = worker();
        workers.into_iter().map(|w| w.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).chain([own]).collect()
    });
    let mut values = results.into_iter().collect::<io::Result<Vec<_>>>()?.concat();
    values.sort_by_key(|(part, _)| *part);
    let values: Vec<ChainingValue> = values.into_iter().map(|(_, value)| value).collect();
    let (left, right) = values.split_at(left_of(values.len()));
    Ok(merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash))
}

/// The left one of two subtrees is the largest whole one that leaves something for the right one (section 2.1 of the BLAKE3
/// paper).
fn left_of(parts: usize) -> usize {
    parts.next_power_of_two() / 2
}

fn subtree(values: &[ChainingValue]) -> ChainingValue {
    match values {
        [value] => *value,
        _ => {
            let (left, right) = values.split_at(left_of(values.len()));
            merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_hash_of_parts_is_that_of_the_whole() {
        let part = PART as usize;
        let bytes: Vec<u8> = (0..9 * part).map(|n| ((n * n) >> 7) as u8).collect();
        for len in [0, 1, part - 1, part, part + 1, 2 * part, 3 * part + 5, 4 * part, 5 * part, 8 * part, 9 * part - 3]
        {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes[..len]).unwrap();
            assert_eq!(of_file(&file).unwrap(), blake3::hash(&bytes[..len]), "{len} bytes");
        }
    }
}
