//! Kernels on an NVIDIA GPU: the device, its memory, and a launch for each kernel of `cuda/`.
//!
//! Nothing of CUDA is needed to build or to start: the driver is loaded when a device is opened. What keeps a device from being
//! used is a [`NoDevice`], never a panic; whoever asked for the best that there is goes on with the CPU and tells the reason.

mod attention;
mod formats;
mod graph;
mod launch;
mod limits;
mod matmul;
mod modules;
mod moments;
mod ops;
mod pack;

pub use attention::{HEAD, Kept};
pub use formats::{Encoded, Outcome};
pub use graph::Graph;
pub use matmul::{FEW, Scratch, Weights};
pub use ops::Table;
pub use pack::{Packed, pack};

use cudarc::driver::result::{DriverError, device, init, memcpy_dtod_async, memcpy_htod_async};
use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DevicePtr, sys};
use launch::Held;
use modules::Modules;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

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
    /// How many buffers were moved to larger memory.
    moved: AtomicU64,
    /// What launches that are being recorded work on.
    recorded: Mutex<Option<Vec<Held>>>,
}

/// Numbers in the memory of a device.
#[derive(Debug)]
pub struct Buffer<T> {
    /// The driver has no allocations of nothing: one number at least.
    room: Arc<CudaSlice<T>>,
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
    /// A model that kernels do not compute.
    Model {
        /// What it has.
        found: String,
        /// What is computed.
        wanted: &'static str,
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
            NoDevice::Model { found, wanted } => write!(f, "the model has {found}, kernels compute {wanted}"),
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

/// There is a driver, whatever it can be used for.
pub fn has_driver() -> bool {
    // SAFETY: loads the driver's library, if there is one; that runs its initialisers, which it is made for.
    unsafe { sys::is_culib_present() }
}

impl Device {
    /// The device with this number.
    ///
    /// # Errors
    /// Whatever keeps it from being used.
    pub fn open(ordinal: usize) -> Result<Device, NoDevice> {
        if !has_driver() {
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
        // SAFETY: everything is done on one stream, in its order.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(failed("make a stream"))?;
        let modules = Modules::new(context, architecture);
        let (moved, recorded) = Default::default();
        Ok(Device { stream, modules, name, architecture, multiprocessors, moved, recorded })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its compute capability.
    pub fn architecture(&self) -> (i32, i32) {
        self.architecture
    }

    /// Copy numbers into its memory.
    ///
    /// # Errors
    /// [`NoDevice::Memory`].
    pub fn upload<T: Number>(&self, numbers: &[T]) -> Result<Buffer<T>, NoDevice> {
        let mut buffer = self.room(numbers.len())?;
        self.write(numbers, &mut buffer)?;
        Ok(buffer)
    }

    /// Copy numbers into a buffer, which then has these.
    ///
    /// # Errors
    /// [`NoDevice::Memory`].
    pub fn write<T: Number>(&self, numbers: &[T], buffer: &mut Buffer<T>) -> Result<(), NoDevice> {
        self.fit(buffer, numbers.len())?;
        if numbers.is_empty() {
            return Ok(());
        }
        self.stream.context().bind_to_thread().map_err(failed("use the device"))?;
        let (to, _) = buffer.room.device_ptr(&self.stream);
        // SAFETY: there is room for the numbers. From memory that is not pinned the driver takes them over before this returns.
        unsafe { memcpy_htod_async(to, numbers, self.stream.cu_stream()) }.map_err(failed("copy to the device"))
    }

    /// Copy back, once everything that was launched before is done.
    ///
    /// # Errors
    /// [`NoDevice::Failed`], also for a kernel before that failed.
    pub fn download<T: Number>(&self, buffer: &Buffer<T>) -> Result<Vec<T>, NoDevice> {
        let mut numbers = vec![T::default(); buffer.len()];
        if !numbers.is_empty() {
            let of = buffer.room.slice(..buffer.len());
            self.stream.memcpy_dtoh(&of, &mut numbers).map_err(failed("copy from the device"))?;
            self.stream.synchronize().map_err(failed("wait for the device"))?;
        }
        Ok(numbers)
    }

    /// Make `to` the numbers from `first` to `last` of `from`.
    ///
    /// # Errors
    /// [`NoDevice`].
    ///
    /// # Panics
    /// When they are not there.
    pub fn part<T: Number>(&self, from: &Buffer<T>, part: Range<usize>, to: &mut Buffer<T>) -> Result<(), NoDevice> {
        assert!(part.end <= from.len(), "{part:?} of {}", from.len());
        self.fit(to, part.len())?;
        if part.is_empty() {
            return Ok(());
        }
        self.stream.context().bind_to_thread().map_err(failed("use the device"))?;
        let (start, _) = from.room.device_ptr(&self.stream);
        let (to, _) = to.room.device_ptr(&self.stream);
        let start = start + (part.start * size_of::<T>()) as u64;
        // SAFETY: both sides have so many numbers, and are not the same buffer.
        unsafe { memcpy_dtod_async(to, start, part.len() * size_of::<T>(), self.stream.cu_stream()) }
            .map_err(failed("copy on the device"))
    }

    /// A buffer of so many numbers, whatever they are.
    ///
    /// # Errors
    /// [`NoDevice::Memory`].
    pub fn room<T: Number>(&self, count: usize) -> Result<Buffer<T>, NoDevice> {
        // SAFETY: any bits are a number, and what was not written is not read as anything else.
        let room = unsafe { self.stream.alloc(count.max(1)) };
        room.map(|room| Buffer { room: Arc::new(room), len: count }).map_err(|e| match e {
            DriverError(sys::cudaError_enum::CUDA_ERROR_OUT_OF_MEMORY) => {
                let free = self.stream.context().mem_get_info().map_or(0, |(free, _)| free);
                NoDevice::Memory { wanted: count * size_of::<T>(), free }
            }
            other => failed("reserve memory")(other),
        })
    }

    /// Let a buffer have so many numbers, whatever they are: in its own memory where they fit into that, otherwise in larger one.
    ///
    /// # Errors
    /// [`NoDevice::Memory`].
    pub fn fit<T: Number>(&self, buffer: &mut Buffer<T>, count: usize) -> Result<(), NoDevice> {
        if count > buffer.room.len() {
            *buffer = self.room(count)?;
            self.moved.fetch_add(1, Ordering::Relaxed);
        }
        buffer.len = count;
        Ok(())
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
pub trait Number: cudarc::driver::DeviceRepr + cudarc::driver::ValidAsZeroBits + Copy + Default + Send + Sync {}

impl Number for u8 {}
impl Number for u32 {}
impl Number for f64 {}
impl Number for f32 {}
