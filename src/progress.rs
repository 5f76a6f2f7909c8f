//! Who hears how a long run goes on.

/// Hears how a run goes on. Called from worker threads.
pub trait Progress: Sync {
    /// This many more units - bytes of the source, or tokens - are done.
    fn advance(&self, units: u64);
    /// So many are done from a run before this one.
    fn resume(&self, units: u64) {
        self.advance(units);
    }
    /// True when the run should stop.
    fn cancelled(&self) -> bool;
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Of a source.
    Bytes,
    /// Of a text.
    Tokens,
}

/// Hears how work of several phases goes on, and may stop it.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use tersor::conversion::{Conversion, Target};
/// use tersor::plan::Container;
/// use tersor::progress::{Progress, Unit, Watch, metered};
/// use tersor::writing::{Build, Options};
///
/// /// Counts, and stops at a bound.
/// struct Bounded { seen: AtomicU64, bound: u64 }
///
/// impl Watch for Bounded {
///     fn phase(&self, _: Unit, total: u64) -> Box<dyn Progress + '_> {
///         println!("{total} bytes to read");
///         Box::new(Phase(self))
///     }
///     fn say(&self, line: &str) {
///         println!("{line}");
///     }
///     fn cancelled(&self) -> bool {
///         self.seen.load(Ordering::Relaxed) > self.bound
///     }
/// }
///
/// struct Phase<'a>(&'a Bounded);
///
/// impl Progress for Phase<'_> {
///     fn advance(&self, units: u64) {
///         self.0.seen.fetch_add(units, Ordering::Relaxed);
///     }
///     fn cancelled(&self) -> bool {
///         self.0.cancelled()
///     }
/// }
///
/// let folder = tempfile::tempdir().unwrap();
/// let output = Some(folder.path().join("tiny.gguf"));
/// let conversion = Conversion::new(Container::Gguf, Target::Keep);
/// let build = Build::prepare("fixtures/tiny-llama".as_ref(), &conversion, Options { output, ..Options::default() })?;
/// let write = |bound| {
///     let watch = Bounded { seen: AtomicU64::new(0), bound };
///     metered(&watch, Unit::Bytes, build.source.stored_bytes(), |progress| build.write(progress))
/// };
/// assert!(matches!(write(1_000_000), Err(tersor::Error::Interrupted)));
/// assert!(!build.layout.target.exists());
/// assert_eq!(write(u64::MAX)?.measured.source_hash.len(), 64);
/// # Ok::<(), tersor::Error>(())
/// ```
pub trait Watch: Sync {
    /// A phase of `total` units begins; it ends with what this gives.
    fn phase(&self, unit: Unit, total: u64) -> Box<dyn Progress + '_>;
    /// A line for a person.
    fn say(&self, line: &str);
    /// True when the work should stop.
    fn cancelled(&self) -> bool;
    /// As long as the result lives, stopping needs time to clean up.
    fn hold(&self) -> Box<dyn Hold + '_> {
        Box::new(())
    }
}

/// See [`Watch::hold`].
pub trait Hold {}

impl Hold for () {}

/// Do something that takes `total` units.
pub fn metered<T>(watch: &dyn Watch, unit: Unit, total: u64, work: impl FnOnce(&dyn Progress) -> T) -> T {
    let phase = watch.phase(unit, total);
    work(&*phase)
}

/// No one listens, no one cancels.
#[derive(Debug, Default)]
pub struct Silent;

impl Watch for Silent {
    fn phase(&self, _: Unit, _: u64) -> Box<dyn Progress + '_> {
        Box::new(Silent)
    }
    fn say(&self, _: &str) {}
    fn cancelled(&self) -> bool {
        false
    }
}

impl Progress for Silent {
    fn advance(&self, _: u64) {}
    fn cancelled(&self) -> bool {
        false
    }
}
