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

/// Hears how work of several phases goes on.
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
