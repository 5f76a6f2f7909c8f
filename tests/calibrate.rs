//! Collecting statistics: the same figures however much memory there is, and wherever a run was stopped.

mod support;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use support::{at, empty, fixture};
use tersor::Error;
use tersor::calib::{Keep, Statistics, collect};
use tersor::model::Observer;
use tersor::progress::{Progress, Silent};
use tersor::source::Source;
use tersor::windows::{Text, Windows};
use tersor_kernels::Level;

const CONTEXT: usize = 64;

fn source() -> Source {
    Source::open(Path::new(&fixture("tiny-llama"))).unwrap()
}

fn windows(text: &str) -> Windows {
    let path = fixture(&format!("text/{text}.txt"));
    Windows::cut(&source(), &Text { path: Path::new(&path), context: CONTEXT, chunks: Some(5) }).unwrap()
}

fn observer() -> Observer {
    Observer::new(source(), CONTEXT, Level::best(), 1).unwrap()
}

/// Stops when it was asked so many times.
struct Impatient {
    asked: AtomicU64,
    stop: u64,
    heard: AtomicU64,
}

impl Impatient {
    fn new(stop: u64) -> Impatient {
        Impatient { asked: AtomicU64::new(0), stop, heard: AtomicU64::new(0) }
    }
}

impl Progress for Impatient {
    fn advance(&self, units: u64) {
        self.heard.fetch_add(units, Ordering::Relaxed);
    }

    fn cancelled(&self) -> bool {
        self.asked.fetch_add(1, Ordering::Relaxed) >= self.stop
    }
}

fn run(memory: Option<u64>, keep: Option<&mut Keep>, progress: &dyn Progress) -> tersor::Result<Statistics> {
    collect(observer(), &windows("train"), Path::new("train.txt"), memory, keep, progress)
}

/// Room for one block and two contexts: groups of two, so that the last has one.
fn little() -> u64 {
    let observer = observer();
    observer.bytes(0).unwrap() + 4 * 4 * (CONTEXT * observer.hidden()) as u64
}

#[test]
fn block_by_block_gives_the_same_figures() {
    let whole = run(None, None, &Silent).unwrap();
    assert_eq!(run(Some(little()), None, &Silent).unwrap(), whole);
    let found = run(Some(1000), None, &Silent).unwrap_err();
    assert!(matches!(&found, Error::Memory { found, .. } if found == "--memory allows 1.0 kB"), "{found}");
}

#[test]
fn a_run_that_was_stopped_goes_on() {
    let dir = empty();
    let path = dir.path().join("imatrix.gguf.progress");
    let whole = run(None, None, &Silent).unwrap();
    let keep = |every| Keep::new(path.clone(), &source(), "cpu", &windows("train"), every);
    for memory in [None, Some(little())] {
        // Five contexts through four blocks, alone or in three groups.
        for stop in [0, 1, 4, 7, 11] {
            let first = run(memory, Some(&mut keep(Duration::MAX)), &Impatient::new(stop));
            assert!(matches!(first, Err(Error::Interrupted)), "{first:?}");
            let second = Impatient::new(u64::MAX);
            let found = run(memory, Some(&mut keep(Duration::MAX)), &second).unwrap();
            assert_eq!(found, whole, "stopped at {stop}");
            let blocks = second.asked.load(Ordering::Relaxed);
            let all = if memory.is_none() { 20 } else { 12 };
            assert_eq!(blocks, all - stop, "what was done is not done again");
            assert_eq!(second.heard.load(Ordering::Relaxed), windows("train").total());
            fs::remove_file(&path).unwrap();
        }
    }
    // Stopped with little memory, on with much; and kept without being asked to stop, as a killed run leaves it.
    run(Some(little()), Some(&mut keep(Duration::MAX)), &Impatient::new(2)).unwrap_err();
    assert_eq!(run(None, Some(&mut keep(Duration::ZERO)), &Silent).unwrap(), whole);
    let last = Impatient::new(u64::MAX);
    assert_eq!(run(None, Some(&mut keep(Duration::MAX)), &last).unwrap(), whole);
    assert_eq!(last.asked.load(Ordering::Relaxed), 0, "all was done");
}

#[test]
fn what_another_run_kept_is_of_no_use() {
    let dir = empty();
    let path = at(&dir, "progress");
    let whole = run(None, None, &Silent).unwrap();
    let stopped = |text: &str| {
        let mut keep = Keep::new(path.clone().into(), &source(), "cpu", &windows(text), Duration::MAX);
        let impatient = Impatient::new(9);
        collect(observer(), &windows(text), Path::new("x"), None, Some(&mut keep), &impatient).unwrap_err();
    };
    let from_the_beginning = |why: &str| {
        let mut keep = Keep::new(path.clone().into(), &source(), "cpu", &windows("train"), Duration::MAX);
        let patient = Impatient::new(u64::MAX);
        assert_eq!(run(None, Some(&mut keep), &patient).unwrap(), whole, "{why}");
        assert_eq!(patient.asked.load(Ordering::Relaxed), 20, "{why}");
    };
    stopped("heldout");
    from_the_beginning("of another text");
    stopped("train");
    let kept = fs::read(&path).unwrap();
    for cut in [0, 10, kept.len() / 2, kept.len() - 32] {
        fs::write(&path, &kept[..cut]).unwrap();
        from_the_beginning("cut off");
    }
    let damaged = String::from_utf8_lossy(&kept).replace("blk.0.0", "blk.0.9").into_bytes();
    fs::write(&path, &damaged).unwrap();
    from_the_beginning("damaged");
}
