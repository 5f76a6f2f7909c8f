//! Which format a tensor gets, in llama-quantize's order of decisions.

use super::model::Model;
use super::{Conversion, Target, mix};
use crate::arch::{Role, quantizable};
use crate::error::{Error, Result};
use crate::plan::{Container, Why};
use crate::tensor::Shape;
use tersor_kernels::{Class, Format};

/// What the choice depends on.
pub(super) struct Candidate<'a> {
    /// Name in the output.
    pub(super) name: &'a str,
    /// All names that a rule may use: in the source and in the output.
    pub(super) names: &'a [&'a str],
    pub(super) role: Role,
    /// The embedding that serves as output head too; its role is then the output's.
    pub(super) tied: bool,
    pub(super) shape: &'a Shape,
    /// As stored.
    pub(super) stored: &'static Format,
    /// Of which it is a part.
    pub(super) model: &'a Model,
    /// There are activation statistics.
    pub(super) imatrix: bool,
    /// The source is a GGUF file, whose small tensors have the type that their family wants.
    pub(super) from_gguf: bool,
}

/// Format and reason.
///
/// # Errors
/// [`Error::NeedsImatrix`], [`Error::Misshapen`] for a strict conversion, and whatever keeps the stored values from being
/// encoded.
pub(super) fn choose(conversion: &Conversion, c: &Candidate<'_>) -> Result<(&'static Format, Why)> {
    let (format, why) = decide(conversion, c)?;
    if format != c.stored {
        check_source(conversion, c, format)?;
    }
    Ok((format, why))
}

/// The choice alone, whether or not tersor has the codecs for it.
pub(super) fn decide(conversion: &Conversion, c: &Candidate<'_>) -> Result<(&'static Format, Why)> {
    let (wanted, why) = wanted(conversion, c);
    let written = match conversion.container {
        Container::Gguf => wanted.ggml.is_some(),
        Container::Safetensors => wanted.safetensors.is_some(),
    };
    if !written {
        return Err(no_encoder(conversion, c, wanted));
    }
    let cols = c.shape.cols();
    let (format, why) = if cols.is_multiple_of(wanted.block as u64) {
        (wanted, why)
    } else if conversion.strict {
        let (tensor, format, block) = (c.name.to_owned(), wanted.name, wanted.block);
        return Err(Error::Misshapen { tensor, cols, format, block });
    } else {
        let (format, choice) = conversion.fallback.choose(wanted, cols);
        (format, Why::Fallback { wanted, choice })
    };
    if let Target::Type(t) = conversion.target
        && choosable(conversion, c)
        && !c.imatrix
        && let Some(instead) = t.instead(format, c.role)
    {
        let (tensor, format, file_type) = (c.name.to_owned(), format.name, t.name);
        return Err(Error::NeedsImatrix { tensor, format, file_type, instead });
    }
    Ok((format, why))
}

fn wanted(conversion: &Conversion, c: &Candidate<'_>) -> (&'static Format, Why) {
    if !choosable(conversion, c) {
        let carried = c.from_gguf || c.stored.class == Class::Integer || conversion.container == Container::Safetensors;
        return if carried { (c.stored, Why::Kept) } else { (named("f32"), Why::Float) };
    }
    let by_option = match c.role {
        Role::Output if c.tied => conversion.embedding_type.or(conversion.output_type),
        Role::Output => conversion.output_type,
        Role::TokenEmbedding => conversion.embedding_type,
        _ => None,
    };
    if let Some(format) = by_option {
        return (format, Why::Rule(format!("for {}", c.name)));
    }
    if let Some(rule) = conversion.rules.iter().find(|r| r.matches(c.names)) {
        return (rule.format, Why::Rule(rule.text.clone()));
    }
    match conversion.target {
        Target::Keep => match nearest_float(c.stored, conversion.container, c.from_gguf) {
            same if same == c.stored => (same, Why::Kept),
            float => (float, Why::Nearest),
        },
        Target::Float(format) => (format, Why::FileType),
        Target::Type(t) => {
            let exception = if conversion.pure { None } else { mix::exception(t, c) };
            exception.unwrap_or((t.base(), Why::FileType))
        }
    }
}

/// True for tensors whose format is a matter of choice: in GGUF the weight matrices, in safetensors every float.
pub(super) fn choosable(conversion: &Conversion, c: &Candidate<'_>) -> bool {
    c.stored.class != Class::Integer
        && (conversion.container == Container::Safetensors || quantizable(c.name, c.shape.rank()))
}

/// The stored format where the output's readers can use it, otherwise a float that loses nothing they could see.
fn nearest_float(stored: &'static Format, container: Container, from_gguf: bool) -> &'static Format {
    match (stored.name, container) {
        ("f8_e4m3" | "f8_e5m2", _) => named("bf16"),
        ("f64", Container::Gguf) if !from_gguf => named("f32"),
        (_, Container::Safetensors) if stored.class == Class::Block => named("f32"),
        _ => stored,
    }
}

fn no_encoder(conversion: &Conversion, c: &Candidate<'_>, format: &Format) -> Error {
    let container = match conversion.container {
        Container::Gguf => "GGUF",
        Container::Safetensors => "safetensors",
    };
    Error::NoEncoder { tensor: c.name.to_owned(), format: format.name, container }
}

/// The stored values can be had, and are worth encoding.
fn check_source(conversion: &Conversion, c: &Candidate<'_>, format: &'static Format) -> Result<()> {
    if format.encoder().is_none() {
        return Err(no_encoder(conversion, c, format));
    }
    if c.stored.decoder().is_none() {
        return Err(Error::NoDecoder { tensor: c.name.to_owned(), format: c.stored.name, wanted: format.name });
    }
    let lossy_again =
        c.stored.class == Class::Block && format.class == Class::Block && c.stored.bits_per_weight() < 8.0;
    if lossy_again && !conversion.allow_requantize {
        return Err(Error::AlreadyQuantized { tensor: c.name.to_owned(), format: c.stored.name, wanted: format.name });
    }
    Ok(())
}

fn named(name: &str) -> &'static Format {
    Format::by_name(name).expect("only called with names of the table")
}
