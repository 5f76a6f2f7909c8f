//! Scaling of rotary frequencies to longer contexts.

use super::settings::Count;
use super::{Settings, config::Reader};
use crate::error::Result;
use crate::gguf::Metadata;
use serde_json::{Map, Value, json};
use std::f64::consts::TAU;

/// How rotary frequencies are stretched.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Scaling {
    /// Not at all.
    #[default]
    None,
    /// Every position divided by the factor (position interpolation, arXiv 2306.15595).
    Linear {
        /// The factor.
        factor: f64,
    },
    /// YaRN (arXiv 2309.00071).
    Yarn {
        /// The factor.
        factor: f64,
        /// Context length before stretching.
        original: u64,
        /// Scale of the attention logits, when it is not the paper's 0.1 ln(factor) + 1.
        attention_factor: Option<f64>,
    },
    /// Llama 3.1: by wavelength; GGUF holds it as one divisor per frequency.
    Llama3 {
        /// The factor of long wavelengths.
        factor: f64,
        /// Wavelengths above original / low are stretched fully.
        low: f64,
        /// Wavelengths below original / high stay.
        high: f64,
        /// Context length before stretching.
        original: u64,
    },
}

/// Rotations above which a frequency stays, and below which it is interpolated fully: the paper's.
const YARN_BETA_FAST: f64 = 32.0;
const YARN_BETA_SLOW: f64 = 1.0;

/// Keys of the table whose meaning is carried over, or that have none for these families.
const KNOWN: &[&str] = &[
    "rope_type",
    "type",
    "rope_theta",
    "factor",
    "original_max_position_embeddings",
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "mscale",
    "mscale_all_dim",
    "truncate",
    "low_freq_factor",
    "high_freq_factor",
    "finetuned",
];

/// Read `rope_scaling` (transformers 4) or `rope_parameters` (transformers 5).
pub(super) fn from_config(reader: &Reader<'_>, context: u64) -> Result<Scaling> {
    let Some((key, table)) = ["rope_scaling", "rope_parameters"].iter().find_map(|k| {
        let table = reader.config.get(*k)?.as_object()?;
        Some((*k, table))
    }) else {
        return Ok(Scaling::None);
    };
    if let Some((other, _)) = table.iter().find(|(k, v)| !KNOWN.contains(&k.as_str()) && !v.is_null()) {
        return Err(reader.inexpressible(
            &format!("{key}.{other}"),
            table[other].to_string(),
            "rotary embedding without it",
        ));
    }
    // JSON's null means absent here too.
    let get = |name: &str| table.get(name).filter(|v| !v.is_null());
    let real = |name: &str| reader.real_in(key, table, name);
    let maybe = |name: &str| get(name).map(|_| real(name)).transpose();
    let original = || match get("original_max_position_embeddings") {
        None => Ok(context),
        Some(length) => reader.whole(&format!("{key}.original_max_position_embeddings"), length, 1 << 30),
    };
    let kind = get("rope_type").or_else(|| get("type")).and_then(Value::as_str).unwrap_or("default");
    Ok(match kind {
        "default" => Scaling::None,
        "linear" => Scaling::Linear { factor: real("factor")? },
        "yarn" => {
            // llama.cpp has no keys that its loader reads for these.
            for (name, fixed) in [("beta_fast", YARN_BETA_FAST), ("beta_slow", YARN_BETA_SLOW)] {
                if let Some(value) = maybe(name)?.filter(|value| *value != fixed) {
                    return Err(reader.inexpressible(&format!("{key}.{name}"), value.to_string(), &fixed.to_string()));
                }
            }
            if get("truncate") == Some(&Value::Bool(false)) {
                return Err(reader.inexpressible(&format!("{key}.truncate"), "false", "true"));
            }
            let factor = real("factor")?;
            let mscales = maybe("mscale")?.zip(maybe("mscale_all_dim")?);
            let quotient = mscales.map(|(one, all)| attention(factor, one) / attention(factor, all));
            let attention_factor = maybe("attention_factor")?.or(quotient);
            Scaling::Yarn { factor, original: original()?, attention_factor }
        }
        "llama3" => Scaling::Llama3 {
            factor: real("factor")?,
            low: real("low_freq_factor")?,
            high: real("high_freq_factor")?,
            original: original()?,
        },
        other => {
            let wanted = "default, linear, yarn or llama3";
            return Err(reader.inexpressible(&format!("{key}.rope_type"), format!("`{other}`"), wanted));
        }
    })
}

/// `rope_scaling` for config.json.
pub(super) fn to_config(scaling: &Scaling) -> Value {
    match scaling {
        Scaling::None => Value::Null,
        Scaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
        Scaling::Yarn { factor, original, attention_factor } => {
            let mut table = Map::new();
            table.insert("rope_type".into(), "yarn".into());
            table.insert("factor".into(), json!(factor));
            table.insert("original_max_position_embeddings".into(), json!(original));
            if let Some(a) = attention_factor {
                table.insert("attention_factor".into(), json!(a));
            }
            Value::Object(table)
        }
        Scaling::Llama3 { factor, low, high, original } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low,
            "high_freq_factor": high,
            "original_max_position_embeddings": original,
        }),
    }
}

/// Write the `rope.scaling` keys; llama-3 scaling is a tensor instead.
pub(super) fn to_metadata(scaling: &Scaling, arch: &str, metadata: &mut Metadata) {
    let mut set = |key: &str, value: crate::gguf::Value| metadata.set(format!("{arch}.rope.scaling.{key}"), value);
    match scaling {
        Scaling::None | Scaling::Llama3 { .. } => {}
        Scaling::Linear { factor } => {
            set("type", "linear".into());
            set("factor", (*factor as f32).into());
        }
        Scaling::Yarn { factor, original, attention_factor } => {
            set("type", "yarn".into());
            set("factor", (*factor as f32).into());
            set("original_context_length", (*original as u32).into());
            // ggml multiplies its own 0.1 ln(factor) + 1 by this key.
            if let Some(a) = attention_factor {
                set("attn_factor", ((a / attention(*factor, 1.0)) as f32).into());
            }
        }
    }
}

/// Read the `rope.scaling` keys; `divisors` is the tensor of llama-3 scaling, if there is one.
/// `None` when the keys or the divisors are none that config.json can say.
pub(super) fn from_metadata(metadata: &Metadata, arch: &str, divisors: Option<(&[f32], f64)>) -> Option<Scaling> {
    let key = |name: &str| format!("{arch}.rope.scaling.{name}");
    let context = format!("{arch}.context_length");
    if let Some((divisors, theta)) = divisors {
        return recognise_llama3(divisors, theta);
    }
    // Old files have one number and no type; 0 means none.
    let old = || metadata.real(&format!("{arch}.rope.scale_linear"));
    let factor = metadata.real(&key("factor")).or_else(old).filter(|f| *f != 0.0);
    match metadata.text(&key("type")).unwrap_or("linear") {
        "none" => Some(Scaling::None),
        "linear" => Some(factor.filter(|f| *f != 1.0).map_or(Scaling::None, |factor| Scaling::Linear { factor })),
        "yarn" => Some(Scaling::Yarn {
            factor: factor?,
            original: metadata.count(&key("original_context_length")).or(metadata.count(&context))?,
            attention_factor: metadata.real(&key("attn_factor")).map(|a| a * attention(factor.unwrap_or(1.0), 1.0)),
        }),
        _ => None,
    }
}

/// The paper's scale of attention logits, with transformers' weight of it.
fn attention(factor: f64, mscale: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 }
}

/// Radians per position of every pair, and what cosines and sines are multiplied with.
pub(super) fn frequencies(settings: &Settings) -> (Vec<f64>, f64) {
    let size = settings[Count::HeadSize];
    let plain = |i: u64| settings.rope_theta.powf(-2.0 * i as f64 / size as f64);
    let pairs = 0..size / 2;
    match settings.scaling {
        Scaling::None => (pairs.map(plain).collect(), 1.0),
        Scaling::Linear { factor } => (pairs.map(|i| plain(i) / factor).collect(), 1.0),
        Scaling::Llama3 { factor, low, high, original } => {
            let divisor = |i| f64::from(divisor(i, size, settings.rope_theta, factor, low, high, original));
            (pairs.map(|i| plain(i) / divisor(i)).collect(), 1.0)
        }
        Scaling::Yarn { factor, original, attention_factor } => {
            // The pair that turns so many times within the original context.
            let pair =
                |turns: f64| size as f64 * (original as f64 / (turns * TAU)).ln() / (2.0 * settings.rope_theta.ln());
            let low = pair(YARN_BETA_FAST).floor().max(0.0);
            let high = pair(YARN_BETA_SLOW).ceil().min(size as f64 - 1.0).max(low + 0.001);
            let stretched = |i: u64| {
                let share = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                plain(i) * (1.0 - share + share / factor)
            };
            (pairs.map(stretched).collect(), attention_factor.unwrap_or(attention(factor, 1.0)))
        }
    }
}

/// The values of `rope_freqs.weight`, one per frequency, that llama-3 scaling asks for.
pub(super) fn divisors(settings: &Settings) -> Option<Vec<f32>> {
    let Scaling::Llama3 { factor, low, high, original } = settings.scaling else { return None };
    let size = settings[Count::HeadSize];
    Some((0..size / 2).map(|i| divisor(i, size, settings.rope_theta, factor, low, high, original)).collect())
}

fn divisor(i: u64, size: u64, theta: f64, factor: f64, low: f64, high: f64, original: u64) -> f32 {
    let wavelength = TAU * theta.powf(2.0 * i as f64 / size as f64);
    let original = original as f64;
    if wavelength < original / high {
        1.0
    } else if wavelength > original / low {
        factor as f32
    } else {
        let smooth = (original / wavelength - low) / (high - low);
        (1.0 / ((1.0 - smooth) / factor + smooth)) as f32
    }
}

/// The parameters behind divisors: all published models use low 1, high 4 and 8192 positions; the factor is the largest
/// divisor. Other divisors are not guessed at.
fn recognise_llama3(values: &[f32], theta: f64) -> Option<Scaling> {
    let factor = f64::from(values.iter().copied().fold(1.0, f32::max));
    let (low, high, original) = (1.0, 4.0, 8192);
    let size = 2 * values.len() as u64;
    let fits = values.iter().enumerate().all(|(i, v)| {
        let wanted = divisor(i as u64, size, theta, factor, low, high, original);
        (v - wanted).abs() <= 1e-4 * wanted
    });
    fits.then_some(Scaling::Llama3 { factor, low, high, original })
}
