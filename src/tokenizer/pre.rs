//! From the structure of tokenizer.json to the name of a pre-tokenizer, and back.

use std::path::Path;

use serde_json::{Value, json};

use super::pre_table::{
    DIGIT, DIGITS, GPT2, PRES, PUNCTUATION, PUNCTUATION_MARK, Pre, SPELLINGS, Step, WITHOUT_STRUCTURE,
};
use crate::{Error, Result};

/// A step as it stands in a file, its pattern in the table's spelling.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Split(String),
    Bytes,
}

/// The row of `name`, under its own name or an alias.
pub(super) fn find(name: &str) -> Option<&'static Pre> {
    PRES.iter().find(|row| row.name == name || row.aliases.contains(&name))
}

/// `name`, if llama.cpp loads a file with it.
///
/// # Errors
/// [`Error::UnknownName`] with the names that look like it.
pub(super) fn check_name(name: &str) -> Result<()> {
    if find(name).is_some() || WITHOUT_STRUCTURE.contains(&name) {
        return Ok(());
    }
    let all = PRES.iter().flat_map(|row| std::iter::once(&row.name).chain(row.aliases)).chain(WITHOUT_STRUCTURE);
    let near: Vec<&str> = all.clone().copied().filter(|known| looks_like(known, name)).collect();
    let known = if near.is_empty() { all.copied().collect::<Vec<_>>() } else { near };
    Err(Error::UnknownName { what: "pre-tokenizer", name: name.to_owned(), known: known.join(", ") })
}

/// Names with the same beginning, whatever the case, are worth showing.
fn looks_like(known: &str, name: &str) -> bool {
    let start = |text: &str| text.chars().take(3).flat_map(char::to_lowercase).collect::<String>();
    known.contains(name) || name.contains(known) || start(known) == start(name)
}

/// True when some part of `pre_tokenizer` spells text in bytes.
pub(super) fn is_byte_level(pre_tokenizer: &Value) -> bool {
    flatten(pre_tokenizer).iter().any(|part| kind(part) == "ByteLevel")
}

/// The name of the structure in the tokenizer.json at `path`.
///
/// # Errors
/// [`Error::UnnamedPre`] when no row has it.
pub(super) fn detect(path: &Path, pre_tokenizer: &Value, ignore_merges: bool) -> Result<&'static str> {
    let unnamed = || Error::UnnamedPre { path: path.to_owned(), structure: describe(pre_tokenizer, ignore_merges) };
    let found = structure(pre_tokenizer).ok_or_else(unnamed)?;
    let fits = |row: &&Pre| {
        row.ignore_merges == ignore_merges && (same(row.steps, &found) || row.also.is_some_and(|s| same(s, &found)))
    };
    PRES.iter().find(fits).map(|row| row.name).ok_or_else(unnamed)
}

fn same(steps: &[Step], found: &[Found]) -> bool {
    let equal = |(step, found): (&Step, &Found)| match (step, found) {
        (Step::Split(pattern), Found::Split(text)) => spelling(pattern) == *text,
        (Step::Bytes, Found::Bytes) => true,
        _ => false,
    };
    steps.len() == found.len() && steps.iter().zip(found).all(equal)
}

/// `pattern` with every spelling that [`SPELLINGS`] knows replaced.
fn spelling(pattern: &str) -> String {
    SPELLINGS.iter().fold(pattern.to_owned(), |text, (from, to)| text.replace(from, to))
}

fn kind(part: &Value) -> &str {
    part["type"].as_str().unwrap_or_default()
}

/// The parts of a pre-tokenizer in order, sequences opened.
fn flatten(part: &Value) -> Vec<&Value> {
    match part["pretokenizers"].as_array() {
        Some(parts) if kind(part) == "Sequence" => parts.iter().flat_map(flatten).collect(),
        _ if part.is_null() => Vec::new(),
        _ => vec![part],
    }
}

/// The steps, or `None` when some part is none that a row could have.
fn structure(pre_tokenizer: &Value) -> Option<Vec<Found>> {
    let mut steps = Vec::new();
    for part in flatten(pre_tokenizer) {
        let split = |pattern: &str| Found::Split(spelling(pattern));
        match kind(part) {
            "ByteLevel" if part["add_prefix_space"] == Value::Bool(false) => {
                // The field is younger than the type: a file without it means true.
                if part["use_regex"] != Value::Bool(false) {
                    steps.push(split(GPT2));
                }
                steps.push(Found::Bytes);
            }
            "Digits" if part["individual_digits"] == Value::Bool(true) => steps.push(split(DIGIT)),
            "Digits" => steps.push(split(DIGITS)),
            "Punctuation" if part["behavior"] == "Contiguous" => steps.push(split(PUNCTUATION)),
            "Punctuation" if part["behavior"] == "Isolated" || part["behavior"].is_null() => {
                steps.push(split(PUNCTUATION_MARK));
            }
            "Split" => steps.push(split(split_pattern(part)?)),
            _ => return None,
        }
    }
    Some(steps)
}

/// The pattern of a `Split` whose matches become pieces of their own.
fn split_pattern(part: &Value) -> Option<&str> {
    let pattern = part["pattern"]["Regex"].as_str()?;
    let inverted = part["invert"] == Value::Bool(true);
    // Keeping the matches and removing the rest is the same where the pattern leaves no rest.
    let removes_nothing = part["behavior"] == "Removed" && inverted && pattern.ends_with(r"|\s+");
    (part["behavior"] == "Isolated" || removes_nothing).then_some(pattern)
}

/// The structure in one line, for people.
fn describe(pre_tokenizer: &Value, ignore_merges: bool) -> String {
    const SHOWN: usize = 120;
    let parts = flatten(pre_tokenizer);
    let mut text: Vec<String> = parts.iter().map(|part| describe_part(part)).collect();
    if text.is_empty() {
        text.push("none".into());
    }
    let mut line = text.join(" + ");
    if line.chars().count() > SHOWN {
        line = line.chars().take(SHOWN).chain("...".chars()).collect();
    }
    if ignore_merges { line + ", ignore_merges" } else { line }
}

fn describe_part(part: &Value) -> String {
    let detail = match kind(part) {
        "Split" => {
            let pattern = part["pattern"]["Regex"].as_str().or(part["pattern"]["String"].as_str()).unwrap_or("?");
            let behavior = part["behavior"].as_str().unwrap_or("?");
            format!("`{pattern}` {behavior}")
        }
        "ByteLevel" => format!("add_prefix_space {}, use_regex {}", part["add_prefix_space"], part["use_regex"]),
        "Digits" => format!("individual_digits {}", part["individual_digits"]),
        _ => return kind(part).to_owned(),
    };
    format!("{}({detail})", kind(part))
}

/// The `pre_tokenizer` of a tokenizer.json that splits as the row says.
pub(super) fn to_json(row: &Pre) -> Value {
    let byte_level =
        |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex});
    let mut parts = Vec::new();
    let mut steps = row.steps.iter().peekable();
    while let Some(step) = steps.next() {
        parts.push(match step {
            Step::Split(GPT2) if steps.next_if_eq(&&Step::Bytes).is_some() => byte_level(true),
            Step::Split(DIGIT) => json!({"type": "Digits", "individual_digits": true}),
            Step::Split(DIGITS) => json!({"type": "Digits", "individual_digits": false}),
            Step::Split(PUNCTUATION) => json!({"type": "Punctuation", "behavior": "Contiguous"}),
            Step::Split(pattern) => {
                json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false})
            }
            Step::Bytes => byte_level(false),
        });
    }
    match parts.len() {
        1 => parts.remove(0),
        _ => json!({"type": "Sequence", "pretokenizers": parts}),
    }
}
