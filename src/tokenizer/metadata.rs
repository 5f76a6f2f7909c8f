//! The keys under `tokenizer.`, in the order in which llama.cpp's converter writes them.

use std::path::Path;

use super::special::{ROLES, Specials};
use super::template::{DEFAULT, Template};
use super::{Model, TokenType, Tokenizer, pre};
use crate::gguf::{Array, Metadata, Strings, Value};
use crate::{Error, Result};

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";
const SCORES: &str = "tokenizer.ggml.scores";
const TYPES: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";
const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
const ADD_EOS: &str = "tokenizer.ggml.add_eos_token";
const ADD_SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";
const REMOVE_EXTRA_WHITESPACES: &str = "tokenizer.ggml.remove_extra_whitespaces";
const TEMPLATE: &str = "tokenizer.chat_template";
const TEMPLATE_NAMES: &str = "tokenizer.chat_templates";

/// Names with which llama.cpp begins text with bos unless the file says otherwise.
const BOS_BY_DEFAULT: [&str; 3] = ["llama-bpe", "tekken", "chameleon"];

/// Keys of tokens that end something.
const LAST_KEYS: [&str; 3] =
    ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"];
/// What such tokens are called.
const LAST_TOKENS: [&str; 17] = [
    "</s>",
    "<EOT>",
    "<eos>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<|call|>",
    "<|end|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|im_end|>",
    "<|return|>",
    "<｜end▁of▁sentence｜>",
    "[EOS]",
    "[EOT]",
    "_<EOT>",
];

impl Tokenizer {
    /// The keys `tokenizer.*`.
    pub fn metadata(&self) -> Metadata {
        self.clone().into_metadata()
    }

    /// The keys `tokenizer.*`, without copying the vocabulary.
    pub fn into_metadata(self) -> Metadata {
        let mut keys = Metadata::default();
        keys.set(MODEL, self.model.name());
        keys.set(PRE, self.pre);
        keys.set(TOKENS, self.tokens);
        if self.model == Model::Llama {
            keys.set(SCORES, self.scores);
        }
        keys.set(TYPES, self.types.iter().map(|kind| *kind as i32).collect::<Vec<i32>>());
        if self.model == Model::Gpt2 {
            keys.set(MERGES, self.merges);
        }
        for (role, id) in self.special.iter() {
            keys.set(role.key, id);
        }
        let flags = [
            (ADD_BOS, self.add_bos),
            (ADD_EOS, self.add_eos),
            (ADD_SPACE_PREFIX, self.add_space_prefix),
            (REMOVE_EXTRA_WHITESPACES, self.remove_extra_whitespaces),
        ];
        keys.extend(flags.into_iter().filter_map(|(key, flag)| Some((key.to_owned(), Value::Bool(flag?)))));
        let (default, named): (Vec<Template>, Vec<Template>) =
            self.templates.into_iter().partition(|template| template.name == DEFAULT);
        let names: Vec<String> = named.iter().map(|template| template.name.clone()).collect();
        for template in named {
            keys.set(format!("{TEMPLATE}.{}", template.name), template.text);
        }
        if !names.is_empty() {
            keys.set(TEMPLATE_NAMES, names);
        }
        if let Some(template) = default.into_iter().next() {
            keys.set(TEMPLATE, template.text);
        }
        keys
    }
}

/// The keys of a file, checked against each other; long arrays stay where they are.
pub(super) struct Fields<'m> {
    pub(super) model: Model,
    pub(super) pre: &'m str,
    pub(super) tokens: &'m Strings,
    pub(super) types: Vec<TokenType>,
    pub(super) scores: &'m [f32],
    /// `None` for [`Model::Llama`].
    pub(super) merges: Option<&'m Strings>,
    pub(super) special: Specials,
    pub(super) add_space_prefix: Option<bool>,
}

impl<'m> Fields<'m> {
    /// # Errors
    /// A kind of tokenizer other than byte-level BPE and SentencePiece BPE, or keys that do not fit together.
    pub(super) fn new(path: &Path, metadata: &'m Metadata) -> Result<Fields<'m>> {
        let name = metadata.text(MODEL).unwrap_or("none");
        let model = [Model::Gpt2, Model::Llama].into_iter().find(|model| model.name() == name).ok_or_else(|| {
            let problem = format!("`{MODEL}` is `{name}`, and tersor rebuilds `gpt2` and `llama`");
            Error::Tokenizer { path: path.to_owned(), problem }
        })?;
        let wrong = |key: &str, wanted: &str| {
            let found = metadata.get(key).map_or("nothing".to_owned(), |value| value.to_string());
            Error::malformed(path, format!("key `{key}`"), found, wanted)
        };
        let strings = |key: &str| metadata.strings(key).ok_or_else(|| wrong(key, "an array of strings"));
        let tokens = strings(TOKENS)?;
        let types = match metadata.get(TYPES) {
            None => vec![TokenType::Normal; tokens.len()],
            Some(Value::Array(Array::I32(numbers))) => numbers.iter().map(|n| TokenType::from_number(*n)).collect(),
            Some(_) => return Err(wrong(TYPES, "an array of i32")),
        };
        let (scores, merges): (&[f32], _) = match (model, metadata.get(SCORES)) {
            (Model::Gpt2, _) => (&[], Some(strings(MERGES)?)),
            (Model::Llama, Some(Value::Array(Array::F32(scores)))) => (scores, None),
            (Model::Llama, _) => return Err(wrong(SCORES, "an array of f32")),
        };
        let scored = if model == Model::Llama { scores.len() } else { tokens.len() };
        if let Some((key, found)) =
            [(TYPES, types.len()), (SCORES, scored)].into_iter().find(|(_, n)| *n != tokens.len())
        {
            let wanted = format!("one per token, {}", tokens.len());
            return Err(Error::malformed(path, format!("key `{key}`"), format!("{found} values"), wanted));
        }
        Ok(Fields {
            model,
            pre: metadata.text(PRE).unwrap_or("default"),
            tokens,
            types,
            scores,
            merges,
            special: specials(metadata, tokens.len()),
            add_space_prefix: metadata.flag(ADD_SPACE_PREFIX),
        })
    }
}

/// The tokenizer that the keys of the GGUF at `path` describe.
///
/// # Errors
/// A kind of tokenizer other than byte-level BPE and SentencePiece BPE, or keys that do not fit together.
pub fn from_metadata(path: &Path, metadata: &Metadata) -> Result<Tokenizer> {
    let fields = Fields::new(path, metadata)?;
    Ok(Tokenizer {
        model: fields.model,
        pre: fields.pre.to_owned(),
        tokens: fields.tokens.clone(),
        types: fields.types,
        scores: fields.scores.to_vec(),
        merges: fields.merges.cloned().unwrap_or_default(),
        special: fields.special,
        add_bos: metadata.flag(ADD_BOS).or((fields.model == Model::Gpt2).then(|| begins_unless_said(fields.pre))),
        add_eos: metadata.flag(ADD_EOS),
        add_space_prefix: fields.add_space_prefix,
        remove_extra_whitespaces: metadata.flag(REMOVE_EXTRA_WHITESPACES),
        templates: templates(metadata),
        files: vec![path.to_owned()],
    })
}

/// The tokens by id; none without a tokenizer.
pub fn tokens(metadata: &Metadata) -> Option<&Strings> {
    metadata.strings(TOKENS)
}

/// The token that llama.cpp begins every text with, if it does.
pub fn first_token(metadata: &Metadata) -> Option<u32> {
    let unsaid = || {
        let sentencepiece = metadata.text(MODEL) == Some(Model::Llama.name());
        sentencepiece || begins_unless_said(metadata.text(PRE).unwrap_or("default"))
    };
    let bos = || specials(metadata, usize::MAX).get("bos");
    metadata.flag(ADD_BOS).unwrap_or_else(unsaid).then(bos).flatten()
}

/// The tokens that end a text or a turn: eos, eot and eom as the file names them, and control tokens that are known by
/// their names, as llama.cpp does it.
pub fn last_tokens(metadata: &Metadata) -> Vec<u32> {
    let tokens = tokens(metadata);
    let count = tokens.map_or(0, Strings::len) as u64;
    let named = LAST_KEYS.iter().filter_map(|key| metadata.count(key).filter(|id| *id < count).map(|id| id as u32));
    let types = match metadata.get(TYPES) {
        Some(Value::Array(Array::I32(types))) => &types[..],
        _ => &[],
    };
    let all = tokens.into_iter().flat_map(Strings::iter).zip(types).zip(0..);
    let known = all.filter(|((text, kind), _)| **kind == TokenType::Control as i32 && LAST_TOKENS.contains(text));
    let mut ids: Vec<u32> = named.chain(known.map(|(_, id)| id)).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// The text of the token with a role, if there is one.
pub(super) fn special_text<'m>(metadata: &'m Metadata, role: &str) -> Option<&'m str> {
    let tokens = tokens(metadata)?;
    Some(&tokens[specials(metadata, tokens.len()).get(role)? as usize])
}

/// A byte-level tokenizer with this pre-tokenizer begins with bos unless the file says otherwise.
fn begins_unless_said(pre: &str) -> bool {
    BOS_BY_DEFAULT.contains(&pre::find(pre).map_or(pre, |row| row.name))
}

fn specials(metadata: &Metadata, tokens: usize) -> Specials {
    let mut specials = Specials::default();
    for role in &ROLES {
        let id = metadata.count(role.key).filter(|id| *id < tokens as u64).map(|id| id as u32);
        specials.set_default(role.name, id);
    }
    specials
}

/// The default template first, then the named ones.
pub(super) fn templates(metadata: &Metadata) -> Vec<Template> {
    let default = metadata.text(TEMPLATE).map(|text| Template { name: DEFAULT.into(), text: text.into() });
    let names = metadata.strings(TEMPLATE_NAMES).into_iter().flat_map(Strings::iter);
    let named = names.filter_map(|name| {
        let text = metadata.text(&format!("{TEMPLATE}.{name}"))?;
        Some(Template { name: name.into(), text: text.into() })
    });
    default.into_iter().chain(named).collect()
}
