//! Weights that are made of others: rounded onto the grid of a format, or with an adapter beside them.

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

/// How the values of a parameter come about: its own weights, with what an adapter makes of them, rounded.
#[derive(Clone, Debug)]
pub struct Made {
    /// Before all else.
    pub own: Vec<f32>,
    /// What learns beside them.
    pub adapter: Option<Adapter>,
    /// What they are rounded to, one format after another, with rows of whole blocks. Gradients go through as if they were
    /// not (straight-through, arXiv 1308.3432).
    pub grids: Vec<&'static Format>,
}

/// What learns beside a matrix that stays as it is, by the numbers of parameters.
#[derive(Clone, Copy, Debug)]
pub enum Adapter {
    /// Low-rank matrices (LoRA, arXiv 2106.09685): `scale * up * down` is added to it.
    LowRank {
        /// Of `rank` rows, as wide as the matrix.
        down: usize,
        /// With as many rows as the matrix, `rank` wide.
        up: usize,
        /// alpha over the rank.
        scale: f32,
    },
    /// A factor for each of its rows.
    Rows(usize),
}

impl Parameter {
    /// Weights that are what they are.
    pub(super) fn plain(name: String, shape: Vec<usize>, values: Vec<f32>) -> Parameter {
        Parameter { name, shape, values, trains: true, made: None }
    }

    /// A matrix by chance, uniform within 1 / sqrt(columns), as linear layers of PyTorch begin.
    pub(super) fn uniform(name: String, [rows, columns]: [usize; 2], chance: &mut Chance) -> Parameter {
        let most = 1.0 / (columns as f64).sqrt();
        let values = (0..rows * columns).map(|_| ((2.0 * chance.uniform() - 1.0) * most) as f32).collect();
        Parameter::plain(name, vec![rows, columns], values)
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
        if !grids.is_empty() {
            parameter.make_of_others().grids = grids;
        }
    }

    /// Put low-rank matrices beside every matrix of the blocks that `chosen` names; these stay as they are from now on. The
    /// upper ones are zero, the lower ones uniform within 1 / sqrt(columns), as PEFT begins. Gives how many there are.
    pub fn adapt(&mut self, rank: usize, alpha: f32, chosen: impl Fn(&str) -> bool, seed: u64) -> usize {
        let mut chance = Chance(seed);
        self.put_beside(chosen, |matrix, next| {
            let ([rows, columns], name) = ([matrix.shape[0], matrix.shape[1]], matrix.name.trim_end_matches(".weight"));
            let down = Parameter::uniform(format!("{name}.lora_A.weight"), [rank, columns], &mut chance);
            let up = Parameter::plain(format!("{name}.lora_B.weight"), vec![rows, rank], vec![0.0; rows * rank]);
            (Adapter::LowRank { down: next, up: next + 1, scale: alpha / rank as f32 }, vec![down, up])
        })
    }

    /// Put a factor of 1 beside each row of every matrix of the blocks that `chosen` names; these stay as they are from now
    /// on. Gives how many matrices there are.
    pub fn scale_rows(&mut self, chosen: impl Fn(&str) -> bool) -> usize {
        self.put_beside(chosen, |matrix, next| {
            let (rows, name) = (matrix.shape[0], matrix.name.trim_end_matches(".weight"));
            (Adapter::Rows(next), vec![Parameter::plain(format!("{name}.factors"), vec![rows], vec![1.0; rows])])
        })
    }

    fn put_beside(
        &mut self,
        chosen: impl Fn(&str) -> bool,
        mut adapter: impl FnMut(&Parameter, usize) -> (Adapter, Vec<Parameter>),
    ) -> usize {
        let matrices: Vec<usize> = self.matrices().filter(|n| chosen(&self.parameters[*n].name)).collect();
        for n in &matrices {
            let (adapter, parameters) = adapter(&self.parameters[*n], self.parameters.len());
            self.parameters.extend(parameters);
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
        match parameter.adapter() {
            None => {}
            Some(Adapter::LowRank { down, up, scale }) => {
                let [down, up] = [down, up].map(|n| &self.parameters[n]);
                let scaled: Vec<f32> = up.values.iter().map(|v| v * scale).collect();
                let (down, up) = (View::new(&down.values, down.shape[1]), View::new(&scaled, up.shape[1]));
                super::gemm::multiply(&self.pool, self.frame.level, down.transposed(), up, values, true);
            }
            Some(Adapter::Rows(factors)) => {
                let rows = values.par_chunks_exact_mut(parameter.shape[1]).zip(&self.parameters[factors].values);
                rows.for_each(|(row, factor)| row.iter_mut().for_each(|v| *v *= factor));
            }
        }
    }
}
