//! Launches that are recorded once and launched together from then on, which takes the driver a fraction of the time.

use super::launch::Held;
use super::{Device, NoDevice, failed};
use cudarc::driver::CudaGraph;
use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

/// Recorded launches, with the memory that they work on.
pub struct Graph {
    graph: Mutex<CudaGraph>,
    _held: Vec<Held>,
    moved: u64,
}

// SAFETY: the driver's graphs may be used by any thread, by one at a time: the lock sees to that.
unsafe impl Send for Graph {}
// SAFETY: as above.
unsafe impl Sync for Graph {}

impl Device {
    /// Record what `work` launches: it is not launched yet. Buffers must be as large as they need to be before.
    ///
    /// # Errors
    /// [`NoDevice`], also for work that reserves memory or copies from the device.
    pub fn record(&self, work: impl FnOnce() -> Result<(), NoDevice>) -> Result<Graph, NoDevice> {
        let recorded = || self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = failed("record launches");
        let moved = self.moved.load(Ordering::Relaxed);
        self.stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).map_err(&failed)?;
        *recorded() = Some(Vec::new());
        let done = work();
        let held = recorded().take().unwrap_or_default();
        let graph = self.stream.end_capture(CUgraphInstantiate_flags(0));
        done?;
        let nothing = || NoDevice::Failed { what: "record launches", reason: "there are none".into() };
        let graph = Mutex::new(graph.map_err(&failed)?.ok_or_else(nothing)?);
        Ok(Graph { graph, _held: held, moved })
    }

    /// Launch what was recorded; false, and nothing is launched, where buffers were moved since, so that it has to be recorded
    /// anew.
    ///
    /// # Errors
    /// [`NoDevice`].
    pub fn replay(&self, graph: &Graph) -> Result<bool, NoDevice> {
        if graph.moved != self.moved.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let graph = graph.graph.lock().unwrap_or_else(PoisonError::into_inner);
        graph.launch().map_err(failed("launch a graph"))?;
        Ok(true)
    }

    /// Keep what a launch works on, if it is recorded.
    pub(super) fn hold(&self, held: Vec<Held>) {
        if let Some(recorded) = self.recorded.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            recorded.extend(held);
        }
    }
}
