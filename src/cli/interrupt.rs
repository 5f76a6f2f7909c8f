//! Ctrl-C and termination signals.

use super::INTERRUPTED;
use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);
static WRITING: AtomicBool = AtomicBool::new(false);

/// While an output is under way, a signal asks the run to stop and clean up; otherwise, and the second time, it ends the
/// process at once.
pub(super) fn install() {
    let handler = || {
        let again = REQUESTED.swap(true, Ordering::SeqCst);
        if again || !WRITING.load(Ordering::SeqCst) {
            std::process::exit(INTERRUPTED.into());
        }
    };
    // Without a handler a signal still ends the process, only less tidily.
    let _ = ctrlc::set_handler(handler);
}

/// True once a signal came.
pub(super) fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Marks the time in which files must be cleaned up.
pub(super) struct Writing;

impl Writing {
    pub(super) fn begin() -> Writing {
        WRITING.store(true, Ordering::SeqCst);
        Writing
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        WRITING.store(false, Ordering::SeqCst);
    }
}
