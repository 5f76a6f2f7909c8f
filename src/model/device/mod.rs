//! A model on a GPU: its weights are there, and only token ids and logits cross.
//!
//! Weights are multiplied as they are stored, with activations of half precision; formats without products of their own are decoded
//! to f32, as on the CPU. What a GPU computes differs from what the CPU does by roundings.

mod load;
mod sequence;
mod step;
mod watching;

pub(super) use sequence::Sequence;
pub(super) use step::Shape;
pub(super) use tersor_kernels::cuda::has_driver;
pub(super) use watching::Watching;

use tersor_kernels::cuda::{Buffer, Device, NoDevice, Scratch, Table, Weights};

/// Weights and, where the checkpoint has one, a bias.
struct Linear {
    weights: Weights,
    bias: Option<Buffer<f32>>,
}

/// The weights of one block.
type Layer = super::layer::Layer<Linear, Buffer<f32>>;

/// All of a model.
pub(super) struct OnDevice {
    device: Device,
    embedding: Table,
    layers: Vec<Layer>,
    norm: Buffer<f32>,
    head: Linear,
}

impl OnDevice {
    /// The device's name.
    pub(super) fn name(&self) -> &str {
        self.device.name()
    }

    /// The length of a row of logits.
    pub(super) fn vocabulary(&self) -> usize {
        self.head.weights.rows()
    }

    /// Bytes of weights that are multiplied.
    pub(super) fn bytes(&self) -> usize {
        let of = |layer: &Layer| layer.linears().iter().map(|linear| linear.weights.bytes()).sum::<usize>();
        self.layers.iter().map(of).sum::<usize>() + self.head.weights.bytes()
    }

    /// The logits of hidden states after the last norm.
    pub(super) fn logits(&self, hidden: &[f32]) -> Result<Vec<f32>, NoDevice> {
        let (mut scratch, mut logits) = (self.device.scratch()?, self.device.room(0)?);
        let hidden = self.device.upload(hidden)?;
        multiply(&self.device, &hidden, &mut scratch, &mut [(&self.head, &mut logits)])?;
        self.device.download(&logits)
    }
}

/// The products of `x` with each of `to`, which have one width.
fn multiply(
    device: &Device,
    x: &Buffer<f32>,
    scratch: &mut Scratch,
    to: &mut [(&Linear, &mut Buffer<f32>)],
) -> Result<(), NoDevice> {
    let mut products: Vec<_> = to.iter_mut().map(|(linear, y)| (&linear.weights, &mut **y)).collect();
    device.multiply(x, scratch, &mut products)?;
    for (linear, y) in to {
        if let Some(bias) = &linear.bias {
            device.add_to_rows(y, bias)?;
        }
    }
    Ok(())
}
