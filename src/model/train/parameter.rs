//! Weights that are made of others: rounded onto the grid of a format, or with a low-rank adapter on top.

use super::{LayerParts, Network, View};
use crate::chance::Chance;
use crate::error::{Error, Result};
use rayon::prelude::*;
use tersor_kernels::{Encoding, Format, Level};

/// A tensor of weights.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name in a Hugging Face folder.
    pub name: String,
    /// Its shape, slowest first.
    pub shape: Vec<usize>,
    /// Row after row, as products take them.
    pub values: Vec<f32>,
    /// It changes.
    pub trains: bool,
    /// What `values` are made of, where they are not themselves what changes.
    pub made: Option<Made>,
}

/// How the values of a parameter come about: its own weights, with what an adapter adds, rounded.
#[derive(Clone, Debug)]
pub struct Made {
    /// Before all else.
    pub own: Vec<f32>,
    /// What is added.
    pub adapter: Option<Adapter>,
    /// What they are rounded to, one format after another, with rows of whole blocks. Gradients go through as if they were
    /// not (straight-through, arXiv 1308.3432).
    pub grids: Vec<&'static Format>,
}

/// Low-rank matrices beside one that stays (LoRA, arXiv 2106.09685): `scale * up * down` is added to it.
#[derive(Clone, Copy, Debug)]
pub struct Adapter {
    /// The number of the parameter of `rank` rows, as wide as the matrix.
    pub down: usize,
    /// The number of that with as many rows as the matrix, `rank` wide.
    pub up: usize,
    /// alpha over the rank.
    pub scale: f32,
}

impl Parameter {
    /// Weights that are what they are.
    pub(super) fn plain(name: String, shape: Vec<usize>, values: Vec<f32>) -> Parameter {
        Parameter { name, shape, values, trains: true, made: None }
    }

    /// What an update changes.
    pub fn own(&self) -> &[f32] {
        self.made.as_ref().map_or(&self.values, |made| &made.own)
    }

    /// The same, to be changed; [`Network::make`] brings the values after it.
    pub fn own_mut(&mut self) -> &mut Vec<f32> {
        self.made.as_mut().map_or(&mut self.values, |made| &mut made.own)
    }

    pub(super) fn adapter(&self) -> Option<Adapter> {
        self.made.as_ref().and_then(|made| made.adapter)
    }

    fn make_of_others(&mut self) -> &mut Made {
        self.made.get_or_insert_with(|| Made { own: self.values.clone(), adapter: None, grids: Vec::new() })
    }

    /// The same values rounded to `format`, row by row.
    fn round(&mut self, format: &'static Format, level: Level) -> Result<()> {
        let (Some(encode), Some(decode)) = (format.encoder(), format.decoder()) else { return Ok(()) };
        let width = self.shape[self.shape.len() - 1];
        let bytes = width / format.block * format.bytes;
        let rounded: Result<(), ()> = self.values.par_chunks_exact_mut(width).try_for_each_init(
            || vec![0; bytes],
            |buffer, row| {
                encode(level, row, &Encoding::default(), buffer).map_err(|_| ())?;
                decode(level, buffer, row);
                Ok(())
            },
        );
        rounded.map_err(|()| Error::unwritable(&self.name, format.name))
    }
}

impl Network {
    /// The matrices of the blocks.
    pub fn matrices(&self) -> impl Iterator<Item = usize> {
        let of = |l: &LayerParts| [&l.q, &l.k, &l.v, &l.attn_output, &l.gate, &l.up, &l.down].map(|dense| dense.weight);
        self.layers.iter().flat_map(of)
    }

    /// Products take parameter `n` rounded to `grids` from now on, which it is at once by [`Network::make`].
    ///
    /// # Panics
    /// When its rows are no whole blocks of them.
    pub fn round(&mut self, n: usize, grids: Vec<&'static Format>) {
        let parameter = &mut self.parameters[n];
        let width = parameter.shape[parameter.shape.len() - 1];
        assert!(grids.iter().all(|grid| width.is_multiple_of(grid.block)), "{}: rows of whole blocks", parameter.name);
        parameter.make_of_others().grids = grids;
    }

    /// Put an adapter beside every matrix of the blocks that `chosen` names; these matrices stay as they are from now on.
    /// The upper matrices are zero, the lower ones uniform within 1 / sqrt(columns), as PEFT begins. Gives how many there are.
    pub fn adapt(&mut self, rank: usize, alpha: f32, chosen: impl Fn(&str) -> bool, seed: u64) -> usize {
        let (scale, mut chance) = (alpha / rank as f32, Chance(seed));
        let matrices: Vec<usize> = self.matrices().filter(|n| chosen(&self.parameters[*n].name)).collect();
        for n in &matrices {
            let [rows, columns] = [self.parameters[*n].shape[0], self.parameters[*n].shape[1]];
            let name = self.parameters[*n].name.trim_end_matches(".weight").to_owned();
            let most = 1.0 / (columns as f64).sqrt();
            let values = (0..rank * columns).map(|_| ((2.0 * chance.uniform() - 1.0) * most) as f32).collect();
            let down = Parameter::plain(format!("{name}.lora_A.weight"), vec![rank, columns], values);
            let up = Parameter::plain(format!("{name}.lora_B.weight"), vec![rows, rank], vec![0.0; rows * rank]);
            let adapter = Adapter { down: self.parameters.len(), up: self.parameters.len() + 1, scale };
            self.parameters.extend([down, up]);
            self.parameters[*n].make_of_others().adapter = Some(adapter);
            self.parameters[*n].trains = false;
        }
        matrices.len()
    }

    /// Bring all values after what they are made of has changed.
    ///
    /// # Errors
    /// [`Error::Usage`] for a value that the format cannot hold.
    pub fn make(&mut self) -> Result<()> {
        let level = self.frame.level;
        for n in 0..self.model {
            let Some(made) = &self.parameters[n].made else { continue };
            if made.grids.is_empty() && made.adapter.is_none() {
                continue;
            }
            let grids = made.grids.clone();
            let mut values = std::mem::take(&mut self.parameters[n].values);
            self.frame.pool.install(|| self.unrounded(n, &mut values));
            let Network { parameters, frame, .. } = self;
            parameters[n].values = values;
            frame.pool.install(|| grids.iter().try_for_each(|grid| parameters[n].round(grid, level)))?;
        }
        Ok(())
    }

    /// Parameter `n` before it is rounded.
    pub(super) fn unrounded(&self, n: usize, values: &mut [f32]) {
        let parameter = &self.parameters[n];
        values.copy_from_slice(parameter.own());
        let Some(Adapter { down, up, scale }) = parameter.adapter() else { return };
        let [down, up] = [down, up].map(|n| &self.parameters[n]);
        let scaled: Vec<f32> = up.values.iter().map(|v| v * scale).collect();
        let (down, up) = (View::new(&down.values, down.shape[1]), View::new(&scaled, up.shape[1]));
        super::gemm::multiply(&self.pool, self.frame.level, down.transposed(), up, values, true);
    }
}
