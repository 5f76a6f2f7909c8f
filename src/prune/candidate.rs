//! Which tensors may be pruned, and which are when nobody names them.

use super::sparsity::{Sparsity, Wanted};
use crate::arch::{Architecture, Role, architecture_of, layer_number, quantizable, role_of, with_layer};
use crate::error::{Error, Result};
use crate::source::{Origin, Source};
use crate::tensor::{TensorId, TensorInfo};
use tersor_kernels::Class;

/// A tensor that is pruned.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) id: TensorId,
    /// Its name in GGUF, where the family is known.
    pub(super) gguf: Option<String>,
    pub(super) layer: Option<u32>,
    pub(super) sparsity: Sparsity,
    /// A rule names it.
    pub(super) by_rule: bool,
}

/// Parts of names, in families that tersor has no row for, of what is left alone: embeddings, norms, heads, and the
/// small matrices that choose experts.
const LEFT_ALONE: &[&str] = &[
    "embed",
    "wte",
    "wpe",
    "lm_head",
    "norm",
    "ln_",
    "position",
    "classifier",
    "score.",
    "pooler",
    "router",
    "mlp.gate.",
];

/// Names in a hint.
const SHOWN: usize = 5;

/// What is known of a tensor by its name.
struct Known {
    gguf: Option<String>,
    layer: Option<u32>,
    /// It is one of the matrices of a block.
    usual: bool,
}

/// The family of a folder, where there is a row for it.
pub(super) fn architecture(source: &Source) -> Option<&'static Architecture> {
    match &source.origin {
        Origin::HuggingFace { config, .. } => architecture_of(&source.config_path(), config).ok(),
        Origin::Gguf { metadata } => Architecture::named(metadata.text("general.architecture")?),
        Origin::Bare => None,
    }
}

fn known(source: &Source, architecture: Option<&Architecture>, tensor: &TensorInfo) -> Known {
    let name = &tensor.name;
    let is_matrix = |role| !matches!(role, Role::TokenEmbedding | Role::Output | Role::Norm | Role::Bias);
    if let Origin::Gguf { .. } = source.origin {
        let usual = quantizable(name, tensor.shape.rank()) && is_matrix(role_of(name));
        return Known { gguf: Some(name.clone()), layer: layer_number(name), usual };
    }
    if let Some((rule, layer)) = architecture.and_then(|a| a.by_hf(name)) {
        return Known { gguf: Some(with_layer(rule.gguf, layer)), layer, usual: is_matrix(rule.role) };
    }
    let lower = name.to_ascii_lowercase();
    let usual = tensor.shape.rank() == 2 && lower.ends_with("weight") && !LEFT_ALONE.iter().any(|p| lower.contains(p));
    Known { gguf: None, layer: layer_number(name), usual }
}

/// Every tensor that becomes sparse, in the order of the source.
///
/// # Errors
/// A rule that matches nothing, values that are no plain floats, groups that do not divide the rows.
pub(super) fn targets(source: &Source, wanted: &Wanted) -> Result<Vec<Target>> {
    let architecture = architecture(source);
    let (mut targets, mut used) = (Vec::new(), vec![false; wanted.rules.len()]);
    for (n, tensor) in source.tensors().iter().enumerate() {
        let Known { gguf, layer, usual } = known(source, architecture, tensor);
        let names: Vec<&str> = [Some(tensor.name.as_str()), gguf.as_deref()].into_iter().flatten().collect();
        let rule = wanted.rule(&names).filter(|_| tensor.format.class == Class::Float || usual);
        rule.iter().for_each(|n| used[*n] = true);
        let sparsity = rule.map(|n| wanted.rules[n].sparsity).or(wanted.base.filter(|_| usual));
        let Some(sparsity) = sparsity else { continue };
        check(source, tensor, sparsity)?;
        targets.push(Target { id: TensorId(n), gguf, layer, sparsity, by_rule: rule.is_some() });
    }
    if let Some(n) = used.iter().position(|used| !used) {
        let near = source.tensors().iter().filter(|t| known(source, architecture, t).usual);
        let near = near.take(SHOWN).map(|t| t.name.clone()).collect();
        return Err(Error::RuleUnmatched { rule: wanted.rules[n].to_string(), near });
    }
    if targets.is_empty() {
        let problem = "no tensor here is one that is pruned: matrices of blocks".to_owned();
        return Err(Error::Usage { problem, hint: "name some with `--sparsity PATTERN=VALUE`".into() });
    }
    Ok(targets)
}

fn check(source: &Source, tensor: &TensorInfo, sparsity: Sparsity) -> Result<()> {
    check_plain(source, tensor)?;
    match sparsity {
        Sparsity::Pattern { of, .. } if !tensor.shape.cols().is_multiple_of(of as u64) => Err(Error::Usage {
            problem: format!(
                "tensor `{}`: rows of {} values do not divide into groups of {of}",
                tensor.name,
                tensor.shape.cols()
            ),
            hint: "give it a sparsity of its own with `--sparsity PATTERN=VALUE`".into(),
        }),
        _ => Ok(()),
    }
}

/// Values that stand for themselves, so that one can become zero or go without a change to others.
pub(super) fn check_plain(source: &Source, tensor: &TensorInfo) -> Result<()> {
    let plain = tensor.format.class == Class::Float && tensor.format.bytes > 1 && tensor.format.decoder().is_some();
    if plain {
        return Ok(());
    }
    let problem = format!("`{}`: tensor `{}` is stored as {}", source.path.display(), tensor.name, tensor.format.name);
    let hint = "start from a checkpoint of f32, f16 or bf16, or convert it to one with `tersor convert --dtype`".into();
    Err(Error::Usage { problem: problem + ", and pruning is for plain floats", hint })
}
