//! Many texts in one piece of memory.

use std::fmt;
use std::ops::Index;

/// A list of texts that lie end to end: a vocabulary has hundreds of thousands, and an allocation for each costs more
/// than everything else that is done with it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Strings {
    text: String,
    /// Where each one ends in `text`.
    ends: Vec<usize>,
}

impl Strings {
    /// Room for `count` texts of `bytes` bytes together.
    pub fn with_capacity(count: usize, bytes: usize) -> Strings {
        Strings { text: String::with_capacity(bytes), ends: Vec::with_capacity(count) }
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True when there is no text.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Add one text at the end, made of `parts`.
    pub fn push(&mut self, parts: &[&str]) {
        parts.iter().for_each(|part| self.text.push_str(part));
        self.ends.push(self.text.len());
    }

    /// The texts in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &str> + ExactSizeIterator {
        (0..self.len()).map(|at| &self[at])
    }
}

impl Index<usize> for Strings {
    type Output = str;

    fn index(&self, at: usize) -> &str {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.text[start..self.ends[at]]
    }
}

impl<S: AsRef<str>> Extend<S> for Strings {
    fn extend<I: IntoIterator<Item = S>>(&mut self, texts: I) {
        texts.into_iter().for_each(|text| self.push(&[text.as_ref()]));
    }
}

impl<S: AsRef<str>> FromIterator<S> for Strings {
    fn from_iter<I: IntoIterator<Item = S>>(texts: I) -> Strings {
        let mut strings = Strings::default();
        strings.extend(texts);
        strings
    }
}

impl From<Vec<String>> for Strings {
    fn from(texts: Vec<String>) -> Strings {
        texts.iter().collect()
    }
}

impl fmt::Debug for Strings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl serde::Serialize for Strings {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_as_they_were_put_in() {
        let mut strings: Strings = ["a", "", "ü b"].into_iter().collect();
        strings.push(&["c", "", "d"]);
        assert_eq!(strings.iter().collect::<Vec<_>>(), ["a", "", "ü b", "cd"]);
        assert_eq!(strings.iter().rev().collect::<Vec<_>>(), ["cd", "ü b", "", "a"]);
        assert_eq!((strings.len(), &strings[1], &strings[3]), (4, "", "cd"));
        assert_eq!(format!("{strings:?}"), r#"["a", "", "ü b", "cd"]"#);
        assert_eq!(strings, vec!["a".to_owned(), "".into(), "ü b".into(), "cd".into()].into());
        assert_ne!(strings, ["a", "ü", " b", "cd"].into_iter().collect());
        assert!(Strings::default().is_empty());
    }
}
