//! Kernels on an NVIDIA GPU: the device, its memory, and a launch for each kernel of `cuda/`.
//!
//! Nothing of CUDA is needed to build or to start: the driver is loaded when a device is opened. What keeps a device from being
//! used is a [`NoDevice`], never a panic; whoever asked for the best that there is goes on with the CPU and tells the reason.

mod attention;
mod launch;
mod matmul;
mod modules;
mod ops;
mod pack;

pub use attention::{HEAD, Kept};
pub use launch::Outcome;
pub use matmul::{FEW, Weights};
pub use pack::{Packed, pack};

use cudarc::driver::result::{DriverError, device, init};
use cudarc::driver::{CudaContext, CudaSlice, CudaStream, sys};
use modules::Modules;
use std::fmt;
use std::sync::Arc;

/// The oldest driver that takes the PTX here (ISA 8.4), as `cuDriverGetVersion` counts.
const DRIVER: i32 = 12040;
/// The oldest architecture that it is for.
const ARCHITECTURE: (i32, i32) = (7, 5);

/// A GPU that kernels can be launched on.
#[derive(Debug)]
pub struct Device {
    stream: Arc<CudaStream>,
    modules: Modules,
    name: String,
    architecture: (i32, i32),
    multiprocessors: usize,
}

/// Numbers in the memory of a device.
#[derive(Debug)]
pub struct Buffer<T> {
    /// The driver has no allocations of nothing: one number at least.
    room: CudaSlice<T>,
    len: usize,
}

/// Why there is nothing to compute on, or why it stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoDevice {
    /// No driver library.
    NoDriver,
    /// A driver that does not take the kernels; its version, such as 12020 for 12.2.
    OldDriver(i32),
    /// A driver, but no device with this number; so many there are.
    NotThere {
        /// What was asked for.
        wanted: usize,
        /// Numbers below are there.
        devices: usize,
    },
    /// A device without what the kernels need.
    OldDevice {
        /// Its name.
        name: String,
        /// Its compute capability.
        architecture: (i32, i32),
    },
    /// Too little memory.
    Memory {
        /// Bytes that were asked for.
        wanted: usize,
        /// Bytes that were free.
        free: usize,
    },
    /// A kernel that the driver does not load.
    Kernel {
        /// Its name.
        kernel: String,
        /// What the driver says.
        reason: String,
    },
    /// Anything else.
    Failed {
        /// What was tried.
        what: &'static str,
        /// What the driver says.
        reason: String,
    },
}

impl fmt::Display for NoDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = |v: i32| format!("{}.{}", v / 1000, v % 1000 / 10);
        match self {
            NoDevice::NoDriver => write!(f, "there is no CUDA driver (libcuda)"),
            NoDevice::OldDriver(found) => {
                write!(f, "the driver is of CUDA {}, kernels need {} or later", version(*found), version(DRIVER))
            }
            NoDevice::NotThere { devices: 0, .. } => write!(f, "there is a CUDA driver, but no device"),
            NoDevice::NotThere { wanted, devices } => {
                write!(f, "there is no device {wanted}: the last one is {}", devices - 1)
            }
            NoDevice::OldDevice { name, architecture: (major, minor) } => {
                let (least, minor_least) = ARCHITECTURE;
                write!(f, "{name} has compute capability {major}.{minor}, kernels need {least}.{minor_least}")
            }
            NoDevice::Memory { wanted, free } => {
                write!(f, "{wanted} bytes do not fit into the device's memory, {free} are free")
            }
            NoDevice::Kernel { kernel, reason } => write!(f, "kernel {kernel} cannot be loaded: {reason}"),
            NoDevice::Failed { what, reason } => write!(f, "cannot {what}: {reason}"),
        }
    }
}

impl std::error::Error for NoDevice {}

/// What the driver says, with what was tried.
fn failed(what: &'static str) -> impl Fn(DriverError) -> NoDevice {
    move |e| NoDevice::Failed { what, reason: said(e) }
}

fn said(e: DriverError) -> String {
    let text = e.error_string().map(|text| text.to_string_lossy().into_owned());
    text.unwrap_or_else(|_| format!("error {:?}", e.0))
}

impl Device {
    /// The device with this number.
    ///
    /// # Errors
    /// Whatever keeps it from being used.
    pub fn open(ordinal: usize) -> Result<Device, NoDevice> {
        // SAFETY: loads the driver's library, if there is one; that runs its initialisers, which it is made for.
        if !unsafe { sys::is_culib_present() } {
            return Err(NoDevice::NoDriver);
        }
        let mut version = 0;
        // SAFETY: `version` outlives the call, which every driver has and which needs no initialisation.
        let asked = unsafe { sys::cuDriverGetVersion(&raw mut version) };
        asked.result().map_err(failed("ask for the driver's version"))?;
        if version < DRIVER {
            return Err(NoDevice::OldDriver(version));
        }
        let none = NoDevice::NotThere { wanted: ordinal, devices: 0 };
        match init() {
            Err(DriverError(sys::cudaError_enum::CUDA_ERROR_NO_DEVICE)) => return Err(none),
            other => other.map_err(failed("start the driver"))?,
        }
        let devices = device::get_count().map_err(failed("count devices"))? as usize;
        if ordinal >= devices {
            return Err(NoDevice::NotThere { wanted: ordinal, devices });
        }
        let context = CudaContext::new(ordinal).map_err(failed("open the device"))?;
        let name = context.name().map_err(failed("ask for the device's name"))?;
        let architecture = context.compute_capability().map_err(failed("ask for the compute capability"))?;
        if architecture < ARCHITECTURE {
            return Err(NoDevice::OldDevice { name, architecture });
        }
        let count = sys::CUdevice_attribute_enum::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
        let multiprocessors = context.attribute(count).map_err(failed("ask for multiprocessors"))?.max(1) as usize;
        let stream = context.new_stream().map_err(failed("make a stream"))?;
        Ok(Device { stream, modules: Modules::new(context, architecture), name, architecture, multiprocessors })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its compute capability.
    pub fn architecture(&self) -> (i32, i32) {
        self.architecture
    }

    /// Copy bytes into its memory.
    ///
    /// # Errors
    /// [`NoDevice::Memory`].
    pub fn upload<T: Number>(&self, numbers: &[T]) -> Result<Buffer<T>, NoDevice> {
        let mut buffer = self.room(numbers.len())?;
        if !numbers.is_empty() {
            self.stream.memcpy_htod(numbers, &mut buffer.room).map_err(failed("copy to the device"))?;
        }
        Ok(buffer)
    }

    /// Copy back, once everything that was launched before is done.
    ///
    /// # Errors
    /// [`NoDevice::Failed`], also for a kernel before that failed.
    pub fn download<T: Number>(&self, buffer: &Buffer<T>) -> Result<Vec<T>, NoDevice> {
        if buffer.is_empty() {
            return Ok(Vec::new());
        }
        self.stream.clone_dtoh(&buffer.room).map_err(failed("copy from the device"))
    }

    /// Zeros.
    fn room<T: Number>(&self, count: usize) -> Result<Buffer<T>, NoDevice> {
        let room = self.stream.alloc_zeros(count.max(1));
        room.map(|room| Buffer { room, len: count }).map_err(|e| match e {
            DriverError(sys::cudaError_enum::CUDA_ERROR_OUT_OF_MEMORY) => {
                let free = self.stream.context().mem_get_info().map_or(0, |(free, _)| free);
                NoDevice::Memory { wanted: count * size_of::<T>(), free }
            }
            other => failed("reserve memory")(other),
        })
    }
}

impl<T> Buffer<T> {
    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// What kernels compute on.
pub trait Number: cudarc::driver::DeviceRepr + cudarc::driver::ValidAsZeroBits + Clone + Default {}

impl Number for u8 {}
impl Number for f32 {}
