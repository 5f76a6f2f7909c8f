//! Facts from a model card: the YAML between `---` lines at the head of README.md.

use serde::Deserialize;
use std::path::Path;

/// The facts that GGUF has keys for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Card {
    pub(super) license: Option<String>,
    pub(super) license_name: Option<String>,
    pub(super) license_link: Option<String>,
    language: OneOrMany,
    tags: OneOrMany,
    base_model: OneOrMany,
}

/// The Hub takes a value or a list of values.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn list(&self) -> Vec<String> {
        match self {
            OneOrMany::None => Vec::new(),
            OneOrMany::One(one) => vec![one.clone()],
            OneOrMany::Many(many) => many.clone(),
        }
    }
}

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
        serde_saphyr::from_str(&rest[..end]).ok()
    }

    pub(super) fn languages(&self) -> Vec<String> {
        self.language.list()
    }

    pub(super) fn tags(&self) -> Vec<String> {
        self.tags.list()
    }

    pub(super) fn base_models(&self) -> Vec<String> {
        self.base_model.list()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_lists() {
        let card = Card::parse("---\nlicense: mit\nlanguage: en\nbase_model:\n- a/b\n- c/d\nother: {x: 1}\n---\n# T\n");
        let card = card.unwrap();
        assert_eq!(card.license.as_deref(), Some("mit"));
        assert_eq!((card.languages(), card.base_models()), (vec!["en".to_owned()], vec!["a/b".into(), "c/d".into()]));
        for none in ["", "# Title", "---\nlicense: mit\n", "---\n: : :\n\t- x\n---\n"] {
            assert!(Card::parse(none).is_none_or(|c| c.license.is_none()), "{none:?}");
        }
    }
}
