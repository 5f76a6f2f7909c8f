//! Is the output what it should be? A cheap check after every run, and a full comparison with the base.

mod diff;
mod folder;
mod metadata;
mod structure;
mod tensors;
mod tokens;

pub use diff::{Diff, Pair, diff};

use crate::conversion::{Conversion, Head, RECIPE, Target, effort_in, imatrix_in, resolve};
use crate::error::{Error, Result};
use crate::gguf::Metadata;
use crate::plan::Container;
use crate::run::Limits;
use crate::source::{Origin, PRUNED, Source};
use crate::tokenizer::Encoder;
use std::path::{Path, PathBuf};

/// The outcome of a full comparison.
#[derive(Debug, serde::Serialize)]
pub struct Comparison {
    /// See [`crate::SCHEMA`].
    pub schema: u32,
    /// What was compared.
    pub output: PathBuf,
    /// With what.
    pub base: PathBuf,
    /// Tensors that hold exactly the bytes that tersor would write.
    pub exact: usize,
    /// Tensors that hold other bytes, within the bound of their format.
    pub within_bound: usize,
    /// Tensors whose format has no decoder here, so that only their shape was compared.
    pub unread: usize,
    /// Largest relative root mean square error of a tensor, and its name.
    pub worst: Option<(String, f64)>,
    /// Texts on which both tokenizers were run.
    pub probes: usize,
    /// Everything that is not as it should be; empty when all is well.
    pub differences: Vec<String>,
}

/// Reread the structure of a written GGUF file with the second reader; gives the number of its tensors.
///
/// # Errors
/// [`Error::Unverified`] under the name that the file will have.
pub fn structure(written: &Path, name: &Path) -> Result<u64> {
    structure::check(written).map_err(|problem| Error::Unverified { path: name.to_owned(), problem })
}

/// Rebuild the tokenizer of a GGUF file from its own `metadata` and hold it against the source's tokenizer.json, which
/// `reference` gives, on built-in texts and every special token; gives how many there were, 0 when there is no
/// tokenizer.json.
///
/// # Errors
/// [`Error::Unverified`] under the name that the file will have.
pub fn tokenizer<'m>(
    metadata: &'m Metadata,
    name: &Path,
    reference: impl FnOnce() -> Result<Option<Encoder<'m>>>,
) -> Result<usize> {
    let Some(sides) = tokens::Sides::new(name, metadata, reference)? else { return Ok(0) };
    match sides.first_difference(std::iter::empty())? {
        Some(problem) => Err(Error::Unverified { path: name.to_owned(), problem }),
        None => Ok(sides.probes()),
    }
}

/// The full comparison. `conversion` tells what the run was told beyond formats (tokenizer, metadata, tensors left out).
///
/// # Errors
/// Only for files that cannot be read; what differs is in the [`Comparison`].
pub fn compare(
    output: &Path,
    base: &Path,
    conversion: &Conversion,
    text: Option<&Path>,
    limits: Limits,
) -> Result<Comparison> {
    let base_source = Source::open(base)?;
    let mut comparison = Comparison {
        schema: crate::SCHEMA,
        output: output.to_owned(),
        base: base.to_owned(),
        exact: 0,
        within_bound: 0,
        unread: 0,
        worst: None,
        probes: 0,
        differences: Vec::new(),
    };
    // A file that cannot be opened at all is a difference too: that is what this command is asked to find.
    let written = match Source::open(output) {
        Ok(source) => source,
        Err(e @ Error::Malformed { .. }) => {
            comparison.differences.push(e.to_string());
            return Ok(comparison);
        }
        Err(e) => return Err(e),
    };
    if let Some(how) = written.fact(PRUNED).filter(|how| base_source.fact(PRUNED) != Some(how)) {
        let problem = format!("`{}` was pruned ({how}), `{}` was not pruned so", output.display(), base.display());
        let hint = "compare with the pruned checkpoint that it was made from".into();
        return Err(Error::Usage { problem, hint });
    }
    if matches!(written.origin, Origin::Gguf { .. }) {
        let problems = written.data_files().filter_map(|file| Some((file, structure::check(file).err()?)));
        comparison.differences.extend(problems.map(|(file, what)| format!("`{}`: {what}", file.display())));
    }
    let container = match written.origin {
        Origin::Gguf { .. } => Container::Gguf,
        _ => Container::Safetensors,
    };
    let effort = effort_in(written.fact(RECIPE).unwrap_or_default());
    let keep = Conversion { container, target: Target::Keep, allow_requantize: true, effort, ..conversion.clone() };
    let job = resolve(&base_source, &keep)?;
    let made_with = imatrix_in(written.fact(RECIPE).unwrap_or_default());
    let told = conversion.importance.as_ref().map(|s| s.digest());
    if told.is_some() && made_with != told.as_deref() {
        let found = made_with.unwrap_or("none");
        comparison.differences.push(format!("statistics: it was made with {found}, `--imatrix` gives others"));
    }
    let hash = tensors::compare(&job, &base_source, &written, limits, &mut comparison)?;
    if let (Origin::HuggingFace { folder, .. }, Head::Folder(wanted)) = (&written.origin, &job.head) {
        folder::compare(&written, folder, wanted, &hash, &mut comparison.differences)?;
    }
    if let (Origin::Gguf { metadata }, Head::Gguf(wanted)) = (&written.origin, &job.head) {
        metadata::compare(metadata, wanted, &hash, &mut comparison.differences);
        let sides = match &base_source.origin {
            Origin::HuggingFace { folder, .. } => {
                tokens::Sides::new(output, metadata, || crate::tokenizer::reference(folder))
            }
            Origin::Gguf { metadata: base_metadata } => tokens::Sides::from_gguf(output, metadata, base, base_metadata),
            Origin::Bare => Ok(None),
        };
        if let Some(sides) = readable(sides, output, &mut comparison.differences)? {
            comparison.probes = sides.probes();
            let text = text.map(crate::source::read_text).transpose()?;
            comparison.differences.extend(sides.first_difference(text.iter().map(String::as_str))?);
        }
    }
    Ok(comparison)
}

/// An output whose keys make no tokenizer is different; a base whose files make none is an error.
fn readable<'m>(
    sides: Result<Option<tokens::Sides<'m>>>,
    output: &Path,
    differences: &mut Vec<String>,
) -> Result<Option<tokens::Sides<'m>>> {
    match sides {
        Err(ref e @ (Error::Malformed { ref path, .. } | Error::Tokenizer { ref path, .. })) if path == output => {
            differences.push(format!("tokenizer: {e}"));
            Ok(None)
        }
        other => other,
    }
}
