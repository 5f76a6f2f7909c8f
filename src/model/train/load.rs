//! Weights out of a checkpoint, out of nothing, and back.

use super::{Dense, LayerParts, Network, Parameter};
use crate::arch::{NameRule, Need, Role, Settings, with_layer};
use crate::error::{Error, Result};
use crate::model::load::frame;
use crate::source::{Content, Given, Origin, Source};
use crate::tensor::{Shape, TensorInfo};
use std::collections::HashMap;
use std::sync::Arc;
use tersor_kernels::{Encoding, Format, Level};

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
                    parameters.push(Parameter { name, shape, values: source.values(id)?, trains: true });
                }
                None if rule.need == Need::Optional => {}
                None => return Err(Error::MissingTensors { names: vec![name] }),
            }
        }
        Ok(Network::of(frame, parameters))
    }

    fn of(frame: super::Frame, parameters: Vec<Parameter>) -> Network {
        let settings = &frame.settings;
        let numbers: HashMap<&str, usize> = parameters.iter().enumerate().map(|(n, p)| (p.name.as_str(), n)).collect();
        let find = |gguf: &str, layer| {
            let rule = settings.architecture.tensors.iter().find(|rule| rule.gguf == gguf)?;
            numbers.get(with_layer(rule.hf, layer).as_str()).copied()
        };
        let need = |gguf: &str, layer| find(gguf, layer).expect("every tensor was found or made");
        let layers = (0..settings[crate::arch::Count::Layers] as u32).map(Some).map(|layer| {
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
        Network { frame, parameters, layers, embedding, norm, head }
    }

    /// `source` with the weights as they are now, in `format` or each in the one that it has there.
    ///
    /// # Errors
    /// A weight that `format` cannot hold.
    pub fn to_source(&self, source: &Source, format: Option<&'static Format>) -> Result<Source> {
        let tensors = self.parameters.iter().map(|parameter| {
            let stored = source.find(&parameter.name).map(|id| source.tensor(id).format);
            let format = format.or(stored).unwrap_or_else(|| Format::by_name("bf16").expect("a row of the table"));
            let shape = Shape::new(parameter.shape.iter().map(|n| *n as u64).collect()).expect("it is in memory");
            let mut bytes = vec![0; parameter.values.len() * format.bytes];
            let unfit = || Error::Usage {
                problem: format!("tensor `{}` cannot be written as {}", parameter.name, format.name),
                hint: "look for NaN and infinity in it, or choose another format".into(),
            };
            let encode = format.encoder().ok_or_else(unfit)?;
            encode(self.frame.level, &parameter.values, &Encoding::default(), &mut bytes).map_err(|_| unfit())?;
            let info = TensorInfo { name: parameter.name.clone(), shape, format, bytes: bytes.len() as u64 };
            Ok((info, Content::Derived(Arc::new(Given(bytes)))))
        });
        Ok(source.with_tensors(tensors.collect::<Result<_>>()?))
    }
}

/// Every tensor of a family, layer by layer.
fn rules(settings: &Settings) -> impl Iterator<Item = (&'static NameRule, Option<u32>)> + '_ {
    let layers = settings[crate::arch::Count::Layers] as u32;
    let rules = settings.architecture.tensors.iter();
    rules.filter(|rule| rule.role != Role::Output || !settings.tied).flat_map(move |rule| {
        let layers: Vec<Option<u32>> = if rule.per_layer() { (0..layers).map(Some).collect() } else { vec![None] };
        layers.into_iter().map(move |layer| (rule, layer))
    })
}
