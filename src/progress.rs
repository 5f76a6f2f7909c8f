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

/// No one listens, no one cancels.
#[derive(Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn advance(&self, _: u64) {}
    fn cancelled(&self) -> bool {
        false
    }
}
