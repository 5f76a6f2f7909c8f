//! SentencePiece BPE out of tokenizer.model, and back.
//!
//! The file is the protocol buffer `ModelProto` of
//! <https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto>.

use ahash::AHashMap;
use std::path::Path;

use serde_json::Value;

use super::protobuf::{Message, Wire, put_bytes, put_f32, put_varint};
use super::special::{Configs, Specials};
use super::vocabulary::{ADDED_SCORE, PAD_SCORE, looks_special};
use super::{Model, TokenType, Tokenizer, pad_text};
use crate::gguf::Strings;
use crate::{Error, Result};

/// `TrainerSpec.model_type`.
const MODEL_TYPES: [&str; 4] = ["Unigram", "BPE", "Word", "Char"];
const BPE: u64 = 2;

/// What is read of the file.
struct Spm {
    tokens: Vec<String>,
    types: Vec<TokenType>,
    scores: Vec<f32>,
    model_type: u64,
    space_as_suffix: bool,
    add_dummy_prefix: bool,
    remove_extra_whitespaces: bool,
    /// Ids by role; negative means none.
    ids: [(&'static str, i64); 4],
}

impl Default for Spm {
    /// A field that is not in the file has its default from the schema.
    fn default() -> Spm {
        Spm {
            tokens: Vec::new(),
            types: Vec::new(),
            scores: Vec::new(),
            model_type: 1,
            space_as_suffix: false,
            add_dummy_prefix: true,
            remove_extra_whitespaces: true,
            ids: [("unk", 0), ("bos", 1), ("eos", 2), ("pad", -1)],
        }
    }
}

/// The tokenizer in `bytes`; templates and files are the caller's to add. `added` is more tokens than the model has.
pub(super) fn from_model(
    path: &Path,
    bytes: &[u8],
    configs: &Configs<'_>,
    added: &[(u64, String, bool)],
    rows: u64,
) -> Result<Tokenizer> {
    let mut spm = Spm::read(path, bytes)?;
    spm.check(path, rows)?;
    let trained = spm.tokens.len();
    spm.pad(rows as usize);
    for (id, text, special) in added {
        spm.add(path, *id, text, *special)?;
    }
    let ids = spm.index(path)?;
    let mut special = Specials::find(configs, rows, |text| ids.get(text).copied());
    for (role, id) in spm.ids {
        let id = u32::try_from(id).ok().filter(|id| (*id as usize) < trained);
        // The defaults of the schema are ids; they count only where the piece is of that kind.
        special.set_default(role, id.filter(|id| spm.types[*id as usize].is_matched_first()));
    }
    let (add_bos, add_eos) = configs.adds(&Value::Null, &special, |text| ids.get(text).copied());
    Ok(Tokenizer {
        model: Model::Llama,
        pre: "default".into(),
        tokens: spm.tokens.into(),
        types: spm.types,
        scores: spm.scores,
        merges: Strings::default(),
        special,
        add_bos,
        add_eos,
        add_space_prefix: Some(spm.add_dummy_prefix),
        remove_extra_whitespaces: spm.remove_extra_whitespaces.then_some(true),
        templates: Vec::new(),
        files: Vec::new(),
    })
}

impl Spm {
    fn read(path: &Path, bytes: &[u8]) -> Result<Spm> {
        let mut spm = Spm::default();
        Message::new(bytes).fields(path, |number, value| match (number, value) {
            (1, Wire::Bytes(piece)) => spm.read_piece(path, piece),
            (2, Wire::Bytes(trainer)) => trainer.fields(path, |number, value| {
                spm.read_trainer(number, value);
                Ok(())
            }),
            (3, Wire::Bytes(normalizer)) => normalizer.fields(path, |number, value| {
                match (number, value) {
                    (3, Wire::Varint(flag)) => spm.add_dummy_prefix = flag != 0,
                    (4, Wire::Varint(flag)) => spm.remove_extra_whitespaces = flag != 0,
                    _ => {}
                }
                Ok(())
            }),
            _ => Ok(()),
        })?;
        if spm.tokens.is_empty() {
            return Err(Error::malformed(path, "pieces", "none", "a SentencePiece model"));
        }
        Ok(spm)
    }

    fn read_piece(&mut self, path: &Path, piece: Message<'_>) -> Result<()> {
        let (mut text, mut score, mut kind) = ("", 0.0, TokenType::Normal);
        piece.fields(path, |number, value| {
            match (number, value) {
                (1, Wire::Bytes(bytes)) => text = bytes.text(path)?,
                (2, Wire::Fixed32(bits)) => score = f32::from_bits(bits),
                (3, Wire::Varint(number)) => kind = TokenType::from_number(number.try_into().unwrap_or(0)),
                _ => {}
            }
            Ok(())
        })?;
        if !f32::is_finite(score) {
            let place = format!("piece {}, `{text}`", self.tokens.len());
            return Err(Error::malformed(path, place, format!("the score {score}"), "a number"));
        }
        self.tokens.push(spell(text, kind));
        self.scores.push(score);
        self.types.push(kind);
        Ok(())
    }

    fn read_trainer(&mut self, number: u64, value: Wire<'_>) {
        let Wire::Varint(value) = value else { return };
        match number {
            3 => self.model_type = value,
            24 => self.space_as_suffix = value != 0,
            40..=43 => self.ids[number as usize - 40].1 = value as i64,
            _ => {}
        }
    }

    /// # Errors
    /// A model that `llama` in GGUF cannot hold.
    fn check(&self, path: &Path, rows: u64) -> Result<()> {
        let kind = MODEL_TYPES.get((self.model_type as usize).wrapping_sub(1)).copied().unwrap_or("unknown");
        let problem = if self.model_type != BPE {
            format!("a SentencePiece model of the type {kind}, of which only BPE can be written to GGUF")
        } else if self.space_as_suffix {
            "a SentencePiece model with spaces at the end of words, which GGUF has no place for".to_owned()
        } else if self.tokens.len() as u64 > rows {
            format!("{} tokens, but the embedding has {rows} rows", self.tokens.len())
        } else {
            return Ok(());
        };
        Err(Error::Tokenizer { path: path.to_owned(), problem })
    }

    fn pad(&mut self, rows: usize) {
        self.tokens.extend((self.tokens.len()..rows).map(pad_text));
        self.scores.resize(rows, PAD_SCORE);
        self.types.resize(rows, TokenType::Unused);
    }

    /// A token that the Hugging Face files add, or whose purpose they change.
    fn add(&mut self, path: &Path, id: u64, text: &str, special: bool) -> Result<()> {
        let at = id as usize;
        if id >= self.tokens.len() as u64 {
            let problem = format!("token `{text}` has the id {id}, but the embedding has {} rows", self.tokens.len());
            return Err(Error::Tokenizer { path: path.to_owned(), problem });
        }
        let kind = if special || looks_special(text) { TokenType::Control } else { TokenType::UserDefined };
        let spelled = spell(text, kind);
        if self.tokens[at] != spelled {
            self.scores[at] = ADDED_SCORE;
            self.tokens[at] = spelled;
            self.types[at] = kind;
        } else if self.types[at] != TokenType::Unknown {
            self.types[at] = kind;
        }
        Ok(())
    }

    /// Ids by text.
    fn index(&self, path: &Path) -> Result<AHashMap<String, u32>> {
        let mut ids = AHashMap::with_capacity(self.tokens.len());
        for (id, text) in self.tokens.iter().enumerate() {
            if let Some(other) = ids.insert(text.clone(), id as u32) {
                let problem = format!("token `{text}` has two ids, {other} and {id}");
                return Err(Error::Tokenizer { path: path.to_owned(), problem });
            }
        }
        Ok(ids)
    }
}

/// Tokens that are matched in raw text have real spaces.
pub(super) fn spell(text: &str, kind: TokenType) -> String {
    match kind {
        TokenType::UserDefined => text.replace('▁', " "),
        _ => text.to_owned(),
    }
}

/// tokenizer.model for the first `len` tokens of `tokenizer`.
pub(super) fn to_model(tokenizer: &Tokenizer, len: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut piece = Vec::new();
    for ((text, score), kind) in tokenizer.tokens.iter().zip(&tokenizer.scores).zip(&tokenizer.types).take(len) {
        piece.clear();
        let text = if *kind == TokenType::UserDefined { text.replace(' ', "▁") } else { text.to_owned() };
        put_bytes(&mut piece, 1, text.as_bytes());
        put_f32(&mut piece, 2, *score);
        put_varint(&mut piece, 3, *kind as u64);
        put_bytes(&mut out, 1, &piece);
    }
    let mut trainer = Vec::new();
    put_varint(&mut trainer, 3, BPE);
    put_varint(&mut trainer, 4, len as u64);
    put_varint(&mut trainer, 35, u64::from(tokenizer.types.contains(&TokenType::Byte)));
    for (number, role) in [(40, "unk"), (41, "bos"), (42, "eos"), (43, "pad")] {
        let id = tokenizer.special.get(role).map_or(-1, i64::from);
        put_varint(&mut trainer, number, id as u64);
    }
    put_bytes(&mut out, 2, &trainer);
    let mut normalizer = Vec::new();
    put_bytes(&mut normalizer, 1, b"identity");
    put_varint(&mut normalizer, 3, u64::from(tokenizer.add_space_prefix.unwrap_or(true)));
    put_varint(&mut normalizer, 4, u64::from(tokenizer.remove_extra_whitespaces.unwrap_or(false)));
    put_varint(&mut normalizer, 5, 1);
    put_bytes(&mut out, 3, &normalizer);
    out
}
