//! Weights out of a checkpoint, out of nothing, and back.

use super::{Dense, LayerParts, Network, Parameter};
use crate::arch::{Count, NameRule, Need, Role, Settings, with_layer};
use crate::chance::Chance;
use crate::error::{Error, Result};
use crate::model::load::frame;
use crate::source::{Origin, Source, given};
use std::collections::HashMap;
use tersor_kernels::matmul::Input;
use tersor_kernels::{Format, Level};

impl Network {
    /// The weights of `source`, a Hugging Face folder. All of them change.
    ///
    /// # Errors
    /// Another container, a family that is not known, tensors that are missing or of another shape, quantized weights, files
    /// that cannot be read.
    pub fn load(source: &Source, level: Level, threads: usize) -> Result<Network> {
        if !matches!(source.origin, Origin::HuggingFace { .. }) {
            let problem = format!("`{}` is no Hugging Face folder", source.path.display());
            return Err(Error::Usage { problem, hint: "models are trained from folders; see `tersor convert`".into() });
        }
        let frame = frame(source, level, threads)?;
        let mut parameters = Vec::new();
        for (rule, layer) in rules(&frame.settings) {
            let name = with_layer(rule.hf, layer);
            match source.find(&name) {
                Some(id) => {
                    let tensor = source.tensor(id);
                    rule.check_shape(tensor, &frame.settings)?;
                    let shape = tensor.shape.dims().iter().map(|n| *n as usize).collect();
                    parameters.push(Parameter::plain(name, shape, source.values(id)?));
                }
                None if rule.need == Need::Optional => {}
                None => return Err(Error::MissingTensors { names: vec![name] }),
            }
        }
        Ok(Network::of(frame, parameters))
    }

    /// Weights by chance, as config.json wants them: matrices normal with `initializer_range` (.02 without it), those that end
    /// in the residual stream smaller by the root of twice the number of blocks (GPT-2), norms 1, biases 0.
    ///
    /// # Errors
    /// A family that is not known, or settings that are missing.
    pub fn fresh(source: &Source, seed: u64, level: Level, threads: usize) -> Result<Network> {
        let frame = frame(source, level, threads)?;
        let config = match &source.origin {
            Origin::HuggingFace { config, .. } => Some(config),
            _ => None,
        };
        let deviation = config
            .and_then(|config| config.get("initializer_range"))
            .and_then(serde_json::Value::as_f64)
            .unwrap_or(0.02);
        let smaller = deviation / (2.0 * frame.settings[Count::Layers] as f64).sqrt();
        let mut parameters = Vec::new();
        let mut chance = Chance(seed);
        for (rule, layer) in rules(&frame.settings) {
            if rule.need == Need::Optional {
                continue;
            }
            let missing = || Error::MissingTensors { names: vec![with_layer(rule.hf, layer)] };
            let shape = rule.shape_in(&frame.settings).ok_or_else(missing)?;
            let count = shape.values() as usize;
            let values = match rule.role {
                Role::Norm => vec![1.0; count],
                Role::Bias => vec![0.0; count],
                Role::AttnOutput | Role::FfnDown => (0..count).map(|_| (chance.normal() * smaller) as f32).collect(),
                _ => (0..count).map(|_| (chance.normal() * deviation) as f32).collect(),
            };
            let shape = shape.dims().iter().map(|n| *n as usize).collect();
            parameters.push(Parameter::plain(with_layer(rule.hf, layer), shape, values));
        }
        Ok(Network::of(frame, parameters))
    }

    /// A hash of all weights.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let mut bytes = Vec::new();
        for parameter in &self.parameters {
            hasher.update(parameter.name.as_bytes());
            for values in parameter.own().chunks(1 << 16) {
                bytes.clear();
                values.iter().for_each(|v| bytes.extend(v.to_le_bytes()));
                hasher.update(&bytes);
            }
        }
        hasher.finalize().to_hex().to_string()
    }

    /// About how many bytes it takes to train a model with these settings on `tokens` at a time, with `copies` numbers held
    /// for each weight: itself, its gradient and two moments where all of them learn.
    pub fn memory(settings: &Settings, copies: u64, tokens: usize, recompute: bool) -> u64 {
        let values = |(rule, _): (&NameRule, Option<u32>)| rule.shape_in(settings).map_or(0, |shape| shape.values());
        let parameters = copies * rules(settings).map(values).sum::<u64>();
        let tokens = tokens.min(super::TOGETHER.max(settings[Count::Context].min(tokens as u64) as usize)) as u64;
        let heads = (2 * settings[Count::Heads] + 2 * settings[Count::KvHeads]) * settings[Count::HeadSize];
        let block = 2 * settings[Count::Hidden] + heads + 2 * settings[Count::Ffn];
        let layers = settings[Count::Layers];
        let kept = if recompute { layers * settings[Count::Hidden] + block } else { layers * block };
        4 * (parameters + tokens * (kept + 3 * block)) + 3 * super::LOGITS as u64
    }

    fn of(frame: super::Frame, parameters: Vec<Parameter>) -> Network {
        let settings = &frame.settings;
        let numbers: HashMap<&str, usize> = parameters.iter().enumerate().map(|(n, p)| (p.name.as_str(), n)).collect();
        let find = |gguf: &str, layer| {
            let rule = settings.architecture.tensors.iter().find(|rule| rule.gguf == gguf)?;
            numbers.get(with_layer(rule.hf, layer).as_str()).copied()
        };
        let need = |gguf: &str, layer| find(gguf, layer).expect("every tensor was found or made");
        let layers = (0..settings[Count::Layers] as u32).map(Some).map(|layer| {
            let dense = |name: &str| Dense {
                weight: need(&format!("blk.{{}}.{name}.weight"), layer),
                bias: find(&format!("blk.{{}}.{name}.bias"), layer),
            };
            LayerParts {
                attn_norm: need("blk.{}.attn_norm.weight", layer),
                q: dense("attn_q"),
                k: dense("attn_k"),
                v: dense("attn_v"),
                attn_output: dense("attn_output"),
                ffn_norm: need("blk.{}.ffn_norm.weight", layer),
                gate: dense("ffn_gate"),
                up: dense("ffn_up"),
                down: dense("ffn_down"),
            }
        });
        let layers = layers.collect();
        let embedding = need("token_embd.weight", None);
        let head = if settings.tied { embedding } else { need("output.weight", None) };
        let norm = need("output_norm.weight", None);
        let model = parameters.len();
        Network {
            frame,
            parameters,
            model,
            layers,
            embedding,
            norm,
            head,
            projection: None,
            pool: super::pool::Pool::new(Input::F32),
        }
    }

    /// `source` with the weights as they are now, not rounded, each in the format that it has there; bf16 where it has none.
    ///
    /// # Errors
    /// A weight that its format cannot hold.
    pub fn to_source(&self, source: &Source) -> Result<Source> {
        let mut values = Vec::new();
        let tensors = self.parameters[..self.model].iter().enumerate().map(|(n, parameter)| {
            let stored = source.find(&parameter.name).map(|id| source.tensor(id).format);
            let format = stored.unwrap_or_else(|| Format::by_name("bf16").expect("a row of the table"));
            let dims = parameter.shape.iter().map(|n| *n as u64).collect();
            values.resize(parameter.values.len(), 0.0);
            self.frame.pool.install(|| self.unrounded(n, &mut values));
            given(&parameter.name, dims, format, &values).ok_or_else(|| Error::unwritable(&parameter.name, format.name))
        });
        Ok(source.with_tensors(tensors.collect::<Result<_>>()?))
    }
}

/// Every tensor of a family, layer by layer.
fn rules(settings: &Settings) -> impl Iterator<Item = (&'static NameRule, Option<u32>)> + '_ {
    let layers = settings[Count::Layers] as u32;
    let rules = settings.architecture.tensors.iter();
    rules.filter(|rule| rule.role != Role::Output || !settings.tied).flat_map(move |rule| {
        let layers: Vec<Option<u32>> = if rule.per_layer() { (0..layers).map(Some).collect() } else { vec![None] };
        layers.into_iter().map(move |layer| (rule, layer))
    })
}
