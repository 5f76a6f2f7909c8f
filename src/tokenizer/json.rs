//! tokenizer.json, as far as it is needed. Texts borrow from the file: a vocabulary has 150 000 of them.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::{Error, Result};

/// The file.
#[derive(serde::Deserialize)]
pub(super) struct File<'a> {
    #[serde(borrow, default)]
    pub(super) added_tokens: Vec<Added<'a>>,
    #[serde(default)]
    pub(super) normalizer: Value,
    #[serde(default)]
    pub(super) pre_tokenizer: Value,
    #[serde(default)]
    pub(super) post_processor: Value,
    #[serde(borrow)]
    pub(super) model: Model<'a>,
}

/// A token beside the model's vocabulary, or one of it that is matched before anything else.
#[derive(serde::Deserialize)]
pub(super) struct Added<'a> {
    pub(super) id: u32,
    #[serde(borrow)]
    pub(super) content: Text<'a>,
    #[serde(default)]
    pub(super) special: bool,
}

/// `model`.
#[derive(serde::Deserialize)]
pub(super) struct Model<'a> {
    #[serde(rename = "type", borrow, default)]
    pub(super) kind: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) vocab: Vocab<'a>,
    #[serde(borrow, default)]
    pub(super) merges: Vec<Merge<'a>>,
    #[serde(default)]
    pub(super) ignore_merges: bool,
    #[serde(default)]
    pub(super) byte_fallback: bool,
    #[serde(borrow, default)]
    pub(super) unk_token: Option<Text<'a>>,
    #[serde(default)]
    pub(super) continuing_subword_prefix: Option<String>,
    #[serde(default)]
    pub(super) end_of_word_suffix: Option<String>,
}

/// A string that borrows from the file unless it has escapes.
#[derive(Clone, Debug)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

/// `vocab` in file order, repeated keys and all; a list (Unigram) gives none.
pub(super) struct Vocab<'a>(pub(super) Vec<(Cow<'a, str>, u32)>);

/// `"a b"` or `["a", "b"]`.
pub(super) enum Merge<'a> {
    Joined(Cow<'a, str>),
    Pair(Cow<'a, str>, Cow<'a, str>),
}

impl<'a> Merge<'a> {
    /// The two parts; `None` when a joined one has not exactly one space.
    pub(super) fn parts(&self) -> Option<(&str, &str)> {
        match self {
            Merge::Pair(left, right) => Some((left, right)),
            Merge::Joined(text) => {
                let (left, right) = text.split_once(' ')?;
                (!left.is_empty() && !right.is_empty() && !right.contains(' ')).then_some((left, right))
            }
        }
    }
}

/// The parsed `text` of the tokenizer.json at `path`.
pub(super) fn parse<'a>(path: &Path, text: &'a str) -> Result<File<'a>> {
    serde_json::from_str(text).map_err(|error| not_json(path, &error))
}

/// The value of the small JSON file at `path`; null when there is no such file.
pub(super) fn read_value(path: &Path) -> Result<Value> {
    match read_text(path)? {
        Some(text) => serde_json::from_str(&text).map_err(|error| not_json(path, &error)),
        None => Ok(Value::Null),
    }
}

/// The text of the file at `path`; `None` when there is no such file.
pub(super) fn read_text(path: &Path) -> Result<Option<String>> {
    match crate::source::read_text(path) {
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

fn not_json(path: &Path, error: &serde_json::Error) -> Error {
    let place = format!("line {}, column {}", error.line(), error.column());
    let found = match error.classify() {
        serde_json::error::Category::Eof => "the end of the file".to_owned(),
        _ => {
            let text = error.to_string();
            text.rsplit_once(" at line ").map_or(text.clone(), |(what, _)| what.to_owned())
        }
    };
    let wanted = if error.is_eof() { "the rest of the JSON" } else { "a tokenizer in JSON" };
    Error::malformed(path, place, found, wanted)
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Texts)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Vocab<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Vocabs;
        impl<'de> Visitor<'de> for Vocabs {
            type Value = Vocab<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of tokens to ids")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocab<'de>, A::Error> {
                let mut tokens = Vec::new();
                while let Some((text, id)) = map.next_entry::<Text<'de>, u32>()? {
                    tokens.push((text.0, id));
                }
                Ok(Vocab(tokens))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vocab<'de>, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Vocab(Vec::new()))
            }
        }
        deserializer.deserialize_any(Vocabs)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Merge<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Merges;
        impl<'de> Visitor<'de> for Merges {
            type Value = Merge<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a merge, \"a b\" or [\"a\", \"b\"]")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Merge<'de>, E> {
                Ok(Merge::Joined(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Merge<'de>, E> {
                Ok(Merge::Joined(Cow::Owned(text.to_owned())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Merge<'de>, A::Error> {
                use serde::de::Error as _;
                let left = seq.next_element::<Text<'de>>()?;
                let right = seq.next_element::<Text<'de>>()?;
                let end = seq.next_element::<IgnoredAny>()?;
                match (left, right, end) {
                    (Some(left), Some(right), None) => Ok(Merge::Pair(left.0, right.0)),
                    _ => Err(A::Error::custom("a merge that is not a pair")),
                }
            }
        }
        deserializer.deserialize_any(Merges)
    }
}
