//! Options out of a recipe: its keys are the names of the options, with `_` for `-`, and `true` for those without a value.

use clap::builder::ValueHint;
use clap::error::ContextKind;
use clap::{Arg, ArgAction, Args, Command};
use std::any::TypeId;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What a recipe decides elsewhere, or what changes nothing in the result.
const ELSEWHERE: &[&str] =
    &["output", "dry_run", "force", "no_verify", "quiet", "json", "threads", "memory", "resume", "svg"];

/// One key of a recipe's table.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) value: Value,
    /// Where its name and its value stand in the recipe.
    pub(crate) at: [usize; 2],
}

/// What it says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Flag(bool),
    Values(Vec<String>),
}

/// What is wrong with a table.
#[derive(Debug)]
pub(crate) struct Wrong {
    /// Where in the recipe; `None` for the whole table.
    pub(crate) at: Option<usize>,
    pub(crate) problem: String,
    pub(crate) hint: String,
}

/// The options of a step that a recipe may set.
pub(crate) struct Options {
    command: Command,
    /// Names of options that the recipe decides elsewhere for this step.
    elsewhere: &'static [&'static str],
}

/// What an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    Flag,
    Path,
    Integer,
    Number,
    Text,
}

impl Options {
    /// Those of `A`.
    pub(crate) fn of<A: Args>(elsewhere: &'static [&'static str]) -> Options {
        let command = A::augment_args(Command::new("recipe").no_binary_name(true).disable_help_flag(true));
        Options { command, elsewhere }
    }

    fn is_elsewhere(&self, arg: &Arg) -> bool {
        let name = arg.get_id().as_str();
        arg.get_long().is_none() || ELSEWHERE.contains(&name) || self.elsewhere.contains(&name)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arg> {
        self.command.get_arguments().filter(|arg| !self.is_elsewhere(arg))
    }

    fn find(&self, key: &Key) -> Result<&Arg, Wrong> {
        self.iter().find(|arg| arg.get_id() == key.name.as_str()).ok_or_else(|| {
            let names = self.iter().map(|arg| arg.get_id().as_str());
            let problem = format!("unknown key `{}`", key.name);
            Wrong { at: Some(key.at[0]), problem, hint: did_you_mean(&key.name, names) }
        })
    }

    /// The paths among the values of `keys`, which become those in `folder`.
    pub(crate) fn take_paths(&self, keys: &mut [Key], folder: &Path) -> Result<Vec<PathBuf>, Wrong> {
        let mut paths = Vec::new();
        for key in keys {
            let arg = self.find(key)?;
            let Value::Values(values) = &mut key.value else { continue };
            for value in values.iter_mut().filter(|_| takes(arg) == Takes::Path) {
                let path = folder.join(&*value);
                // Some options take a word or a path.
                if is_path(arg) || path.exists() {
                    *value = path.to_string_lossy().into_owned();
                    paths.push(path);
                }
            }
        }
        Ok(paths)
    }

    /// The options that `keys` set, beside arguments that are not the recipe's to choose.
    pub(crate) fn parse<A: Args>(&self, keys: &[Key], beside: &[OsString]) -> Result<A, Wrong> {
        let mut words = Vec::new();
        for key in keys {
            let arg = self.find(key)?;
            let option = format!("--{}", arg.get_long().unwrap_or_default());
            match (&key.value, takes(arg)) {
                (Value::Flag(true), Takes::Flag) => words.push(option.into()),
                (Value::Flag(false), Takes::Flag) => {}
                (Value::Values(values), kind) if kind != Takes::Flag => {
                    words.extend(values.iter().map(|value| OsString::from(format!("{option}={value}"))));
                }
                (_, kind) => {
                    let wanted = if kind == Takes::Flag { "true or false" } else { "a value" };
                    let problem = format!("`{}` takes {wanted}", key.name);
                    return Err(Wrong { at: Some(key.at[1]), problem, hint: help(arg) });
                }
            }
        }
        words.extend_from_slice(beside);
        let found = self.command.clone().try_get_matches_from(words).and_then(|found| A::from_arg_matches(&found));
        found.map_err(|e| self.explain(&e, keys))
    }

    /// What clap has against the options, in the words of a recipe.
    fn explain(&self, e: &clap::Error, keys: &[Key]) -> Wrong {
        let text = e.render().to_string();
        let problem = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let about = e.get(ContextKind::InvalidArg).map(ToString::to_string).unwrap_or_default();
        let arg = self.iter().find(|arg| arg.get_long().is_some_and(|long| mentions(&about, long)));
        let key = arg.and_then(|arg| keys.iter().find(|key| arg.get_id() == key.name.as_str()));
        let hint = match (arg, text.split_once("required arguments were not provided:")) {
            (_, Some((_, missing))) => format!("missing is {}", missing.trim().lines().next().unwrap_or_default()),
            (Some(arg), None) => help(arg),
            (None, None) => String::new(),
        };
        Wrong { at: key.map(|key| key.at[1]), problem, hint }
    }
}

/// `about` is `--long` or `--long <VALUE>`.
fn mentions(about: &str, long: &str) -> bool {
    about.strip_prefix("--").is_some_and(|rest| rest.split([' ', '=', '[']).next() == Some(long))
}

fn help(arg: &Arg) -> String {
    arg.get_help().map_or_else(String::new, ToString::to_string)
}

fn is_path(arg: &Arg) -> bool {
    arg.get_value_parser().type_id() == TypeId::of::<PathBuf>()
}

/// What an option takes.
pub(crate) fn takes(arg: &Arg) -> Takes {
    let kind = arg.get_value_parser().type_id();
    let is_one_of = |types: &[TypeId]| types.iter().any(|one| kind == *one);
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        Takes::Flag
    } else if is_path(arg) || arg.get_value_hint() == ValueHint::FilePath {
        Takes::Path
    } else if is_one_of(&[TypeId::of::<u64>(), TypeId::of::<u32>(), TypeId::of::<usize>()]) {
        Takes::Integer
    } else if is_one_of(&[TypeId::of::<f64>(), TypeId::of::<f32>()]) {
        Takes::Number
    } else {
        Takes::Text
    }
}

/// The name among `known` that is nearest to what was typed, if one is near, or all of them.
pub(crate) fn did_you_mean<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> String {
    const NEAR: f64 = 0.7;
    let known: Vec<&str> = known.collect();
    let near = known.iter().map(|name| (strsim::jaro_winkler(typed, name), name));
    match near.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(near, _)| *near > NEAR) {
        Some((_, name)) => format!("did you mean `{name}`?"),
        None => format!("known are {}", known.join(", ")),
    }
}
