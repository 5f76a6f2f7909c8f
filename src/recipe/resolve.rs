//! From a source and a recipe to a job. Reads headers and the tokenizer, never weights (but for `rope_freqs`).

use super::choose::{Candidate, choosable, choose};
use super::folder::{self, NamedFile};
use super::{Recipe, metadata};
use crate::arch::{self, Architecture, Count, NameRule, Need, Role, RowOrder, Settings, glob, with_layer};
use crate::error::{Error, Result};
use crate::gguf::Metadata;
use crate::plan::{BlockScale, Container, Input, Plan, Reorder, TensorPlan, Why};
use crate::source::{Origin, Source};
use crate::tensor::{Shape, TensorId};
use crate::tokenizer;
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::path::Path;
use tersor_kernels::{Format, Level};

/// A plan with everything that stands before the tensors in the output.
#[derive(Debug)]
pub struct Job {
    /// The tensors.
    pub plan: Plan,
    /// The rest.
    pub head: Head,
    /// Hashes of the files that were read besides tensors, by name, for the source's hash.
    pub inputs: Vec<(String, blake3::Hash)>,
    /// Keep NaN and infinity.
    pub allow_non_finite: bool,
    /// Largest file.
    pub max_file_bytes: Option<u64>,
}

/// What stands before or beside the tensors.
#[derive(Debug)]
pub enum Head {
    /// Key-value pairs.
    Gguf(Metadata),
    /// Files of the folder.
    Folder(Vec<NamedFile>),
}

/// Decide everything.
///
/// # Errors
/// Whatever makes the job impossible, before a weight is read.
pub fn resolve(source: &Source, recipe: &Recipe) -> Result<Job> {
    match (&source.origin, recipe.container) {
        (Origin::HuggingFace { folder, config }, Container::Gguf) => folder_to_gguf(source, recipe, folder, config),
        (Origin::Gguf { metadata }, Container::Gguf) => gguf_to_gguf(source, recipe, metadata),
        (Origin::Gguf { metadata }, Container::Safetensors) => gguf_to_folder(source, recipe, metadata),
        (Origin::HuggingFace { folder, config }, Container::Safetensors) => {
            folder_to_folder(source, recipe, folder, config)
        }
        (Origin::Bare, _) => {
            let path = source.path.with_file_name("config.json");
            Err(Error::io("open", &path)(std::io::ErrorKind::NotFound.into()))
        }
    }
}

/// Collects tensor plans in the order of the output.
struct Planner<'a> {
    source: &'a Source,
    recipe: &'a Recipe,
    from_gguf: bool,
    /// The embedding serves as output head.
    tied: bool,
    float8: Option<(u64, u64)>,
    tensors: Vec<TensorPlan>,
    dropped: Vec<(String, &'static str)>,
    /// Rules that named a tensor whose format is a matter of choice.
    used: HashSet<usize>,
}

impl<'a> Planner<'a> {
    fn new(source: &'a Source, recipe: &'a Recipe, tied: bool) -> Self {
        let from_gguf = matches!(source.origin, Origin::Gguf { .. });
        let (tensors, dropped, used) = Default::default();
        Planner { source, recipe, from_gguf, tied, float8: None, tensors, dropped, used }
    }

    /// True when the user asked to leave this tensor out.
    fn dropped_by_user(&mut self, name: &str) -> bool {
        let dropped = self.recipe.drop.iter().any(|p| glob(p, name));
        if dropped {
            self.dropped.push((name.to_owned(), "--drop"));
        }
        dropped
    }

    fn add(&mut self, id: TensorId, name: String, role: Role, layer: Option<u32>, order: Reorder) -> Result<()> {
        let stored = self.source.tensor(id);
        let tied = self.tied && role == Role::TokenEmbedding;
        let candidate = Candidate {
            name: &name,
            names: &[&stored.name, &name],
            role: if tied { Role::Output } else { role },
            tied,
            rank: stored.shape.rank(),
            cols: stored.shape.cols(),
            stored: stored.format,
            from_gguf: self.from_gguf,
        };
        let (format, why) = choose(self.recipe, &candidate)?;
        if choosable(self.recipe, &candidate) {
            let rules = self.recipe.rules.iter().enumerate();
            self.used.extend(rules.filter(|(_, r)| r.matches(candidate.names)).map(|(n, _)| n));
        }
        if format.size_of(stored.shape.values()).is_none() {
            let (tensor, cols) = (name, stored.shape.cols());
            return Err(Error::Misshapen { tensor, cols, format: format.name, block: format.block });
        }
        let scale = self.block_scale(id)?;
        let input = Input::Stored { id, format: stored.format, order, scale };
        self.tensors.push(TensorPlan { name, role, layer, shape: stored.shape.clone(), input, format, why });
        Ok(())
    }

    /// The scales of a block-scaled float8 matrix.
    fn block_scale(&self, id: TensorId) -> Result<Option<BlockScale>> {
        let tensor = self.source.tensor(id);
        if !tensor.format.name.starts_with("f8") {
            return Ok(None);
        }
        let name = format!("{}_scale_inv", tensor.name);
        let wrong = |found: String, wanted: String| {
            Err(Error::malformed(&self.source.path, format!("tensor `{}`", tensor.name), found, wanted))
        };
        let (Some((rows, cols)), Some(id)) = (self.float8, self.source.find(&name)) else {
            return wrong("float8 values".into(), format!("their scales in `{name}`"));
        };
        let scales = self.source.tensor(id);
        let wanted = [tensor.shape.rows().div_ceil(rows), tensor.shape.cols().div_ceil(cols)];
        if tensor.shape.rank() != 2 || scales.shape.dims() != wanted || scales.format.decoder().is_none() {
            let found = format!("`{name}` of shape {} in {}", scales.shape, scales.format.name);
            return wrong(found, format!("{wanted:?}, one scale for {rows} x {cols} values"));
        }
        Ok(Some(BlockScale { id, rows, cols }))
    }

    fn finish(self) -> Result<Plan> {
        if let Some((_, rule)) = self.recipe.rules.iter().enumerate().find(|(n, _)| !self.used.contains(n)) {
            let literal = rule.literal();
            let names = self.tensors.iter().map(|t| &t.name);
            let mut near: Vec<String> =
                names.clone().filter(|n| n.contains(literal.trim_matches('.'))).cloned().collect();
            if near.is_empty() {
                near = names.filter(|n| n.ends_with(".weight") && !n.contains("norm")).take(5).cloned().collect();
            }
            near.truncate(5);
            return Err(Error::RuleUnmatched { rule: rule.text.clone(), near });
        }
        let source_bytes = self.source.tensors().iter().map(|t| t.bytes).sum();
        let container = self.recipe.container;
        Ok(Plan { container, tensors: self.tensors, dropped: self.dropped, source_bytes })
    }
}

fn folder_to_gguf(source: &Source, recipe: &Recipe, folder: &Path, config: &Map<String, Value>) -> Result<Job> {
    let path = source.config_path();
    let settings = arch::from_config(&path, config)?;
    let mut planner = Planner::new(source, recipe, settings.tied);
    planner.float8 = folder::float8_blocks(&path, config)?;
    plan_by_rules(&mut planner, &settings)?;
    if let Some(values) = settings.rope_divisors() {
        planner.tensors.insert(1.min(planner.tensors.len()), computed("rope_freqs.weight", values));
    }
    let plan = planner.finish()?;
    let options = tokenizer::Options { pre: recipe.pre.as_deref(), chat_template: recipe.chat_template.as_deref() };
    let tokenizer = tokenizer::from_folder(folder, &Value::Object(config.clone()), settings[Count::Vocab], &options)?;
    let mut inputs = vec![folder::hash_file(&path)?];
    for file in &tokenizer.files {
        inputs.push(folder::hash_file(file)?);
    }
    let mut m = metadata::general(settings.architecture.gguf, &source.name, folder, plan.values());
    m.extend(arch::to_metadata(&settings));
    m.extend(tokenizer.into_metadata());
    metadata::set_provenance(&mut m, recipe, &plan);
    Ok(job(plan, Head::Gguf(m), inputs, recipe))
}

fn job(plan: Plan, head: Head, inputs: Vec<(String, blake3::Hash)>, recipe: &Recipe) -> Job {
    Job { plan, head, inputs, allow_non_finite: recipe.allow_non_finite, max_file_bytes: recipe.max_file_bytes }
}

fn computed(name: &str, values: Vec<f32>) -> TensorPlan {
    let shape = Shape::new(vec![values.len() as u64]).expect("a short vector");
    let format = Format::by_name("f32").expect("a row of the table");
    let (name, role, layer) = (name.to_owned(), Role::Other, None);
    TensorPlan { name, role, layer, shape, input: Input::Computed(values), format, why: Why::Computed }
}

/// Every tensor of the checkpoint by the family's rules: none unknown, none missing, each of the right shape.
fn plan_by_rules(planner: &mut Planner<'_>, settings: &Settings) -> Result<()> {
    let architecture = settings.architecture;
    let mut found: Vec<(u32, usize, TensorId)> = Vec::new();
    let mut unmatched = Vec::new();
    for (n, tensor) in planner.source.tensors().iter().enumerate() {
        let name = &tensor.name;
        if planner.dropped_by_user(name) || planner.float8.is_some() && name.ends_with("_scale_inv") {
            continue;
        }
        if architecture.ignored.iter().any(|p| glob(p, name)) {
            planner.dropped.push((name.clone(), "no loader needs it"));
            continue;
        }
        match architecture.by_hf(name) {
            Some((rule, layer)) if layer.is_none_or(|l| u64::from(l) < settings[Count::Layers]) => {
                if rule.need == Need::Untied && settings.tied {
                    planner.dropped.push((name.clone(), "the embedding serves as output head"));
                    continue;
                }
                let index = rule_index(architecture, rule);
                let before_layers = if rule.role == Role::TokenEmbedding { 0 } else { u32::MAX };
                found.push((layer.map_or(before_layers, |l| l + 1), index, TensorId(n)));
            }
            _ => unmatched.push(name.clone()),
        }
    }
    if !unmatched.is_empty() {
        return Err(Error::UnmatchedTensors { architecture: architecture.gguf, names: unmatched });
    }
    check_missing(planner, settings)?;
    found.sort_unstable_by_key(|(layer, index, _)| (*layer, *index));
    for (_, index, id) in found {
        let rule = &architecture.tensors[index];
        let tensor = planner.source.tensor(id);
        let wanted = rule.shape_in(settings).filter(|s| *s == tensor.shape);
        if wanted.is_none() {
            let wanted = rule.shape_in(settings).map_or("a smaller one".into(), |s| s.to_string());
            return Err(Error::Shape { tensor: tensor.name.clone(), found: tensor.shape.to_string(), wanted });
        }
        let layer = architecture.by_hf(&tensor.name).and_then(|(_, layer)| layer);
        let order = match rule.rows {
            RowOrder::AsIs => Reorder::None,
            RowOrder::Rotary(_) => Reorder::Interleave { size: settings[Count::HeadSize] },
        };
        planner.add(id, with_layer(rule.gguf, layer), rule.role, layer, order)?;
    }
    Ok(())
}

fn rule_index(architecture: &Architecture, rule: &NameRule) -> usize {
    architecture.tensors.iter().position(|r| r.gguf == rule.gguf).unwrap_or(usize::MAX)
}

fn check_missing(planner: &Planner<'_>, settings: &Settings) -> Result<()> {
    let mut names = Vec::new();
    for rule in settings.architecture.tensors {
        if rule.need == Need::Optional || rule.need == Need::Untied && settings.tied {
            continue;
        }
        let layers = if rule.per_layer() { settings[Count::Layers] as u32 } else { 1 };
        for layer in 0..layers {
            let name = with_layer(rule.hf, rule.per_layer().then_some(layer));
            if planner.source.find(&name).is_none() && !planner.recipe.drop.iter().any(|p| glob(p, &name)) {
                names.push(name);
            }
        }
    }
    if names.is_empty() { Ok(()) } else { Err(Error::MissingTensors { names }) }
}

/// Every tensor under its own name; works for families without a row.
fn plan_as_named(planner: &mut Planner<'_>, role: impl Fn(&str) -> Role) -> Result<()> {
    for (n, tensor) in planner.source.tensors().iter().enumerate() {
        let name = &tensor.name;
        let scale = planner.float8.is_some() && name.ends_with("_scale_inv");
        if scale || planner.dropped_by_user(name) {
            continue;
        }
        planner.add(TensorId(n), name.clone(), role(name), layer_number(name), Reorder::None)?;
    }
    Ok(())
}

/// The first number between dots.
fn layer_number(name: &str) -> Option<u32> {
    name.split('.').find_map(|part| part.parse().ok())
}

fn gguf_to_gguf(source: &Source, recipe: &Recipe, carried: &Metadata) -> Result<Job> {
    if carried.text("general.architecture").is_none() {
        return Err(Error::MissingKey { path: source.path.clone(), key: "general.architecture".into() });
    }
    let mut planner = Planner::new(source, recipe, source.find("output.weight").is_none());
    plan_as_named(&mut planner, arch::role_of)?;
    let plan = planner.finish()?;
    let mut m = carried.clone();
    m.retain(|key| key != crate::gguf::ALIGNMENT_KEY);
    metadata::set_provenance(&mut m, recipe, &plan);
    Ok(job(plan, Head::Gguf(m), vec![metadata_hash(carried)], recipe))
}

fn metadata_hash(metadata: &Metadata) -> (String, blake3::Hash) {
    let (bytes, _) = crate::gguf::encode_header(metadata, &[], crate::gguf::DEFAULT_ALIGNMENT);
    ("metadata".into(), blake3::hash(&bytes))
}

fn folder_to_folder(source: &Source, recipe: &Recipe, folder: &Path, config: &Map<String, Value>) -> Result<Job> {
    let path = source.config_path();
    let mut planner = Planner::new(source, recipe, false);
    planner.float8 = folder::float8_blocks(&path, config)?;
    let known = arch::architecture_of(&path, config).ok();
    plan_as_named(&mut planner, |name| known.and_then(|a| a.by_hf(name)).map_or(Role::Other, |(rule, _)| rule.role))?;
    let plan = planner.finish()?;
    let inputs = vec![folder::hash_file(&path)?];
    let files = folder::carried_files(folder, config, main_dtype(&plan))?;
    Ok(job(plan, Head::Folder(files), inputs, recipe))
}

/// The dtype of most bytes.
fn main_dtype(plan: &Plan) -> &'static str {
    plan.formats().first().and_then(|(f, ..)| f.safetensors).unwrap_or("F32")
}

fn gguf_to_folder(source: &Source, recipe: &Recipe, carried: &Metadata) -> Result<Job> {
    let path = &source.path;
    let embedding = source.find("token_embd.weight").map(|id| source.tensor(id).shape.rows());
    let embedding = embedding.ok_or_else(|| Error::MissingTensors { names: vec!["token_embd.weight".into()] })?;
    let tied = source.find("output.weight").is_none();
    let divisors = source.find("rope_freqs.weight").map(|id| small_tensor(source, id)).transpose()?;
    let settings = arch::from_metadata(path, carried, embedding, tied, divisors.as_deref())?;
    let mut planner = Planner::new(source, recipe, tied);
    let architecture = settings.architecture;
    let mut unmatched = Vec::new();
    let mut biased = false;
    for (n, tensor) in source.tensors().iter().enumerate() {
        if tensor.name == "rope_freqs.weight" || planner.dropped_by_user(&tensor.name) {
            continue;
        }
        let Some((rule, layer)) = architecture.by_gguf(&tensor.name) else {
            unmatched.push(tensor.name.clone());
            continue;
        };
        let order = match rule.rows {
            RowOrder::AsIs => Reorder::None,
            RowOrder::Rotary(_) => Reorder::Deinterleave { size: settings[Count::HeadSize] },
        };
        biased |= rule.gguf.ends_with("attn_q.bias");
        planner.add(TensorId(n), with_layer(rule.hf, layer), rule.role, layer, order)?;
    }
    if !unmatched.is_empty() {
        return Err(Error::UnmatchedTensors { architecture: architecture.gguf, names: unmatched });
    }
    let plan = planner.finish()?;
    let mut config = arch::to_config(&settings, folder::torch_name(main_dtype(&plan)), biased);
    let generation = folder::generation_config(carried);
    for (key, value) in generation.as_object().into_iter().flatten() {
        config.insert(key.clone(), value.clone());
    }
    let mut files = vec![folder::json_file("config.json", &Value::Object(config))];
    files.push(folder::json_file("generation_config.json", &generation));
    files.extend(tokenizer::from_metadata(path, carried)?.to_files()?);
    Ok(job(plan, Head::Folder(files), vec![metadata_hash(carried)], recipe))
}

/// The values of a short vector.
fn small_tensor(source: &Source, id: TensorId) -> Result<Vec<f32>> {
    const LIMIT: u64 = 1 << 16;
    let tensor = source.tensor(id);
    let decode = tensor.format.decoder().filter(|_| tensor.shape.values() <= LIMIT).ok_or_else(|| {
        let found = format!("{} values of {}", tensor.shape.values(), tensor.format.name);
        Error::malformed(&source.path, format!("tensor `{}`", tensor.name), found, "one f32 per frequency")
    })?;
    let mut bytes = vec![0; tensor.bytes as usize];
    source.read(id, 0, &mut bytes)?;
    let mut values = vec![0.0; tensor.shape.values() as usize];
    decode(Level::best(), &bytes, &mut values);
    Ok(values)
}
