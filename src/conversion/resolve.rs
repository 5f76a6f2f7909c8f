//! From a source and a conversion to a job. Reads headers and the tokenizer, never weights (but for `rope_freqs`).

use super::choose::{Candidate, choosable, choose};
use super::folder::{self, NamedFile};
use super::model::Model;
use super::{Conversion, importance, metadata};
use crate::arch::{self, Architecture, Count, NameRule, Need, Role, RowOrder, Settings, glob, with_layer};
use crate::error::{Error, Result};
use crate::gguf::Metadata;
use crate::plan::{BlockScale, Container, Input, Plan, Reorder, TensorPlan, Why, by_format};
use crate::source::{HISTORY, Origin, ROPE_FREQS, Source};
use crate::tensor::{Shape, TensorId, TensorInfo};
use crate::tokenizer;
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use tersor_kernels::{Effort, Format};

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
    /// See [`Conversion::effort`].
    pub effort: Effort,
    /// By tensor, what an error in each of its columns counts, where that is known.
    pub importance: HashMap<String, Vec<f32>>,
    /// Columns that got the mean of their matrix.
    pub filled_columns: usize,
    /// See [`Conversion::count_zeros`].
    pub count_zeros: bool,
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

/// Names in a hint.
const SHOWN: usize = 5;

/// Decide everything.
///
/// # Errors
/// Whatever makes the job impossible, before a weight is read.
pub fn resolve(source: &Source, conversion: &Conversion) -> Result<Job> {
    check_options(source, conversion)?;
    match (&source.origin, conversion.container) {
        (Origin::HuggingFace { folder, config }, Container::Gguf) => folder_to_gguf(source, conversion, folder, config),
        (Origin::Gguf { metadata }, Container::Gguf) => gguf_to_gguf(source, conversion, metadata),
        (Origin::Gguf { metadata }, Container::Safetensors) => gguf_to_folder(source, conversion, metadata),
        (Origin::HuggingFace { folder, config }, Container::Safetensors) => {
            folder_to_folder(source, conversion, folder, config)
        }
        (Origin::Bare, _) => {
            let path = source.path.with_file_name("config.json");
            Err(Error::io("open", &path)(std::io::ErrorKind::NotFound.into()))
        }
    }
}

/// An option that could do nothing is an error, not silence.
fn check_options(source: &Source, conversion: &Conversion) -> Result<()> {
    let from_folder = matches!(source.origin, Origin::HuggingFace { .. });
    let to_gguf = conversion.container == Container::Gguf;
    let idle = [
        ("--pre", conversion.pre.is_some() && !(from_folder && to_gguf), "a Hugging Face folder that becomes GGUF"),
        (
            "--chat-template",
            conversion.chat_template.is_some() && !(from_folder && to_gguf),
            "a folder that becomes GGUF",
        ),
        ("--override-kv", !conversion.overrides.is_empty() && !to_gguf, "GGUF output"),
    ];
    match idle.iter().find(|(_, idle, _)| *idle) {
        Some((option, _, use_of)) => Err(Error::Usage {
            problem: format!("`{option}` has no effect here: it is for {use_of}"),
            hint: format!("leave `{option}` out"),
        }),
        None => Ok(()),
    }
}

/// Collects tensor plans in the order of the output.
struct Planner<'a> {
    source: &'a Source,
    conversion: &'a Conversion,
    from_gguf: bool,
    model: Model,
    /// The embedding serves as output head.
    tied: bool,
    float8: Option<(u64, u64)>,
    tensors: Vec<TensorPlan>,
    dropped: Vec<(String, &'static str)>,
    /// Rules that named a tensor whose format is a matter of choice.
    used: HashSet<usize>,
}

impl<'a> Planner<'a> {
    fn new(source: &'a Source, conversion: &'a Conversion, model: Model, tied: bool) -> Self {
        let from_gguf = matches!(source.origin, Origin::Gguf { .. });
        let (tensors, dropped, used) = Default::default();
        Planner { source, conversion, from_gguf, model, tied, float8: None, tensors, dropped, used }
    }

    /// True when the user asked to leave this tensor out.
    fn dropped_by_user(&mut self, name: &str) -> bool {
        let dropped = self.conversion.drop.iter().any(|p| glob(p, name));
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
            shape: &stored.shape,
            stored: stored.format,
            model: &self.model,
            imatrix: self.conversion.importance.is_some(),
            from_gguf: self.from_gguf,
        };
        let (format, why) = choose(self.conversion, &candidate)?;
        if choosable(self.conversion, &candidate) {
            let rules = self.conversion.rules.iter().enumerate();
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

    /// Names that a pattern could have meant.
    fn near(&self, pattern: &str) -> Vec<String> {
        let names = || self.tensors.iter().map(|t| &t.name);
        let alike = names().filter(|n| n.contains(pattern.trim_matches(['.', '*', '?'])));
        let mut near: Vec<String> = alike.take(SHOWN).cloned().collect();
        if near.is_empty() {
            near = names().filter(|n| n.ends_with(".weight") && !n.contains("norm")).take(SHOWN).cloned().collect();
        }
        near
    }

    fn finish(self) -> Result<Plan> {
        if let Some(pattern) = self.conversion.drop.iter().find(|p| !self.dropped.iter().any(|(name, _)| glob(p, name)))
        {
            return Err(Error::RuleUnmatched { rule: pattern.clone(), near: self.near(pattern) });
        }
        if let Some((_, rule)) = self.conversion.rules.iter().enumerate().find(|(n, _)| !self.used.contains(n)) {
            if self.tensors.iter().any(|t| rule.matches(&[&t.name])) {
                let problem = "it matches only tensors that stay float: norms, biases and other vectors".to_owned();
                return Err(Error::BadRule { rule: rule.text.clone(), problem });
            }
            let near = self.near(rule.literal());
            return Err(Error::RuleUnmatched { rule: rule.text.clone(), near });
        }
        let source_bytes = self.source.stored_bytes();
        let facts = HISTORY.iter().filter_map(|key| Some((*key, self.source.fact(key)?.to_owned())));
        let history = facts.chain(self.conversion.told.clone()).collect();
        let container = self.conversion.container;
        Ok(Plan { container, tensors: self.tensors, dropped: self.dropped, source_bytes, history })
    }
}

/// Names of the source's tensors that the user does not leave out.
fn kept<'a>(source: &'a Source, conversion: &'a Conversion) -> impl Iterator<Item = &'a str> {
    let names = source.tensors().iter().map(|t| t.name.as_str());
    names.filter(|name| !conversion.drop.iter().any(|p| glob(p, name)))
}

fn folder_to_gguf(source: &Source, conversion: &Conversion, folder: &Path, config: &Map<String, Value>) -> Result<Job> {
    let path = source.config_path();
    let settings = source.settings()?;
    let in_gguf = |name: &str| settings.architecture.by_hf(name).map(|(rule, layer)| with_layer(rule.gguf, layer));
    let model = Model::from_settings(&settings, kept(source, conversion).filter_map(in_gguf));
    let mut planner = Planner::new(source, conversion, model, settings.tied);
    planner.float8 = folder::float8_blocks(&path, config)?;
    plan_by_rules(&mut planner, &settings, Direction::ToGguf)?;
    if let Some(values) = settings.rope_divisors() {
        planner.tensors.insert(1.min(planner.tensors.len()), computed(ROPE_FREQS, values));
    }
    let plan = planner.finish()?;
    let options =
        tokenizer::Options { pre: conversion.pre.as_deref(), chat_template: conversion.chat_template.as_deref() };
    let tokenizer = tokenizer::from_folder(folder, &Value::Object(config.clone()), settings[Count::Vocab], &options)?;
    let mut inputs = vec![config_hash(source, config)?];
    for file in &tokenizer.files {
        inputs.push(folder::hash_file(file)?);
    }
    let mut m = metadata::general(settings.architecture.gguf, &source.name, folder, plan.values());
    m.extend(arch::to_metadata(&settings));
    metadata::set_provenance(&mut m, conversion, &plan);
    m.extend(tokenizer.into_metadata());
    metadata::apply_overrides(&mut m, conversion);
    job(plan, Head::Gguf(m), inputs, conversion)
}

/// The hash of config.json: of the file, or of the one that a folder of the changed weights would have.
fn config_hash(source: &Source, config: &Map<String, Value>) -> Result<(String, blake3::Hash)> {
    if !source.is_derived() {
        return folder::hash_file(&source.config_path());
    }
    let formats = by_format(source.tensors().iter().map(|t| (t.format, t.bytes)));
    let (name, contents) = folder::config_file(config, dtype_of(&formats));
    Ok((name, blake3::hash(&contents)))
}

fn job(plan: Plan, head: Head, inputs: Vec<(String, blake3::Hash)>, conversion: &Conversion) -> Result<Job> {
    let (importance, filled_columns) = importance::of_plan(&plan, conversion)?;
    let Conversion { allow_non_finite, effort, count_zeros, max_file_bytes, .. } = *conversion;
    Ok(Job { plan, head, inputs, allow_non_finite, effort, importance, filled_columns, count_zeros, max_file_bytes })
}

fn computed(name: &str, values: Vec<f32>) -> TensorPlan {
    let shape = Shape::new(vec![values.len() as u64]).expect("a short vector");
    let format = Format::by_name("f32").expect("a row of the table");
    let (name, role, layer) = (name.to_owned(), Role::Other, None);
    TensorPlan { name, role, layer, shape, input: Input::Computed(values), format, why: Why::Computed }
}

/// Which of a rule's names is the source's and which the output's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToGguf,
    ToFolder,
}

impl Direction {
    fn rule(self, architecture: &Architecture, name: &str) -> Option<(&'static NameRule, Option<u32>)> {
        match self {
            Direction::ToGguf => architecture.by_hf(name),
            Direction::ToFolder => architecture.by_gguf(name),
        }
    }

    /// Names in the source and in the output.
    fn names(self, rule: &NameRule) -> (&'static str, &'static str) {
        match self {
            Direction::ToGguf => (rule.hf, rule.gguf),
            Direction::ToFolder => (rule.gguf, rule.hf),
        }
    }

    fn order(self, rule: &NameRule, settings: &Settings) -> Reorder {
        let size = settings[Count::HeadSize];
        match (rule.rows, self) {
            (RowOrder::AsIs, _) => Reorder::None,
            (RowOrder::Rotary, Direction::ToGguf) => Reorder::Interleave { size },
            (RowOrder::Rotary, Direction::ToFolder) => Reorder::Deinterleave { size },
        }
    }
}

/// Every tensor of the source by the family's rules: none unknown, none missing, each of the right shape.
fn plan_by_rules(planner: &mut Planner<'_>, settings: &Settings, direction: Direction) -> Result<()> {
    let architecture = settings.architecture;
    let found = match_rules(planner, settings, direction)?;
    check_missing(planner, settings, direction)?;
    for (_, index, id) in found {
        let rule = &architecture.tensors[index];
        let tensor = planner.source.tensor(id);
        check_shape(planner.source, tensor, rule, settings)?;
        let layer = direction.rule(architecture, &tensor.name).and_then(|(_, layer)| layer);
        let name = with_layer(direction.names(rule).1, layer);
        planner.add(id, name, rule.role, layer, direction.order(rule, settings))?;
    }
    Ok(())
}

/// Tensors that a rule names, in the order of the output: what stands before the layers, the layers, the rest.
fn match_rules(
    planner: &mut Planner<'_>,
    settings: &Settings,
    direction: Direction,
) -> Result<Vec<(u32, usize, TensorId)>> {
    let architecture = settings.architecture;
    let (mut found, mut unmatched) = (Vec::new(), Vec::new());
    for (n, tensor) in planner.source.tensors().iter().enumerate() {
        let name = &tensor.name;
        let scale = planner.float8.is_some() && name.ends_with("_scale_inv");
        if planner.dropped_by_user(name) || scale || direction == Direction::ToFolder && name == ROPE_FREQS {
            continue;
        }
        if architecture.ignored.iter().any(|p| glob(p, name)) {
            planner.dropped.push((name.clone(), "no loader needs it"));
            continue;
        }
        match direction.rule(architecture, name) {
            Some((rule, layer)) if layer.is_none_or(|l| u64::from(l) < settings[Count::Layers]) => {
                if rule.need == Need::Untied && settings.tied {
                    planner.dropped.push((name.clone(), "the embedding serves as output head"));
                    continue;
                }
                let index = architecture.tensors.iter().position(|r| r.gguf == rule.gguf).unwrap_or(usize::MAX);
                let before_layers = if rule.role == Role::TokenEmbedding { 0 } else { u32::MAX };
                found.push((layer.map_or(before_layers, |l| l + 1), index, TensorId(n)));
            }
            _ => unmatched.push(name.clone()),
        }
    }
    if !unmatched.is_empty() {
        return Err(Error::UnmatchedTensors { architecture: architecture.gguf, names: unmatched });
    }
    found.sort_unstable_by_key(|(layer, index, _)| (*layer, *index));
    Ok(found)
}

fn check_shape(source: &Source, tensor: &TensorInfo, rule: &NameRule, settings: &Settings) -> Result<()> {
    rule.check_shape(tensor, settings)?;
    // Values of a bias move one by one, so they must not be in blocks.
    if rule.rows == RowOrder::Rotary && tensor.shape.rank() < 2 && tensor.format.block != 1 {
        let place = format!("tensor `{}`", tensor.name);
        return Err(Error::malformed(&source.path, place, tensor.format.name, "a float format"));
    }
    Ok(())
}

fn check_missing(planner: &Planner<'_>, settings: &Settings, direction: Direction) -> Result<()> {
    let mut names = Vec::new();
    for rule in settings.architecture.tensors {
        if rule.need == Need::Optional || rule.need == Need::Untied && settings.tied {
            continue;
        }
        let layers = if rule.per_layer() { settings[Count::Layers] as u32 } else { 1 };
        for layer in 0..layers {
            let name = with_layer(direction.names(rule).0, rule.per_layer().then_some(layer));
            if planner.source.find(&name).is_none() && !planner.conversion.drop.iter().any(|p| glob(p, &name)) {
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
        planner.add(TensorId(n), name.clone(), role(name), arch::layer_number(name), Reorder::None)?;
    }
    Ok(())
}

fn gguf_to_gguf(source: &Source, conversion: &Conversion, carried: &Metadata) -> Result<Job> {
    if carried.text("general.architecture").is_none() {
        return Err(Error::MissingKey { path: source.path.clone(), key: "general.architecture".into() });
    }
    let model = Model::from_metadata(carried, kept(source, conversion).map(str::to_owned));
    let mut planner = Planner::new(source, conversion, model, source.find("output.weight").is_none());
    plan_as_named(&mut planner, arch::role_of)?;
    let plan = planner.finish()?;
    let mut m = carried.clone();
    m.retain(|key| key != crate::gguf::ALIGNMENT_KEY);
    if source.is_derived() {
        metadata::correct_size(&mut m, plan.values());
    }
    metadata::set_provenance(&mut m, conversion, &plan);
    metadata::apply_overrides(&mut m, conversion);
    job(plan, Head::Gguf(m), vec![metadata_hash(carried)], conversion)
}

fn metadata_hash(metadata: &Metadata) -> (String, blake3::Hash) {
    let (bytes, _) = crate::gguf::encode_header(metadata, &[], crate::gguf::DEFAULT_ALIGNMENT);
    ("metadata".into(), blake3::hash(&bytes))
}

fn folder_to_folder(
    source: &Source,
    conversion: &Conversion,
    folder: &Path,
    config: &Map<String, Value>,
) -> Result<Job> {
    let path = source.config_path();
    let mut planner = Planner::new(source, conversion, Model::default(), false);
    planner.float8 = folder::float8_blocks(&path, config)?;
    let known = arch::architecture_of(&path, config).ok();
    plan_as_named(&mut planner, |name| known.and_then(|a| a.by_hf(name)).map_or(Role::Other, |(rule, _)| rule.role))?;
    let plan = planner.finish()?;
    let files = folder::carried_files(folder, config, main_dtype(&plan))?;
    let mut inputs = vec![config_hash(source, config)?];
    inputs.extend(files.iter().skip(1).map(|(name, contents)| (name.clone(), blake3::hash(contents))));
    job(plan, Head::Folder(files), inputs, conversion)
}

/// The dtype of most bytes.
fn main_dtype(plan: &Plan) -> &'static str {
    dtype_of(&plan.formats())
}

fn dtype_of(formats: &[(&'static Format, usize, u64)]) -> &'static str {
    formats.first().and_then(|(f, ..)| f.safetensors).unwrap_or("F32")
}

fn gguf_to_folder(source: &Source, conversion: &Conversion, carried: &Metadata) -> Result<Job> {
    let path = &source.path;
    let settings = source.settings()?;
    let mut planner = Planner::new(source, conversion, Model::default(), settings.tied);
    plan_by_rules(&mut planner, &settings, Direction::ToFolder)?;
    let plan = planner.finish()?;
    let has = |part: &str| plan.tensors.iter().any(|t| t.role == Role::Bias && t.name.contains(part));
    let biases = arch::Biases { attention: has(".self_attn."), ffn: has(".mlp.") };
    let mut config = arch::to_config(&settings, folder::torch_name(main_dtype(&plan)), biases);
    let generation = folder::generation_config(carried);
    for (key, value) in generation.as_object().into_iter().flatten() {
        config.insert(key.clone(), value.clone());
    }
    let mut files = vec![folder::json_file("config.json", &Value::Object(config))];
    files.push(folder::json_file("generation_config.json", &generation));
    files.extend(tokenizer::from_metadata(path, carried)?.to_files()?);
    job(plan, Head::Folder(files), vec![metadata_hash(carried)], conversion)
}
