//! The tokenizer of a checkpoint of either kind, ready to be used.

use std::borrow::Cow;
use std::path::Path;

use super::{Encoder, Options, can_rebuild, from_folder, rebuild, reference};
use crate::arch::Count;
use crate::gguf::Metadata;
use crate::source::{Origin, Source};
use crate::{Error, Result};

/// The keys `tokenizer.*` of `source`.
///
/// # Errors
/// No tokenizer, or one that GGUF cannot hold.
pub fn metadata_of(source: &Source) -> Result<Cow<'_, Metadata>> {
    match &source.origin {
        Origin::Gguf { metadata } => Ok(Cow::Borrowed(metadata)),
        Origin::HuggingFace { folder, config } => {
            let (config, rows) = (config.clone().into(), source.settings()?[Count::Vocab]);
            Ok(Cow::Owned(from_folder(folder, &config, rows, &Options::default())?.into_metadata()))
        }
        Origin::Bare => Err(none(&source.path)),
    }
}

/// Text to ids by `metadata`, which is that of `source`, or by its tokenizer.json where the splits of its pre-tokenizer are
/// not known.
///
/// # Errors
/// Keys that do not fit together, or a pre-tokenizer whose structure is not known here.
pub fn encoder_of<'m>(source: &Source, metadata: &'m Metadata) -> Result<Encoder<'m>> {
    if let (Origin::HuggingFace { folder, .. }, false) = (&source.origin, can_rebuild(metadata)) {
        return reference(folder)?.ok_or_else(|| none(folder));
    }
    rebuild(&source.path, metadata)
}

fn none(path: &Path) -> Error {
    Error::Tokenizer { path: path.to_owned(), problem: "there is no tokenizer".into() }
}
