//! Progress on stderr: a bar on a terminal, now and then a line elsewhere.

use super::interrupt::{self, Writing};
use crate::progress::{Hold, Progress, Unit, Watch};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// What a person sees while a run goes on.
pub(super) enum Meter {
    Quiet,
    Bar(ProgressBar),
    Lines(Mutex<Lines>),
}

pub(super) struct Lines {
    unit: Unit,
    started: Instant,
    last: Instant,
    /// From a run before.
    resumed: u64,
    done: u64,
    total: u64,
}

impl Meter {
    /// A meter over `total` units.
    pub(super) fn new(quiet: bool, unit: Unit, total: u64) -> Meter {
        if quiet {
            return Meter::Quiet;
        }
        if !std::io::stderr().is_terminal() {
            let now = Instant::now();
            return Meter::Lines(Mutex::new(Lines { unit, started: now, last: now, resumed: 0, done: 0, total }));
        }
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        let template = match unit {
            Unit::Bytes => "{bar:30} {decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}  {eta} left",
            Unit::Tokens => "{bar:30} {pos}/{len} tokens  {per_sec}  {eta} left",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Meter::Bar(bar)
    }

    /// Take the bar away.
    pub(super) fn finish(&self) {
        if let Meter::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Tells a person on stderr how work goes on, or nothing.
pub(super) struct Console {
    pub(super) quiet: bool,
}

impl Watch for Console {
    fn phase(&self, unit: Unit, total: u64) -> Box<dyn Progress + '_> {
        Box::new(Meter::new(self.quiet, unit, total))
    }

    fn say(&self, line: &str) {
        if !self.quiet {
            eprintln!("{line}");
        }
    }

    fn cancelled(&self) -> bool {
        interrupt::requested()
    }

    fn hold(&self) -> Box<dyn Hold + '_> {
        Box::new(Writing::begin())
    }
}

impl Hold for Writing {}

impl Progress for Meter {
    fn advance(&self, units: u64) {
        match self {
            Meter::Quiet => {}
            Meter::Bar(bar) => bar.inc(units),
            Meter::Lines(lines) => {
                if let Ok(mut lines) = lines.lock() {
                    lines.advance(units);
                }
            }
        }
    }

    fn resume(&self, units: u64) {
        match self {
            Meter::Quiet => {}
            Meter::Bar(bar) => {
                bar.set_position(units);
                bar.reset_eta();
            }
            Meter::Lines(lines) => {
                if let Ok(mut lines) = lines.lock() {
                    (lines.resumed, lines.done) = (units, units);
                }
            }
        }
    }

    fn cancelled(&self) -> bool {
        interrupt::requested()
    }
}

impl Lines {
    fn advance(&mut self, units: u64) {
        self.done += units;
        if self.last.elapsed() < LINE_EVERY {
            return;
        }
        self.last = Instant::now();
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = (self.done - self.resumed) as f64 / seconds;
        let left = (self.total.saturating_sub(self.done)) as f64 / rate.max(1.0);
        let percent = 100.0 * self.done as f64 / self.total.max(1) as f64;
        match self.unit {
            Unit::Bytes => eprintln!("{percent:.0} %, {:.0} MB/s, {left:.0} s left", rate / 1e6),
            Unit::Tokens => eprintln!("{percent:.0} %, {rate:.0} tokens/s, {left:.0} s left"),
        }
    }
}
