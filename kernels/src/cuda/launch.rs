//! Launches: a kernel with its arguments, in a grid of blocks.

use super::{Buffer, Device, NoDevice, failed};
use cudarc::driver::{CudaFunction, DevicePtr, LaunchConfig, PushKernelArg};
use std::any::Any;
use std::sync::Arc;

/// Of a block, where nothing else is said.
const THREADS: u32 = 256;

/// What a launch works on: memory that is there as long as someone has it.
pub(super) type Held = Arc<dyn Any + Send + Sync>;

/// A launch that is made ready.
pub(super) struct Launch<'d> {
    device: &'d Device,
    kernel: CudaFunction,
    what: &'static str,
    /// Addresses and numbers, each in its own eight bytes, as the driver takes them.
    arguments: Vec<u64>,
    held: Vec<Held>,
    threads: u32,
}

impl Device {
    /// Make a launch of a kernel of a source ready.
    pub(super) fn launch(&self, source: &'static str, kernel: &str) -> Result<Launch<'_>, NoDevice> {
        let kernel = self.modules.kernel(source, kernel)?;
        Ok(Launch { device: self, kernel, what: source, arguments: Vec::new(), held: Vec::new(), threads: THREADS })
    }
}

impl Launch<'_> {
    /// In blocks of so many threads.
    pub(super) fn threads(mut self, threads: u32) -> Self {
        self.threads = threads;
        self
    }

    pub(super) fn buffer<T: Send + Sync + 'static>(mut self, buffer: &Buffer<T>) -> Self {
        let (address, _) = buffer.room.device_ptr(&self.device.stream);
        self.arguments.push(address);
        self.held.push(buffer.room.clone());
        self
    }

    pub(super) fn u32(mut self, number: usize) -> Self {
        self.arguments.push(u64::from(u32::try_from(number).expect("shapes of a model")));
        self
    }

    pub(super) fn u64(mut self, number: usize) -> Self {
        self.arguments.push(number as u64);
        self
    }

    pub(super) fn f32(mut self, number: f32) -> Self {
        self.arguments.push(number.to_bits().into());
        self
    }

    /// Launch it; no block at all is no launch.
    ///
    /// # Safety
    /// The kernel takes the arguments that were given, and with this grid it reads and writes no more than is there.
    pub(super) unsafe fn start(self, grid: [usize; 3]) -> Result<(), NoDevice> {
        const MOST: [usize; 3] = [i32::MAX as usize, u16::MAX as usize, u16::MAX as usize];
        if grid.contains(&0) {
            return Ok(());
        }
        if grid.iter().zip(MOST).any(|(blocks, most)| *blocks > most) {
            let reason = format!("a grid of {grid:?} blocks, the largest is {MOST:?}");
            return Err(NoDevice::Failed { what: "launch a kernel", reason: format!("{}: {reason}", self.what) });
        }
        let [x, y, z] = grid.map(|blocks| blocks as u32);
        let config = LaunchConfig { grid_dim: (x, y, z), block_dim: (self.threads, 1, 1), shared_mem_bytes: 0 };
        let mut launch = self.device.stream.launch_builder(&self.kernel);
        self.arguments.iter().for_each(|argument| _ = launch.arg(argument));
        // SAFETY: the caller's promise.
        unsafe { launch.launch(config) }.map_err(failed("launch a kernel"))?;
        self.device.hold(self.held);
        Ok(())
    }
}
