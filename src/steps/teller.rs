//! Tells a person how a training run goes on.

use crate::distill::{Metric, Settings};
use crate::error::human_bytes;
use crate::machine::peak_memory;
use crate::progress::{Progress, Watch};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Between two lines about steps.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The lines of a run.
pub(crate) struct Teller<'w> {
    watch: &'w dyn Watch,
    started: Instant,
    of_step: u64,
    resumed: AtomicU64,
    done: AtomicU64,
}

impl<'w> Teller<'w> {
    pub(crate) fn new(watch: &'w dyn Watch, settings: &Settings) -> Teller<'w> {
        let of_step = (settings.batch * settings.context) as u64;
        let (resumed, done) = Default::default();
        Teller { watch, started: Instant::now(), of_step, resumed, done }
    }

    /// Tokens of this run, without those of a run before it.
    fn tokens(&self) -> u64 {
        self.done.load(Ordering::Relaxed) - self.resumed.load(Ordering::Relaxed)
    }

    pub(crate) fn tell(&self, metric: &Metric, last: &mut Option<Instant>) {
        let due = metric.heldout.is_some() || last.is_none_or(|last| last.elapsed() >= LINE_EVERY);
        if !due {
            return;
        }
        *last = Some(Instant::now());
        let rate = self.tokens() as f64 / self.started.elapsed().as_secs_f64();
        let left = ((metric.steps - metric.step) * self.of_step) as f64 / rate.max(1.0);
        let mut line = format!("step {}/{}  loss {:.4}", metric.step, metric.steps, metric.loss);
        let parts =
            [("divergence", metric.divergence), ("hidden", metric.hidden), ("cross-entropy", metric.cross_entropy)];
        let parts: Vec<String> = parts.iter().filter_map(|(name, x)| Some(format!("{name} {:.4}", (*x)?))).collect();
        if parts.len() > 1 {
            line += &format!(" ({})", parts.join(", "));
        }
        let memory = peak_memory().map_or(String::new(), |bytes| format!("  {}", human_bytes(bytes)));
        line += &format!("  lr {:.2e}  {rate:.0} tokens/s{memory}  {} left", metric.lr, duration(left));
        if let Some(heldout) = &metric.heldout {
            let best = if heldout.best { ", best" } else { "" };
            line += &format!("  held-out: {heldout}{best}");
        }
        self.watch.say(&line);
    }
}

/// `50 s`, `12 min`, `3 h 05 min`.
fn duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match minutes {
        0..2 => format!("{seconds:.0} s"),
        2..60 => format!("{minutes} min"),
        _ => format!("{} h {:02} min", minutes / 60, minutes % 60),
    }
}

impl Progress for Teller<'_> {
    fn advance(&self, units: u64) {
        self.done.fetch_add(units, Ordering::Relaxed);
    }

    fn resume(&self, units: u64) {
        self.resumed.store(units, Ordering::Relaxed);
        self.done.store(units, Ordering::Relaxed);
        self.watch.say(&format!("going on after step {}", units / self.of_step));
    }

    fn cancelled(&self) -> bool {
        self.watch.cancelled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_at_a_glance() {
        assert_eq!([50.2, 700.0, 11_100.0].map(duration), ["50 s", "12 min", "3 h 05 min"]);
    }
}
