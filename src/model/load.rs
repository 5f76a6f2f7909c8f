//! From a checkpoint to weights in memory.

use super::device::OnDevice;
use super::layer::{Frame, Layer};
use super::linear::Linear;
use super::rotary::Rotary;
use super::{Computed, Held, Here, Model, Weights};
use crate::arch::{Count, NameRule, Need, Role, Settings, with_layer};
use crate::error::{Error, Result};
use crate::plan::Reorder;
use crate::progress::{Progress, Silent};
use crate::source::{Origin, Source};
use crate::tensor::TensorId;
use rayon::prelude::*;
use tersor_kernels::matmul::{Matrix, PANEL};
use tersor_kernels::{Class, Encoding, Format, Level, NonFinite};

impl Model {
    /// Load all weights into the memory of the CPU. `progress` hears of bytes of the source.
    ///
    /// # Errors
    /// A family that is not known, tensors that are missing or of another shape, files that cannot be read,
    /// [`Error::Interrupted`].
    pub fn load(
        source: Source,
        weights: Weights,
        level: Level,
        threads: usize,
        progress: &dyn Progress,
    ) -> Result<Model> {
        Model::of(source, weights, level, threads, progress, |loader| loader.all().map(Held::Here))
    }

    /// Load all weights into the memory of the GPU with this number.
    pub(super) fn load_on_gpu(
        ordinal: usize,
        source: Source,
        weights: Weights,
        level: Level,
        threads: usize,
        progress: &dyn Progress,
    ) -> Result<Model> {
        Model::of(source, weights, level, threads, progress, |loader| {
            OnDevice::load(ordinal, loader).map(|there| Held::There(Box::new(there)))
        })
    }

    fn of(
        source: Source,
        weights: Weights,
        level: Level,
        threads: usize,
        progress: &dyn Progress,
        hold: impl FnOnce(&Loader<'_>) -> Result<Held> + Send,
    ) -> Result<Model> {
        let frame = frame(&source, level, threads)?;
        let loader = Loader { source: &source, settings: &frame.settings, weights, level, progress };
        let held = frame.pool.install(|| hold(&loader))?;
        let quantized = source.tensors().iter().any(|t| t.format.class == Class::Block);
        let embedding = Embedding::new(source, &frame)?;
        let computed = match &held {
            Held::Here(_) => Computed::on_cpu(),
            Held::There(there) => Computed::on_gpu(there.name()),
        };
        Ok(Model { frame, embedding, held, computed, quantized })
    }
}

/// The weights of one block, to be run in place of a model's own.
pub struct Block(pub(super) Layer);

impl Model {
    /// Block `n` as `source` has it, a checkpoint of the same settings. Its weights are decoded to f32.
    ///
    /// # Errors
    /// Tensors that are missing or of another shape, files that cannot be read.
    pub fn block_of(&self, source: &Source, n: usize) -> Result<Block> {
        let (settings, level) = (&self.frame.settings, self.frame.level);
        let loader = Loader { source, settings, weights: Weights::Decoded, level, progress: &Silent };
        self.frame.pool.install(|| loader.layer(n as u32)).map(Block)
    }
}

/// What the blocks of `source` share.
pub(super) fn frame(source: &Source, level: Level, threads: usize) -> Result<Frame> {
    check_plain(source)?;
    let settings = source.settings()?;
    let rotary = Rotary::new(&settings);
    Ok(Frame { settings, level, pool: pool(threads)?, rotary })
}

/// Weights whose scales stand in other tensors would be run without them.
fn check_plain(source: &Source) -> Result<()> {
    let Origin::HuggingFace { config, .. } = &source.origin else { return Ok(()) };
    let Some(table) = config.get("quantization_config").filter(|v| !v.is_null()) else { return Ok(()) };
    let path = source.config_path();
    match table.get("quant_method").and_then(|m| m.as_str()).unwrap_or("a method without a name") {
        "fp8" => Err(Error::Usage {
            problem: format!("`{}`: weights of float8 with scales are converted, but not run", path.display()),
            hint: "run what `tersor convert` makes of it".into(),
        }),
        method => Err(Error::ForeignQuantization { path, method: method.to_owned() }),
    }
}

pub(super) fn pool(threads: usize) -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|e| Error::Usage {
        problem: format!("{threads} threads cannot be started: {e}"),
        hint: "ask for fewer".into(),
    })
}

/// The matrices of a block.
const LINEARS: [Role; 7] =
    [Role::AttnQ, Role::AttnK, Role::AttnV, Role::AttnOutput, Role::FfnGate, Role::FfnUp, Role::FfnDown];

/// Reads weights; it runs on the threads of the pool that it is called in.
pub(super) struct Loader<'a> {
    pub(super) source: &'a Source,
    pub(super) settings: &'a Settings,
    pub(super) weights: Weights,
    pub(super) level: Level,
    pub(super) progress: &'a dyn Progress,
}

impl Loader<'_> {
    fn all(&self) -> Result<Here> {
        let layers = (0..self.settings[Count::Layers] as u32).map(|n| self.layer(n)).collect::<Result<_>>()?;
        let norm = self.vector("output_norm.weight", None)?;
        let head = if self.settings.tied { Role::TokenEmbedding } else { Role::Output };
        Ok(Here { layers, norm, head: self.linear(head, None)? })
    }

    /// One block.
    pub(super) fn layer(&self, n: u32) -> Result<Layer> {
        Layer::read(|role| self.linear(role, Some(n)), |name| self.vector(name, Some(n)))
    }

    /// Bytes that the matrices of one block take in memory.
    pub(super) fn layer_bytes(&self, n: u32) -> Result<u64> {
        let bytes = |role: &Role| {
            let tensor = self.source.tensor(self.weight(*role, Some(n))?.0);
            let [rows, columns] = [tensor.shape.rows(), tensor.shape.cols()].map(|n| n as usize);
            let decoded = || 4 * tensor.shape.values();
            Ok(Matrix::size(tensor.format, rows, columns).map_or_else(decoded, |bytes| bytes as u64))
        };
        LINEARS.iter().map(bytes).sum()
    }

    /// The rule of a name in GGUF.
    fn rule(&self, gguf: &str) -> Option<&'static NameRule> {
        self.settings.architecture.tensors.iter().find(|r| r.gguf == gguf)
    }

    /// The tensor of a rule, held against the shape that the settings give it.
    fn find(&self, rule: &NameRule, layer: Option<u32>) -> Result<Option<TensorId>> {
        let in_gguf = matches!(self.source.origin, Origin::Gguf { .. });
        let name = with_layer(if in_gguf { rule.gguf } else { rule.hf }, layer);
        let Some(id) = self.source.find(&name) else {
            let optional = rule.need == Need::Optional;
            return if optional { Ok(None) } else { Err(Error::MissingTensors { names: vec![name] }) };
        };
        rule.check_shape(self.source.tensor(id), self.settings)?;
        Ok(Some(id))
    }

    /// The weight with a role, and how its rows lie.
    pub(super) fn weight(&self, role: Role, layer: Option<u32>) -> Result<(TensorId, &'static NameRule)> {
        let rule = self.settings.architecture.tensors.iter().find(|r| r.role == role);
        let rule = rule.ok_or_else(|| Error::MissingTensors { names: vec![role.name()] })?;
        let missing = || Error::MissingTensors { names: vec![with_layer(rule.gguf, layer)] };
        Ok((self.find(rule, layer)?.ok_or_else(missing)?, rule))
    }

    pub(super) fn order(&self, rule: &NameRule) -> Reorder {
        let in_gguf = matches!(self.source.origin, Origin::Gguf { .. });
        Reorder::to_folder(rule.rows, in_gguf, self.settings[Count::HeadSize])
    }

    fn linear(&self, role: Role, layer: Option<u32>) -> Result<Linear> {
        let (id, rule) = self.weight(role, layer)?;
        Ok(Linear { weights: self.matrix(id, self.order(rule))?, bias: self.bias(rule, layer)? })
    }

    /// The bias beside the weight of a rule.
    pub(super) fn bias(&self, rule: &NameRule, layer: Option<u32>) -> Result<Option<Vec<f32>>> {
        match self.rule(&rule.gguf.replace(".weight", ".bias")) {
            Some(rule) => self.find(rule, layer)?.map(|id| self.reordered(id, self.order(rule))).transpose(),
            None => Ok(None),
        }
    }

    pub(super) fn vector(&self, gguf: &str, layer: Option<u32>) -> Result<Vec<f32>> {
        let missing = || Error::MissingTensors { names: vec![with_layer(gguf, layer)] };
        let rule = self.rule(gguf).ok_or_else(missing)?;
        self.source.values(self.find(rule, layer)?.ok_or_else(missing)?)
    }

    /// A vector with its values as a matrix has its rows.
    fn reordered(&self, id: TensorId, order: Reorder) -> Result<Vec<f32>> {
        let stored = self.source.values(id)?;
        Ok((0..stored.len() as u64).map(|row| stored[order.source_row(row) as usize]).collect())
    }

    /// The matrix, still to be filled, that has the products of q8_0 without its zeros: where it is stored so, and smaller.
    fn sparse(&self, id: TensorId, order: Reorder) -> Option<Matrix> {
        let tensor = self.source.tensor(id);
        let (rows, columns) = (tensor.shape.rows(), tensor.shape.cols());
        if tensor.format.name != "q8_0" {
            return None;
        }
        let mut kept = vec![0; (rows as usize).div_ceil(PANEL)];
        for row in 0..rows {
            kept[row as usize / PANEL] += self.source.kept(id, order.source_row(row))? as usize;
        }
        let dense = Matrix::size(tensor.format, rows as usize, columns as usize)?;
        Matrix::sparse(rows as usize, columns as usize, &kept).filter(|sparse| sparse.bytes() < dense)
    }

    /// The matrix of a tensor, still to be filled: in its own format, or in f32 where that has no products or others are wanted.
    fn empty(&self, id: TensorId, order: Reorder) -> Option<Matrix> {
        let tensor = self.source.tensor(id);
        let (rows, columns) = (tensor.shape.rows() as usize, tensor.shape.cols() as usize);
        let f32 = Format::by_name("f32").expect("a row of the table");
        let own = match (self.weights, tensor.format.class) {
            (Weights::Bf16, Class::Float) => Some(Matrix::bf16(rows, columns)),
            (Weights::Decoded, Class::Block) => None,
            _ => self.sparse(id, order).or_else(|| Matrix::new(tensor.format, rows, columns)),
        };
        own.or_else(|| Matrix::new(f32, rows, columns))
    }

    fn matrix(&self, id: TensorId, order: Reorder) -> Result<Matrix> {
        let tensor = self.source.tensor(id);
        let unreadable = || self.source.unreadable(id);
        let mut matrix = self.empty(id, order).ok_or_else(unreadable)?;
        let (row_bytes, columns, to) =
            (tensor.bytes as usize / matrix.rows().max(1), matrix.columns(), matrix.format());
        let change = if tensor.format == to {
            None
        } else {
            Some(tensor.format.decoder().zip(to.encoder()).ok_or_else(unreadable)?)
        };
        let how = Encoding { non_finite: NonFinite::Keep, ..Encoding::default() };
        let panels: Vec<_> = matrix.panels_mut().collect();
        panels.into_par_iter().try_for_each(|mut panel| {
            let mut stored = vec![0; panel.rows.len() * row_bytes];
            if order == Reorder::None {
                self.source.read(id, (panel.rows.start * row_bytes) as u64, &mut stored)?;
            } else {
                for (row, bytes) in panel.rows.clone().zip(stored.chunks_exact_mut(row_bytes.max(1))) {
                    self.source.read(id, order.source_row(row as u64) * row_bytes as u64, bytes)?;
                }
            }
            let read = stored.len() as u64;
            if let Some((decode, encode)) = change {
                let mut values = vec![0.0; panel.rows.len() * columns];
                decode(self.level, &stored, &mut values);
                stored.resize(panel.rows.len() * panel.row_bytes, 0);
                let unwritable = |_| Error::unwritable(&tensor.name, to.name);
                encode(self.level, &values, &how, &mut stored).map_err(unwritable)?;
            }
            panel.fill(&stored);
            self.advance(read)
        })?;
        Ok(matrix)
    }

    /// So many bytes were read.
    pub(super) fn advance(&self, bytes: u64) -> Result<()> {
        self.progress.advance(bytes);
        if self.progress.cancelled() { Err(Error::Interrupted) } else { Ok(()) }
    }
}

/// The embedding: rows are read when they are wanted, since a model wants few of them.
pub(super) struct Embedding {
    source: Source,
    id: TensorId,
    level: Level,
}

impl Embedding {
    pub(super) fn new(source: Source, frame: &Frame) -> Result<Embedding> {
        let (settings, level, weights, progress) = (&frame.settings, frame.level, Weights::AsStored, &Silent);
        let (id, _) =
            Loader { source: &source, settings, weights, level, progress }.weight(Role::TokenEmbedding, None)?;
        Ok(Embedding { source, id, level })
    }

    /// The checkpoint that it is in.
    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// Tokens have rows.
    pub(super) fn check(&self, tokens: &[u32]) -> Result<()> {
        let rows = self.source.tensor(self.id).shape.rows();
        let Some(token) = tokens.iter().find(|token| u64::from(**token) >= rows) else { return Ok(()) };
        let problem = format!("the token {token}, but the model has {rows}");
        Err(Error::Usage { problem, hint: "use the model's own tokenizer".into() })
    }

    /// The rows of `tokens`, one after another.
    pub(super) fn rows(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        let tensor = self.source.tensor(self.id);
        let decode = tensor.format.decoder().ok_or_else(|| self.source.unreadable(self.id))?;
        let (rows, columns) = (tensor.shape.rows(), tensor.shape.cols() as usize);
        let mut bytes = vec![0; (tensor.bytes / rows.max(1)) as usize];
        let mut values = vec![0.0; tokens.len() * columns];
        self.check(tokens)?;
        for (token, values) in tokens.iter().zip(values.chunks_exact_mut(columns.max(1))) {
            self.source.read(self.id, u64::from(*token) * bytes.len() as u64, &mut bytes)?;
            decode(self.level, &bytes, values);
        }
        Ok(values)
    }
}
