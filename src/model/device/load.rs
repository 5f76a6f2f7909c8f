//! From a checkpoint to weights in a device's memory.

use super::{Layer, Linear, OnDevice};
use crate::arch::{Count, Role, Settings};
use crate::error::{Error, Result};
use crate::model::Weights;
use crate::model::load::Loader;
use crate::plan::Reorder;
use crate::tensor::TensorId;
use rayon::prelude::*;
use tersor_kernels::cuda::{Buffer, Device, HEAD, NoDevice};
use tersor_kernels::{Class, Format};

impl OnDevice {
    /// All weights that `loader` finds, on the device with this number.
    ///
    /// # Errors
    /// [`Error::Device`], and what loading has.
    pub(in crate::model) fn load(ordinal: usize, loader: &Loader<'_>) -> Result<OnDevice> {
        let settings = loader.settings;
        check(settings)?;
        let device = Device::open(ordinal)?;
        let there = There { loader, device: &device };
        // Packing is the CPU's work: on all threads, as many blocks at a time.
        let layers = (0..settings[Count::Layers] as u32).into_par_iter().map(|n| there.layer(n));
        let layers = layers.collect::<Result<_>>()?;
        let (id, _) = loader.weight(Role::TokenEmbedding, None)?;
        let table = loader.source.tensor(id);
        let unreadable = || loader.source.unreadable(id);
        let format = table.format.decoder().map(|_| table.format).ok_or_else(unreadable)?;
        let embedding =
            device.upload_table(format, settings[Count::Hidden] as usize, &there.stored(id, Reorder::None)?)?;
        let norm = there.vector("output_norm.weight", None)?;
        let head = there.linear(if settings.tied { Role::TokenEmbedding } else { Role::Output }, None)?;
        Ok(OnDevice { embedding, layers, norm, head, device })
    }
}

/// Kernels compute such a model.
pub(super) fn check(settings: &Settings) -> Result<(), NoDevice> {
    let size = settings[Count::HeadSize];
    if size <= HEAD as u64 && size.is_multiple_of(2) {
        return Ok(());
    }
    Err(NoDevice::Model { found: format!("heads of {size} numbers"), wanted: "heads of 2 to 256" })
}

impl From<NoDevice> for Error {
    fn from(why: NoDevice) -> Error {
        Error::Device { reason: why.to_string() }
    }
}

/// A loader, and where to.
pub(super) struct There<'a> {
    pub(super) loader: &'a Loader<'a>,
    pub(super) device: &'a Device,
}

impl There<'_> {
    pub(super) fn layer(&self, n: u32) -> Result<Layer> {
        Layer::read(|role| self.linear(role, Some(n)), |name| self.vector(name, Some(n)))
    }

    fn vector(&self, gguf: &str, layer: Option<u32>) -> Result<Buffer<f32>> {
        Ok(self.device.upload(&self.loader.vector(gguf, layer)?)?)
    }

    fn linear(&self, role: Role, layer: Option<u32>) -> Result<Linear> {
        let (id, rule) = self.loader.weight(role, layer)?;
        let (order, tensor) = (self.loader.order(rule), self.loader.source.tensor(id));
        let columns = tensor.shape.cols() as usize;
        let stored = self.stored(id, order)?;
        let as_stored = self.loader.weights != Weights::Decoded || tensor.format.class == Class::Float;
        let own = if as_stored { self.device.upload_weights(tensor.format, columns, &stored)? } else { None };
        let weights = match own {
            Some(weights) => weights,
            None => self.decoded(id, columns, &stored)?,
        };
        let bias = self.loader.bias(rule, layer)?.map(|bias| self.device.upload(&bias)).transpose()?;
        self.loader.advance(stored.len() as u64)?;
        Ok(Linear { weights, bias })
    }

    /// Where a format has no products of its own, or others are wanted: its values in f32.
    fn decoded(&self, id: TensorId, columns: usize, stored: &[u8]) -> Result<tersor_kernels::cuda::Weights> {
        let tensor = self.loader.source.tensor(id);
        let decode = tensor.format.decoder().ok_or_else(|| self.loader.source.unreadable(id))?;
        let mut values = vec![0.0; tensor.shape.values() as usize];
        decode(self.loader.level, stored, &mut values);
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let f32 = Format::by_name("f32").expect("a row of the table");
        Ok(self.device.upload_weights(f32, columns, &bytes)?.expect("f32 is multiplied"))
    }

    /// The bytes of a tensor, its rows as a folder has them.
    fn stored(&self, id: TensorId, order: Reorder) -> Result<Vec<u8>> {
        let tensor = self.loader.source.tensor(id);
        let mut stored = vec![0; tensor.bytes as usize];
        if order == Reorder::None {
            self.loader.source.read(id, 0, &mut stored)?;
            return Ok(stored);
        }
        let row_bytes = stored.len() / (tensor.shape.rows() as usize).max(1);
        for (row, bytes) in stored.chunks_exact_mut(row_bytes.max(1)).enumerate() {
            self.loader.source.read(id, order.source_row(row as u64) * row_bytes as u64, bytes)?;
        }
        Ok(stored)
    }
}
