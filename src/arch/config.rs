//! config.json, in the spellings of transformers 4 and 5.

use super::settings::{COUNTS, Count, Settings};
use super::{ARCHITECTURES, Architecture, rope};
use crate::error::{Error, Result};
use serde_json::{Map, Value, json};
use std::path::Path;

/// config.json with the path and family for messages.
pub(super) struct Reader<'a> {
    pub(super) path: &'a Path,
    pub(super) config: &'a Map<String, Value>,
    pub(super) architecture: &'static Architecture,
}

/// The family that `architectures`, or else `model_type`, names.
///
/// # Errors
/// [`Error::UnknownArchitecture`], [`Error::MissingKey`].
pub fn architecture_of(path: &Path, config: &Map<String, Value>) -> Result<&'static Architecture> {
    let class = config.get("architectures").and_then(|a| a.get(0)).and_then(Value::as_str);
    let kind = config.get("model_type").and_then(Value::as_str);
    let Some(found) = class.or(kind) else {
        return Err(Error::MissingKey { path: path.to_owned(), key: "architectures".into() });
    };
    let fits = |a: &&Architecture| match class {
        Some(class) => a.hf.iter().any(|(c, _)| *c == class),
        None => a.hf.iter().any(|(_, k)| Some(*k) == kind),
    };
    ARCHITECTURES.iter().copied().find(fits).ok_or_else(|| Error::UnknownArchitecture {
        path: path.to_owned(),
        found: found.to_owned(),
        known: ARCHITECTURES.iter().flat_map(|a| a.hf).map(|(c, _)| format!("`{c}`")).collect::<Vec<_>>().join(", "),
    })
}

/// The settings of a Hugging Face folder.
///
/// # Errors
/// A missing key, an absurd value, or a setting that GGUF cannot express, each by name.
pub fn from_config(path: &Path, config: &Map<String, Value>) -> Result<Settings> {
    let architecture = architecture_of(path, config)?;
    let reader = Reader { path, config, architecture };
    let mut settings = Settings::empty(architecture);
    for row in &COUNTS {
        settings[row.count] = match (reader.count(row.hf, row.max)?, row.count) {
            (Some(n), _) => n,
            (None, Count::KvHeads) => settings[Count::Heads],
            (None, Count::HeadSize) => reader.head_size(&settings)?,
            (None, _) => return Err(Error::MissingKey { path: path.to_owned(), key: row.hf.into() }),
        };
    }
    settings.check_heads().map_err(|(key, found, wanted)| Error::malformed(path, key, found, wanted))?;
    settings.norm_eps = reader.real("rms_norm_eps")?;
    settings.rope_theta = reader.rope_theta()?;
    settings.scaling = rope::from_config(&reader, settings[Count::Context])?;
    settings.tied = reader.flag("tie_word_embeddings")?;
    reader.check_fixed()?;
    reader.check_window(settings[Count::Context])?;
    Ok(settings)
}

impl Reader<'_> {
    fn wrong(&self, key: &str, found: impl Into<String>, wanted: &str) -> Error {
        Error::malformed(self.path, format!("`{key}`"), found, wanted)
    }

    pub(super) fn inexpressible(&self, key: &str, found: impl Into<String>, wanted: &str) -> Error {
        Error::Inexpressible {
            path: self.path.to_owned(),
            key: key.to_owned(),
            found: found.into(),
            wanted: wanted.to_owned(),
            architecture: self.architecture.gguf,
        }
    }

    /// The value, with JSON's null counted as absent.
    fn get(&self, key: &str) -> Option<&Value> {
        self.config.get(key).filter(|v| !v.is_null())
    }

    fn count(&self, key: &str, max: u64) -> Result<Option<u64>> {
        self.get(key).map(|value| self.whole(key, value, max)).transpose()
    }

    pub(super) fn whole(&self, key: &str, value: &Value, max: u64) -> Result<u64> {
        let number = value.as_u64().filter(|n| (1..=max).contains(n));
        number.ok_or_else(|| self.wrong(key, value.to_string(), &format!("a whole number from 1 to {max}")))
    }

    fn head_size(&self, settings: &Settings) -> Result<u64> {
        let (hidden, heads) = (settings[Count::Hidden], settings[Count::Heads]);
        if !hidden.is_multiple_of(heads) {
            return Err(self.wrong("num_attention_heads", heads.to_string(), &format!("a divisor of {hidden}")));
        }
        Ok(hidden / heads)
    }

    fn real(&self, key: &str) -> Result<f64> {
        match self.get(key) {
            Some(value) => self.positive(key, value),
            None => Err(Error::MissingKey { path: self.path.to_owned(), key: key.into() }),
        }
    }

    pub(super) fn real_in(&self, parent: &str, table: &Map<String, Value>, key: &str) -> Result<f64> {
        let full = format!("{parent}.{key}");
        match table.get(key) {
            Some(value) => self.positive(&full, value),
            None => Err(Error::MissingKey { path: self.path.to_owned(), key: full }),
        }
    }

    fn positive(&self, key: &str, value: &Value) -> Result<f64> {
        let number = value.as_f64().filter(|x| *x > 0.0 && (*x as f32).is_finite());
        number.ok_or_else(|| self.wrong(key, value.to_string(), "a positive number"))
    }

    fn flag(&self, key: &str) -> Result<bool> {
        match self.get(key) {
            None => Ok(false),
            Some(Value::Bool(b)) => Ok(*b),
            Some(other) => Err(self.wrong(key, other.to_string(), "true or false")),
        }
    }

    fn rope_theta(&self) -> Result<f64> {
        // transformers 5 reads the table first.
        match self.get("rope_parameters").and_then(Value::as_object) {
            Some(table) if table.get("rope_theta").is_some_and(|v| !v.is_null()) => {
                self.real_in("rope_parameters", table, "rope_theta")
            }
            // transformers 5 may nest one table per kind of layer.
            Some(table) if table.values().any(Value::is_object) => {
                Err(self.inexpressible("rope_parameters", "one table per kind of layer", "one for all layers"))
            }
            _ if self.get("rope_theta").is_some() => self.real("rope_theta"),
            _ => Ok(10_000.0),
        }
    }

    fn check_fixed(&self) -> Result<()> {
        for fixed in self.architecture.fixed {
            let Some(found) = self.get(fixed.key) else { continue };
            let wanted: Value = serde_json::from_str(fixed.value).unwrap_or_default();
            let same = *found == wanted || wanted.is_number() && found.as_f64() == wanted.as_f64();
            if !same {
                return Err(self.inexpressible(fixed.key, found.to_string(), fixed.value));
            }
        }
        Ok(())
    }

    /// A sliding window shorter than the context changes the result; llama.cpp has none for these families.
    fn check_window(&self, context: u64) -> Result<()> {
        let switch = self.get("use_sliding_window").and_then(Value::as_bool);
        let switched_off = !switch.unwrap_or(self.architecture.window_unless_switched_off);
        let window = self.get("sliding_window").and_then(Value::as_u64).filter(|w| *w < context && !switched_off);
        if let Some(window) = window {
            return Err(self.inexpressible("sliding_window", window.to_string(), "full attention"));
        }
        let kinds = self.get("layer_types").and_then(Value::as_array);
        let other = kinds.and_then(|k| k.iter().find(|kind| kind.as_str() != Some("full_attention")));
        match other {
            Some(kind) => Err(self.inexpressible("layer_types", kind.to_string(), "full attention")),
            None => Ok(()),
        }
    }
}

/// Which parts have biases.
#[derive(Clone, Copy, Debug, Default)]
pub struct Biases {
    /// The projections of attention.
    pub attention: bool,
    /// The feed-forward projections.
    pub ffn: bool,
}

/// config.json of a converted folder. `dtype` is PyTorch's name of the dtype of most weights; `biases` says
/// which parts have biases, where the family makes that a setting.
pub fn to_config(settings: &Settings, dtype: &str, biases: Biases) -> Map<String, Value> {
    let (class, kind) = settings.architecture.hf[0];
    let mut config = Map::new();
    config.insert("architectures".into(), json!([class]));
    config.insert("model_type".into(), kind.into());
    for row in &COUNTS {
        config.insert(row.hf.into(), settings[row.count].into());
    }
    config.insert("hidden_act".into(), "silu".into());
    config.insert("rms_norm_eps".into(), json!(shortest(settings.norm_eps)));
    config.insert("rope_theta".into(), json!(shortest(settings.rope_theta)));
    config.insert("rope_scaling".into(), rope::to_config(&settings.scaling));
    config.insert("tie_word_embeddings".into(), settings.tied.into());
    if !settings.architecture.qkv_bias {
        config.insert("attention_bias".into(), biases.attention.into());
        config.insert("mlp_bias".into(), biases.ffn.into());
    }
    config.insert("torch_dtype".into(), dtype.into());
    config
}

/// GGUF keeps these as f32: give the shortest decimal that means the same f32, 1e-5 and not 9.999999747378752e-06.
fn shortest(x: f64) -> f64 {
    let narrow = x as f32;
    if f64::from(narrow) == x { narrow.to_string().parse().unwrap_or(x) } else { x }
}

#[cfg(test)]
mod tests {
    use super::super::{Scaling, from_metadata, to_metadata};
    use super::*;

    fn config(extra: Value) -> Map<String, Value> {
        let mut config = json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 128,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_act": "silu",
            "rms_norm_eps": 1e-5, "max_position_embeddings": 4096, "vocab_size": 100, "tie_word_embeddings": true,
        });
        let table = config.as_object_mut().unwrap();
        for (key, value) in extra.as_object().unwrap() {
            table.insert(key.clone(), value.clone());
        }
        table.clone()
    }

    fn read(extra: Value) -> Result<Settings> {
        from_config(Path::new("config.json"), &config(extra))
    }

    #[test]
    fn both_spellings_of_rope() {
        let four =
            read(json!({ "rope_theta": 500000.0, "rope_scaling": { "type": "linear", "factor": 2.0 } })).unwrap();
        let five = json!({ "rope_parameters": { "rope_type": "linear", "factor": 2.0, "rope_theta": 500000.0 } });
        let five = read(five).unwrap();
        assert_eq!((four.rope_theta, &four.scaling), (five.rope_theta, &five.scaling));
        assert_eq!(five.scaling, Scaling::Linear { factor: 2.0 });
        assert_eq!(read(json!({})).unwrap().rope_theta, 10_000.0);
    }

    #[test]
    fn llama3_divisors_and_back() {
        let scaling = json!({ "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192 });
        let extra = json!({ "rope_theta": 500000.0, "head_dim": 128, "rope_scaling": scaling });
        let settings = read(extra).unwrap();
        let divisors = settings.rope_divisors().unwrap();
        assert_eq!(divisors.len(), 64);
        assert_eq!((divisors[0], divisors[63]), (1.0, 8.0));
        assert!(divisors.windows(2).all(|w| w[0] <= w[1]));
        let metadata = {
            let mut m = to_metadata(&settings);
            m.set("general.architecture", "llama");
            m
        };
        let back = from_metadata(Path::new("x"), &metadata, 100, true, Some(&divisors)).unwrap();
        assert_eq!(back.scaling, settings.scaling);
        assert_eq!(back[Count::HeadSize], 128);
        let odd: Vec<f32> = divisors.iter().map(|d| d * 1.01).collect();
        assert!(matches!(
            from_metadata(Path::new("x"), &metadata, 100, true, Some(&odd)),
            Err(Error::Inexpressible { .. })
        ));
    }

    #[test]
    fn yarn_there_and_back() {
        let yarn = json!({ "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024,
            "attention_factor": 1.5, "beta_fast": null });
        let settings = read(json!({ "rope_scaling": yarn })).unwrap();
        let mut metadata = to_metadata(&settings);
        metadata.set("general.architecture", "llama");
        let back = from_metadata(Path::new("x"), &metadata, 100, true, None).unwrap();
        match back.scaling {
            Scaling::Yarn { factor: 4.0, original: 1024, attention_factor: Some(a) } => {
                assert!((a - 1.5).abs() < 1e-6);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_config_survives_the_round_trip() {
        let settings = read(json!({ "rope_theta": 100000.0 })).unwrap();
        let mut metadata = to_metadata(&settings);
        metadata.set("general.architecture", "llama");
        let back = from_metadata(Path::new("x"), &metadata, 100, true, None).unwrap();
        let written = to_config(&back, "bfloat16", Biases::default());
        for (key, value) in config(json!({ "rope_theta": 100000.0, "torch_dtype": "bfloat16" })) {
            assert_eq!(written.get(&key), Some(&value), "{key}");
        }
    }

    #[test]
    fn settings_that_cannot_be_carried_are_named() {
        for (extra, key) in [
            (json!({ "hidden_act": "gelu" }), "hidden_act"),
            (json!({ "sliding_window": 1024 }), "sliding_window"),
            (json!({ "layer_types": ["full_attention", "sliding_attention"] }), "layer_types"),
            (json!({ "rope_scaling": { "rope_type": "longrope" } }), "rope_scaling.rope_type"),
            (json!({ "partial_rotary_factor": 0.5 }), "partial_rotary_factor"),
            (json!({ "rope_scaling": { "type": "yarn", "factor": 4.0, "beta_fast": 16.0 } }), "rope_scaling.beta_fast"),
            (json!({ "rope_scaling": { "type": "yarn", "factor": 4.0, "truncate": false } }), "rope_scaling.truncate"),
            (json!({ "rope_parameters": { "partial_rotary_factor": 0.5 } }), "rope_parameters.partial_rotary_factor"),
        ] {
            match read(extra) {
                Err(Error::Inexpressible { key: found, .. }) => assert_eq!(found, key),
                other => panic!("{key}: {other:?}"),
            }
        }
        for extra in [
            json!({ "sliding_window": 4096 }),
            json!({ "sliding_window": 100, "use_sliding_window": false }),
            json!({ "sliding_window": null, "layer_types": ["full_attention"] }),
        ] {
            read(extra).unwrap();
        }
    }
}
