//! Facts from a model card: the YAML between `---` lines at the head of README.md.

use serde_json::Value;
use std::path::Path;

/// The facts that GGUF has keys for.
#[derive(Debug, Default)]
pub(super) struct Card(Value);

impl Card {
    /// The card of a folder. A folder without one, or with one that is not YAML, simply has no such facts: they are
    /// for people and change nothing in what the model computes.
    pub(super) fn read(folder: &Path) -> Card {
        let text = crate::source::read_text(&folder.join("README.md")).unwrap_or_default();
        Card::parse(&text).unwrap_or_default()
    }

    fn parse(text: &str) -> Option<Card> {
        let rest = text.strip_prefix("---")?.trim_start_matches('\r').strip_prefix('\n')?;
        let end = rest.find("\n---")?;
        serde_saphyr::from_str(&rest[..end]).ok().map(Card)
    }

    /// The text of a field.
    pub(super) fn text(&self, field: &str) -> Option<String> {
        scalar(self.0.get(field)?)
    }

    /// The texts of a field that is a value or a list of values, as the Hub takes it.
    pub(super) fn list(&self, field: &str) -> Vec<String> {
        match self.0.get(field) {
            Some(Value::Array(values)) => values.iter().filter_map(scalar).collect(),
            Some(value) => scalar(value).into_iter().collect(),
            None => Vec::new(),
        }
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_lists() {
        let card =
            Card::parse("---\nlicense: mit\nlanguage: en\nbase_model:\n- a/b\n- c/d\ntags: [2024, {x: 1}]\n---\n# T\n");
        let card = card.unwrap();
        assert_eq!(card.text("license").as_deref(), Some("mit"));
        assert_eq!(
            (card.list("language"), card.list("base_model")),
            (vec!["en".to_owned()], vec!["a/b".into(), "c/d".into()])
        );
        assert_eq!(card.list("tags"), ["2024"]);
        for none in ["", "# Title", "---\nlicense: mit\n", "---\n: : :\n\t- x\n---\n"] {
            assert!(Card::parse(none).is_none_or(|c| c.text("license").is_none()), "{none:?}");
        }
    }
}
