//! An encoder out of the keys of a GGUF, as a loader makes it.

use ahash::AHashMap;
use std::ops::Range;
use std::path::Path;

use tokenizers::utils::SysRegex;

use super::merge::{self, NONE};
use super::metadata::Fields;
use super::pre_table::Step;
use super::{Model, TokenType, pre, spm_json};
use crate::gguf::{Metadata, Strings};
use crate::{Error, Result};

/// What the keys say, indexed.
pub(super) struct Rebuilt<'m> {
    ids: AHashMap<&'m str, u32>,
    first: First<'m>,
    model: Rules<'m>,
}

enum Rules<'m> {
    Gpt2 {
        steps: Vec<Prepared>,
        ignore_merges: bool,
        /// The rank of `left right`. Most merges are never needed, so what they name is looked up when they are.
        ranks: AHashMap<&'m str, u32>,
        bytes: Box<[char; 256]>,
    },
    Llama {
        scores: &'m [f32],
        space_prefix: bool,
        bytes: Vec<Option<u32>>,
        unknown: Option<u32>,
    },
}

enum Prepared {
    Split(SysRegex),
    Bytes,
}

impl<'m> Rebuilt<'m> {
    pub(super) fn new(path: &Path, metadata: &'m Metadata) -> Result<Rebuilt<'m>> {
        let fields = Fields::new(path, metadata)?;
        let ids = fields.tokens.iter().zip(0..).collect();
        let model = match fields.model {
            Model::Gpt2 => gpt2(path, fields.pre, fields.merges)?,
            Model::Llama => Rules::Llama {
                scores: fields.scores,
                space_prefix: fields.add_space_prefix.unwrap_or(true),
                bytes: byte_ids(fields.tokens, &fields.types),
                unknown: fields.special.get("unk"),
            },
        };
        Ok(Rebuilt { first: First::new(fields.tokens, &fields.types), ids, model })
    }

    fn id(&self, text: &str) -> u32 {
        self.ids.get(text).copied().unwrap_or(NONE)
    }

    /// Tokens that are matched before anything else, by id.
    pub(super) fn special_tokens(&self) -> impl Iterator<Item = (u32, &'m str)> {
        self.first.ids.iter().map(|(text, id)| (*id, *text))
    }

    /// The ids of `text`.
    pub(super) fn encode(&self, text: &str) -> Vec<u32> {
        let mut out = Vec::new();
        let mut at = 0;
        for (range, id) in self.first.find(text) {
            self.encode_plain(&text[at..range.start], &mut out);
            out.push(id);
            at = range.end;
        }
        self.encode_plain(&text[at..], &mut out);
        out
    }

    /// Encode text between special tokens. Each such stretch begins with a space of its own, where one is added.
    fn encode_plain(&self, text: &str, out: &mut Vec<u32>) {
        if text.is_empty() {
            return;
        }
        match &self.model {
            Rules::Gpt2 { steps, ignore_merges, ranks, bytes } => {
                let (spelled, pieces) = split(steps, text, bytes);
                for piece in pieces {
                    self.encode_piece(&spelled[piece], *ignore_merges, ranks, out);
                }
            }
            Rules::Llama { scores, space_prefix, bytes, unknown } => {
                let prefix = if *space_prefix { "▁" } else { "" };
                let text = prefix.to_owned() + &text.replace(' ', "▁");
                let mut symbols = merge::row(text.char_indices().map(|(at, c)| {
                    let end = at + c.len_utf8();
                    (end as u32, self.id(&text[at..end]))
                }));
                merge::merge(&mut symbols, |left, right| {
                    let id = *self.ids.get(&text[left.start as usize..right.end as usize])?;
                    Some((descending(scores[id as usize]), id))
                });
                for symbol in symbols.iter().filter(|symbol| symbol.start < symbol.end) {
                    if symbol.id != NONE {
                        out.push(symbol.id);
                        continue;
                    }
                    let lost = &text.as_bytes()[symbol.start as usize..symbol.end as usize];
                    out.extend(lost.iter().filter_map(|byte| bytes[usize::from(*byte)].or(*unknown)));
                }
            }
        }
    }

    fn encode_piece(&self, piece: &str, ignore_merges: bool, ranks: &AHashMap<&str, u32>, out: &mut Vec<u32>) {
        if let (true, Some(id)) = (ignore_merges, self.ids.get(piece)) {
            out.push(*id);
            return;
        }
        let mut symbols = merge::row(piece.char_indices().map(|(at, c)| {
            let end = at + c.len_utf8();
            (end as u32, self.id(&piece[at..end]))
        }));
        merge::merge(&mut symbols, |left, right| {
            if left.id == NONE || right.id == NONE {
                return None;
            }
            let (start, middle, end) = (left.start as usize, left.end as usize, right.end as usize);
            let rank = *ranks.get([&piece[start..middle], " ", &piece[middle..end]].concat().as_str())?;
            Some((rank.into(), *self.ids.get(&piece[start..end])?))
        });
        // A character without a token is dropped: with all 256 bytes in the vocabulary there is none.
        out.extend(symbols.iter().filter(|s| s.start < s.end && s.id != NONE).map(|s| s.id));
    }
}

/// A key that is lower for a higher score.
fn descending(score: f32) -> u64 {
    let bits = score.to_bits();
    let ascending = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    u64::from(!ascending)
}

fn gpt2<'m>(path: &Path, name: &str, merges: Option<&'m Strings>) -> Result<Rules<'m>> {
    let problem = |problem: String| Error::Tokenizer { path: path.to_owned(), problem };
    let row =
        pre::find(name).ok_or_else(|| problem(format!("the structure of the pre-tokenizer `{name}` is not known")))?;
    let mut steps = Vec::with_capacity(row.steps.len());
    for step in row.steps {
        steps.push(match step {
            Step::Bytes => Prepared::Bytes,
            Step::Split(pattern) => Prepared::Split(SysRegex::new(pattern).map_err(|e| problem(e.to_string()))?),
        });
    }
    // Of two merges that are the same the first one counts, so it is the last to be put in.
    let lines = merges.into_iter().flat_map(|merges| merges.iter().enumerate().rev());
    let ranks = lines.map(|(rank, line)| (line, rank as u32)).collect();
    Ok(Rules::Gpt2 { steps, ignore_merges: row.ignore_merges, ranks, bytes: Box::new(byte_characters()) })
}

/// GPT-2's character for every byte: itself where it is printable Latin-1, otherwise the next one from U+0100 on.
pub(super) fn byte_characters() -> [char; 256] {
    let mut next = '\u{100}'..;
    std::array::from_fn(|byte| match byte as u8 {
        byte @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => char::from(byte),
        _ => next.next().unwrap_or('\u{100}'),
    })
}

fn byte_ids(tokens: &Strings, types: &[TokenType]) -> Vec<Option<u32>> {
    let mut ids = vec![None; 256];
    for ((text, kind), id) in tokens.iter().zip(types).zip(0..) {
        if let (TokenType::Byte, Some(byte)) = (kind, spm_json::byte(text)) {
            ids[usize::from(byte)] = Some(id);
        }
    }
    ids
}

/// The pieces of `text`, as ranges of the text that is spelled in bytes.
fn split(steps: &[Prepared], text: &str, bytes: &[char; 256]) -> (String, Vec<Range<usize>>) {
    let mut text = text.to_owned();
    let mut pieces: Vec<Range<usize>> = std::iter::once(0..text.len()).collect();
    for step in steps {
        match step {
            Prepared::Split(pattern) => {
                pieces = pieces.into_iter().flat_map(|piece| isolate(pattern, &text, piece)).collect();
            }
            Prepared::Bytes => {
                let mut spelled = String::with_capacity(text.len() * 2);
                for piece in &mut pieces {
                    let start = spelled.len();
                    spelled.extend(text.as_bytes()[piece.clone()].iter().map(|byte| bytes[usize::from(*byte)]));
                    *piece = start..spelled.len();
                }
                text = spelled;
            }
        }
    }
    (text, pieces)
}

/// The matches in `piece` and what stands between them.
fn isolate(pattern: &SysRegex, text: &str, piece: Range<usize>) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    let mut at = piece.start;
    for (start, end) in pattern.find_iter(&text[piece.clone()]) {
        let (start, end) = (piece.start + start, piece.start + end);
        pieces.extend([at..start, start..end].into_iter().filter(|range| !range.is_empty()));
        at = end;
    }
    pieces.extend((at < piece.end).then_some(at..piece.end));
    pieces
}

/// Tokens that are cut out before anything else.
struct First<'m> {
    ids: AHashMap<&'m str, u32>,
    /// The lengths that they have.
    lengths: Vec<usize>,
    /// The bytes that they begin with.
    starts: [bool; 256],
}

impl<'m> First<'m> {
    fn new(tokens: &'m Strings, types: &[TokenType]) -> First<'m> {
        let all = tokens.iter().zip(types).zip(0..);
        let matched = all.filter(|((text, kind), _)| kind.is_matched_first() && !text.is_empty());
        let ids: AHashMap<&str, u32> = matched.map(|((text, _), id)| (text, id)).collect();
        let mut lengths: Vec<usize> = ids.keys().map(|text| text.len()).collect();
        lengths.sort_unstable();
        lengths.dedup();
        let mut starts = [false; 256];
        ids.keys().for_each(|text| starts[usize::from(text.as_bytes()[0])] = true);
        First { ids, lengths, starts }
    }

    /// Where they stand in `text`, in order. Of two that overlap the longer wins, then the one on the left: loaders cut
    /// out one token after the other, the longest first.
    fn find(&self, text: &str) -> Vec<(Range<usize>, u32)> {
        let mut all = Vec::new();
        for (at, _) in text.bytes().enumerate().filter(|(_, byte)| self.starts[usize::from(*byte)]) {
            for len in &self.lengths {
                let Some(part) = text.get(at..at + len) else { continue };
                all.extend(self.ids.get(part).map(|id| (at..at + len, *id)));
            }
        }
        all.sort_by_key(|(range, _)| (std::cmp::Reverse(range.len()), range.start));
        let mut covered = vec![false; text.len()];
        let mut taken: Vec<(Range<usize>, u32)> = Vec::new();
        for (range, id) in all {
            // No range that was taken before is shorter, so one that overlaps covers an end.
            if !covered[range.start] && !covered[range.end - 1] {
                covered[range.clone()].fill(true);
                taken.push((range, id));
            }
        }
        taken.sort_by_key(|(range, _)| range.start);
        taken
    }
}
