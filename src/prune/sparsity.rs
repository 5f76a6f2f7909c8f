//! How many weights go, as typed: `0.5`, `2:4`, `PATTERN=0.3`.

use crate::arch::glob;
use crate::error::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// How many weights of a tensor become zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sparsity {
    /// A share, from 0 and below 1.
    Share(f64),
    /// Of every `of` neighbours along the input dimension `keep` stay: N:M sparsity.
    Pattern {
        /// N.
        keep: usize,
        /// M.
        of: usize,
    },
}

impl Sparsity {
    /// Zeros among `values` values that are taken together: the product with the share, rounded down.
    pub fn zeros(self, values: u64) -> u64 {
        match self {
            Sparsity::Share(share) => (share * values as f64) as u64,
            Sparsity::Pattern { keep, of } => values / of as u64 * (of - keep) as u64,
        }
    }
}

impl FromStr for Sparsity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Sparsity> {
        let found = match text.split_once(':') {
            Some((keep, of)) => {
                let numbers = keep.parse().ok().zip(of.parse().ok());
                numbers.filter(|(keep, of)| 0 < *keep && keep < of).map(|(keep, of)| Sparsity::Pattern { keep, of })
            }
            None => text.parse().ok().filter(|share| (0.0..1.0).contains(share)).map(Sparsity::Share),
        };
        found.ok_or_else(|| Error::BadRule {
            rule: text.to_owned(),
            problem: "a sparsity is a share from 0 and below 1, such as 0.5, or how many stay of how many, such as 2:4"
                .into(),
        })
    }
}

impl fmt::Display for Sparsity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sparsity::Share(share) => write!(f, "{share}"),
            Sparsity::Pattern { keep, of } => write!(f, "{keep}:{of}"),
        }
    }
}

/// A sparsity, for all tensors or for those whose name fits a pattern.
#[derive(Clone, Debug, PartialEq)]
pub struct SparsityRule {
    pattern: Option<String>,
    /// How many weights go.
    pub sparsity: Sparsity,
}

impl FromStr for SparsityRule {
    type Err = Error;

    fn from_str(text: &str) -> Result<SparsityRule> {
        let (pattern, value) = match text.split_once('=') {
            Some(("", _)) => {
                return Err(Error::BadRule { rule: text.to_owned(), problem: "no pattern before `=`".into() });
            }
            Some((pattern, value)) => (Some(pattern.to_owned()), value),
            None => (None, text),
        };
        Ok(SparsityRule { pattern, sparsity: value.parse()? })
    }
}

impl fmt::Display for SparsityRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(pattern) = &self.pattern {
            write!(f, "{pattern}=")?;
        }
        self.sparsity.fmt(f)
    }
}

/// What `--sparsity` says in all.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Of the tensors that no rule names, where they are pruned at all.
    pub base: Option<Sparsity>,
    /// By name; the first match wins.
    pub rules: Vec<SparsityRule>,
}

impl Wanted {
    /// # Errors
    /// [`Error::Usage`] for nothing, or for two sparsities without a pattern.
    pub fn new(all: &[SparsityRule]) -> Result<Wanted> {
        let (base, rules): (Vec<_>, Vec<_>) = all.iter().cloned().partition(|rule| rule.pattern.is_none());
        let usage = |problem: String| Err(Error::Usage { problem, hint: "pass `--sparsity 0.5`, or 2:4".into() });
        match &base[..] {
            [] if rules.is_empty() => usage("no sparsity is given".into()),
            [first, second, ..] => usage(format!("two sparsities for all tensors: {first} and {second}")),
            _ => Ok(Wanted { base: base.first().map(|rule| rule.sparsity), rules }),
        }
    }

    /// The first rule that fits one of these names.
    pub fn rule(&self, names: &[&str]) -> Option<usize> {
        let fits = |pattern: &String| names.iter().any(|name| glob(pattern, name));
        self.rules.iter().position(|rule| rule.pattern.as_ref().is_some_and(fits))
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = self.base.iter().map(ToString::to_string);
        let all: Vec<String> = base.chain(self.rules.iter().map(ToString::to_string)).collect();
        f.write_str(&all.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparsities() {
        for (text, wanted) in [
            ("0", Sparsity::Share(0.0)),
            ("0.5", Sparsity::Share(0.5)),
            ("2:4", Sparsity::Pattern { keep: 2, of: 4 }),
            ("1:16", Sparsity::Pattern { keep: 1, of: 16 }),
        ] {
            let found: Sparsity = text.parse().unwrap();
            assert_eq!((found, found.to_string().as_str()), (wanted, text));
        }
        for bad in ["1", "1.0", "-0.1", "nan", "inf", "", "0:4", "4:4", "5:4", "2:", "x", "50%"] {
            assert!(bad.parse::<Sparsity>().is_err(), "{bad}");
        }
    }

    #[test]
    fn zeros_are_rounded_down() {
        let zeros = |text: &str, n| text.parse::<Sparsity>().unwrap().zeros(n);
        assert_eq!((zeros("0.5", 7), zeros("0.99", 100), zeros("0", 9), zeros("1:4", 12)), (3, 99, 0, 9));
    }

    #[test]
    fn the_first_rule_that_fits_wins() {
        let rules: Vec<SparsityRule> = ["*.mlp.*=0.3", "0.5", "*down*=2:4"].map(|t| t.parse().unwrap()).into();
        let wanted = Wanted::new(&rules).unwrap();
        assert_eq!(wanted.to_string(), "0.5,*.mlp.*=0.3,*down*=2:4");
        assert_eq!(wanted.rule(&["layers.0.mlp.down.weight"]), Some(0));
        assert_eq!(wanted.rule(&["x", "blk.0.ffn_down.weight"]), Some(1));
        assert_eq!(wanted.rule(&["x"]), None);
        assert!(Wanted::new(&[]).is_err());
        assert!(Wanted::new(&["0.5".parse().unwrap(), "0.4".parse().unwrap()]).is_err());
    }
}
