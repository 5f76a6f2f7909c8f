//! A tokenizer as the files of a Hugging Face folder.

use ahash::AHashMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::template::DEFAULT;
use super::{Model, TokenType, Tokenizer, pad_text, pre, spm};
use crate::gguf::Strings;
use crate::{Error, Result};

#[derive(Serialize)]
struct File<'a> {
    version: &'static str,
    truncation: (),
    padding: (),
    added_tokens: Vec<Added<'a>>,
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: Value,
    decoder: Value,
    model: Bpe<'a>,
}

#[derive(Serialize)]
struct Added<'a> {
    id: u32,
    content: &'a str,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: bool,
    special: bool,
}

#[derive(Serialize)]
struct Bpe<'a> {
    r#type: &'static str,
    dropout: (),
    unk_token: Option<&'a str>,
    continuing_subword_prefix: (),
    end_of_word_suffix: (),
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    #[serde(serialize_with = "as_map")]
    vocab: Vec<(&'a str, u32)>,
    merges: Merges<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Merges<'a> {
    Lines(&'a Strings),
    Pairs(Vec<(&'a str, &'a str)>),
}

fn as_map<S: Serializer>(vocab: &[(&str, u32)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(vocab.iter().copied())
}

impl Tokenizer {
    /// File names with contents: tokenizer.json, tokenizer_config.json and, for SentencePiece, tokenizer.model. Padding
    /// is left out.
    ///
    /// # Errors
    /// A pre-tokenizer whose structure is not known.
    pub fn to_files(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut files = Vec::new();
        if self.model == Model::Llama {
            let len = (0..self.tokens.len()).rfind(|id| !self.is_padding(*id)).map_or(0, |id| id + 1);
            files.push(("tokenizer.model".to_owned(), spm::to_model(self, len)));
        }
        let file = match self.model {
            Model::Gpt2 => self.gpt2_file()?,
            Model::Llama => self.llama_file(),
        };
        let write = |error: serde_json::Error| Error::io("write", "tokenizer.json".as_ref())(error.into());
        files.push(("tokenizer.json".to_owned(), serde_json::to_vec(&file).map_err(write)?));
        let config = serde_json::to_vec_pretty(&self.config()).map_err(write)?;
        files.push(("tokenizer_config.json".to_owned(), config));
        Ok(files)
    }

    fn is_padding(&self, id: usize) -> bool {
        self.types[id] == TokenType::Unused && self.tokens[id] == pad_text(id)
    }

    fn vocab(&self) -> Vec<(&str, u32)> {
        let kept = (0..self.tokens.len()).filter(|id| !self.is_padding(*id));
        kept.map(|id| (&self.tokens[id], id as u32)).collect()
    }

    fn added(&self) -> Vec<Added<'_>> {
        let matched = (0..self.tokens.len()).filter(|id| self.types[*id].is_matched_first());
        matched
            .map(|id| Added {
                id: id as u32,
                content: &self.tokens[id],
                single_word: false,
                lstrip: false,
                rstrip: false,
                normalized: false,
                special: self.types[id] != TokenType::UserDefined,
            })
            .collect()
    }

    fn gpt2_file(&self) -> Result<File<'_>> {
        let row = pre::find(&self.pre).ok_or_else(|| {
            let problem = format!("the structure of the pre-tokenizer `{}` is not known", self.pre);
            Error::Tokenizer { path: self.files.first().cloned().unwrap_or_default(), problem }
        })?;
        let byte_level =
            json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
        Ok(File {
            version: "1.0",
            truncation: (),
            padding: (),
            added_tokens: self.added(),
            normalizer: Value::Null,
            pre_tokenizer: pre::to_json(row),
            post_processor: self.post_processor(),
            decoder: byte_level,
            model: Bpe {
                r#type: "BPE",
                dropout: (),
                unk_token: None,
                continuing_subword_prefix: (),
                end_of_word_suffix: (),
                fuse_unk: false,
                byte_fallback: false,
                ignore_merges: row.ignore_merges,
                vocab: self.vocab(),
                merges: Merges::Lines(&self.merges),
            },
        })
    }

    fn llama_file(&self) -> File<'_> {
        let prefix = self.add_space_prefix.unwrap_or(true);
        let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
        let prepend = json!({"type": "Prepend", "prepend": "▁"});
        let normalizers = if prefix { vec![prepend, replace] } else { vec![replace] };
        let mut decoders = vec![
            json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        decoders.extend(prefix.then(|| json!({"type": "Strip", "content": " ", "start": 1, "stop": 0})));
        File {
            version: "1.0",
            truncation: (),
            padding: (),
            added_tokens: self.added(),
            normalizer: json!({"type": "Sequence", "normalizers": normalizers}),
            pre_tokenizer: Value::Null,
            post_processor: self.post_processor(),
            decoder: json!({"type": "Sequence", "decoders": decoders}),
            model: Bpe {
                r#type: "BPE",
                dropout: (),
                unk_token: self.special.get("unk").map(|id| &self.tokens[id as usize]),
                continuing_subword_prefix: (),
                end_of_word_suffix: (),
                fuse_unk: true,
                byte_fallback: true,
                ignore_merges: false,
                vocab: self.vocab(),
                merges: Merges::Pairs(self.merges_by_score()),
            },
        }
    }

    /// Merges that do what the scores say: every way to make a piece of two others, the best pieces first.
    fn merges_by_score(&self) -> Vec<(&str, &str)> {
        let ids: AHashMap<&str, u32> = self.vocab().into_iter().collect();
        let mut pieces: Vec<usize> = (0..self.tokens.len()).filter(|id| self.types[*id] == TokenType::Normal).collect();
        pieces.sort_by(|a, b| self.scores[*b].total_cmp(&self.scores[*a]));
        let mut merges = Vec::new();
        for id in pieces {
            let text = &self.tokens[id];
            let splits = text.char_indices().skip(1).map(|(at, _)| text.split_at(at));
            let mut ways: Vec<(u32, u32, (&str, &str))> =
                splits.filter_map(|pair| Some((*ids.get(pair.0)?, *ids.get(pair.1)?, pair))).collect();
            ways.sort();
            merges.extend(ways.into_iter().map(|(_, _, pair)| pair));
        }
        merges
    }

    /// Adds bos and eos where the tokenizer does.
    fn post_processor(&self) -> Value {
        let token = |flag: Option<bool>, role: &str| {
            let id = self.special.get(role).filter(|_| flag == Some(true))?;
            Some((id, &self.tokens[id as usize]))
        };
        let (bos, eos) = (token(self.add_bos, "bos"), token(self.add_eos, "eos"));
        if bos.is_none() && eos.is_none() {
            return Value::Null;
        }
        let part = |token: Option<(u32, &str)>, type_id: u32| {
            token.map(|(_, text)| json!({"SpecialToken": {"id": text, "type_id": type_id}}))
        };
        let text = |name: &str, type_id: u32| {
            let sequence = json!({"Sequence": {"id": name, "type_id": type_id}});
            [part(bos, type_id), Some(sequence), part(eos, type_id)].into_iter().flatten().collect::<Vec<Value>>()
        };
        let tokens: Map<String, Value> = [bos, eos]
            .into_iter()
            .flatten()
            .map(|(id, text)| (text.to_owned(), json!({"id": text, "ids": [id], "tokens": [text]})))
            .collect();
        let pair = [text("A", 0), text("B", 1)].concat();
        json!({"type": "TemplateProcessing", "single": text("A", 0), "pair": pair, "special_tokens": tokens})
    }

    /// tokenizer_config.json.
    fn config(&self) -> Map<String, Value> {
        let mut config = Map::new();
        config.insert("tokenizer_class".into(), "PreTrainedTokenizerFast".into());
        config.insert("clean_up_tokenization_spaces".into(), false.into());
        for (role, id) in self.special.iter() {
            config.insert(format!("{}_token", role.name), self.tokens[id as usize].into());
        }
        for (key, flag) in [("add_bos_token", self.add_bos), ("add_eos_token", self.add_eos)] {
            config.extend(flag.map(|flag| (key.to_owned(), flag.into())));
        }
        let templates: Vec<Value> =
            self.templates.iter().map(|t| json!({"name": t.name, "template": t.text})).collect();
        let value = match self.templates.as_slice() {
            [] => return config,
            [only] if only.name == DEFAULT => only.text.as_str().into(),
            _ => templates.into(),
        };
        config.insert("chat_template".into(), value);
        config
    }
}
