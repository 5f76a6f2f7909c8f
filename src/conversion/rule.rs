//! `PATTERN=FORMAT` and `KEY=TYPE:VALUE`, as typed.

use super::file_type::written_format;
use crate::arch::glob;
use crate::error::{Error, Result};
use crate::gguf::{Metadata, Value, ValueType};
use crate::sink::SOURCE_HASH;
use std::str::FromStr;
use tersor_kernels::Format;

/// A format for the tensors whose name fits a pattern.
#[derive(Clone, Debug)]
pub struct Rule {
    /// As typed.
    pub text: String,
    pattern: String,
    /// The format.
    pub format: &'static Format,
}

impl FromStr for Rule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Rule> {
        let bad = |problem: &str| Error::BadRule { rule: text.to_owned(), problem: problem.to_owned() };
        let (pattern, format) = text.split_once('=').ok_or_else(|| bad("no `=`; write PATTERN=FORMAT"))?;
        if pattern.is_empty() {
            return Err(bad("no pattern before `=`"));
        }
        let format = written_format(format)?;
        Ok(Rule { text: text.to_owned(), pattern: pattern.to_owned(), format })
    }
}

impl Rule {
    /// True when the pattern fits one of the names.
    pub fn matches(&self, names: &[&str]) -> bool {
        names.iter().any(|n| glob(&self.pattern, n))
    }

    /// What the pattern is looking for, without its wildcards.
    pub(super) fn literal(&self) -> &str {
        self.pattern.split(['*', '?']).max_by_key(|part| part.len()).unwrap_or("")
    }
}

/// A metadata key to set.
#[derive(Clone, Debug)]
pub struct Override {
    key: String,
    value: Value,
    /// The type was `int` or `float`: an existing key keeps its own type.
    loose: bool,
}

impl FromStr for Override {
    type Err = Error;

    fn from_str(text: &str) -> Result<Override> {
        let bad = |problem: String| Error::BadRule { rule: text.to_owned(), problem };
        let parts = text.split_once('=').and_then(|(key, rest)| Some((key, rest.split_once(':')?)));
        let (key, (kind, value)) = parts.ok_or_else(|| bad("write KEY=TYPE:VALUE, such as a.b=u32:7".into()))?;
        if key.is_empty() || key == crate::gguf::ALIGNMENT_KEY || key.starts_with("split.") || key == SOURCE_HASH {
            return Err(bad(format!("`{key}` describes the file itself and cannot be set")));
        }
        let value = parse(kind, value).ok_or_else(|| bad(format!("`{value}` is no {kind}")))?;
        Ok(Override { key: key.to_owned(), value, loose: matches!(kind, "int" | "float") })
    }
}

fn parse(kind: &str, text: &str) -> Option<Value> {
    Some(match kind {
        "int" => text.parse().map(Value::U32).or_else(|_| text.parse().map(Value::I64)).ok()?,
        "float" | "f32" => Value::F32(text.parse().ok().filter(|x: &f32| x.is_finite())?),
        "f64" => Value::F64(text.parse().ok().filter(|x: &f64| x.is_finite())?),
        "bool" => Value::Bool(text.parse().ok()?),
        "str" => Value::String(text.to_owned()),
        "u8" => Value::U8(text.parse().ok()?),
        "i8" => Value::I8(text.parse().ok()?),
        "u16" => Value::U16(text.parse().ok()?),
        "i16" => Value::I16(text.parse().ok()?),
        "u32" => Value::U32(text.parse().ok()?),
        "i32" => Value::I32(text.parse().ok()?),
        "u64" => Value::U64(text.parse().ok()?),
        "i64" => Value::I64(text.parse().ok()?),
        _ => return None,
    })
}

impl Override {
    /// Set the key. `int` and `float` take the type that the key has.
    pub fn apply(&self, metadata: &mut Metadata) {
        let present = metadata.get(&self.key).map(Value::value_type).filter(|t| self.loose && *t != ValueType::Array);
        let typed = present.and_then(|kind| parse(kind.name(), &self.value.to_string()));
        metadata.set(self.key.clone(), typed.unwrap_or_else(|| self.value.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        let rule: Rule = "blk.*.ffn_down.weight=Q8_0".parse().unwrap();
        assert!(rule.matches(&["model.x", "blk.3.ffn_down.weight"]));
        assert_eq!((rule.format.name, rule.literal()), ("q8_0", ".ffn_down.weight"));
        for bad in ["x", "=q8_0", "x=", "x=q9_9", "x=iq2_xs"] {
            assert!(bad.parse::<Rule>().is_err(), "{bad}");
        }
    }

    #[test]
    fn overrides_keep_the_type_of_a_present_key() {
        let mut metadata = Metadata::default();
        metadata.set("a.n", 3u64);
        for text in ["a.n=int:7", "b.n=int:7", "b.x=float:0.5", "b.s=str:a=b:c", "b.k=i8:-3", "b.b=bool:true"] {
            text.parse::<Override>().unwrap().apply(&mut metadata);
        }
        assert_eq!(metadata.get("a.n"), Some(&Value::U64(7)));
        assert_eq!(metadata.get("b.n"), Some(&Value::U32(7)));
        assert_eq!(metadata.text("b.s"), Some("a=b:c"));
        assert_eq!(metadata.get("b.k"), Some(&Value::I8(-3)));
        for bad in [
            "a",
            "a=7",
            "a=int:x",
            "a=complex:1",
            "a=u8:300",
            "general.alignment=u32:3",
            "tersor.source_blake3=str:x",
            "a=float:inf",
        ] {
            assert!(bad.parse::<Override>().is_err(), "{bad}");
        }
    }
}
