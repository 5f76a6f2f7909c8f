//! What the machine gives.

use crate::error::Result;
use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// As many threads as affinity and cgroup leave to the process.
pub fn all_threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// What the kernel says can still be used, within the cgroup's bound.
pub fn available_memory() -> Option<u64> {
    let free = field(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")?.checked_mul(1024)?;
    Some(free.min(left_to_group(Path::new("/sys/fs/cgroup")).unwrap_or(u64::MAX)))
}

/// The most memory that the process has held, in bytes.
pub fn peak_memory() -> Option<u64> {
    status("VmHWM:")
}

/// Let [`peak_memory`] begin anew; gives what the process holds at present.
pub fn restart_peak_memory() -> Option<u64> {
    // The kernel's word for it, see proc(5).
    fs::write("/proc/self/clear_refs", "5").ok()?;
    status("VmRSS:")
}

fn status(name: &str) -> Option<u64> {
    field(&fs::read_to_string("/proc/self/status").ok()?, name)?.checked_mul(1024)
}

/// What the bound of a cgroup leaves. Pages of files count as used there, but make room when it is needed.
fn left_to_group(folder: &Path) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    let files = read("memory.stat")
        .map_or(0, |stat| ["inactive_file ", "active_file "].iter().filter_map(|name| field(&stat, name)).sum::<u64>());
    let used = number("memory.current")?.saturating_sub(files);
    Some(number("memory.max")?.saturating_sub(used))
}

/// The number in the line that begins with `name`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// `work(0)`, `work(1)` ... up to `count`, shared among threads; results in order.
///
/// # Errors
/// The error of the lowest number that has one.
pub fn in_parallel<T: Send>(threads: usize, count: usize, work: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let worker = || {
        let mut done = Vec::new();
        // A failure lets what was begun before come to its end, so the lowest one is always among the results.
        while !stop.load(Ordering::Relaxed) {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= count {
                break;
            }
            let result = work(n);
            stop.fetch_or(result.is_err(), Ordering::Relaxed);
            done.push((n, result));
        }
        done
    };
    let mut all: Vec<(usize, Result<T>)> = std::thread::scope(|scope| {
        // A system that gives fewer threads than asked gets the work done by those, and by this one.
        let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, worker).ok();
        let workers: Vec<_> = (1..threads.clamp(1, count.max(1))).map_while(spawn).collect();
        let own = worker();
        let join = |w: std::thread::ScopedJoinHandle<'_, _>| w.join().unwrap_or_else(|p| std::panic::resume_unwind(p));
        workers.into_iter().flat_map(join).chain(own).collect()
    });
    all.sort_by_key(|(n, _)| *n);
    all.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_leaves_its_bound_without_what_is_used_for_more_than_files() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        assert_eq!(left_to_group(dir.path()), None);
        write("memory.max", "max\n");
        write("memory.current", "700\n");
        assert_eq!(left_to_group(dir.path()), None);
        write("memory.max", "1000\n");
        assert_eq!(left_to_group(dir.path()), Some(300));
        write("memory.stat", "anon 100\nfile 650\ninactive_file 400\nactive_file 200\n");
        assert_eq!(left_to_group(dir.path()), Some(900));
    }

    #[test]
    fn a_peak_is_that_since_the_last_start() {
        let Some(before) = restart_peak_memory() else { return };
        let held = std::hint::black_box(vec![1u8; 64 << 20]);
        drop(held);
        let peak = peak_memory().unwrap();
        assert!(peak >= before + (60 << 20), "{peak} after {before}");
        restart_peak_memory().unwrap();
        assert!(peak_memory().unwrap() < peak);
    }

    #[test]
    fn there_is_memory() {
        assert!(available_memory().is_some_and(|bytes| bytes > 1 << 20));
    }
}
