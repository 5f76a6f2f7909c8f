//! From TOML to a [`Recipe`]; every mistake is told with its place.

use super::{BENCH, CONVERT, EVAL, Kind, LIMITS, Limits, PASSES, QUANTIZE, Recipe, Step, check};
use crate::error::{Error, Result};
use crate::options::keys::{Key, Value, Wrong, did_you_mean};
use crate::options::parse_size;
use crate::source::read_text;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

const TOP: &[&str] = &["source", "out_dir", "pass", "output", "eval", "bench", "limits"];

impl Recipe {
    /// Read a recipe. Paths in it are relative to its folder.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Recipe`] for unknown keys, values that do not fit, passes in an order that makes no sense and
    /// outputs that collide.
    pub fn from_path(path: &Path) -> Result<Recipe> {
        Recipe::from_text(path, &read_text(path)?)
    }

    /// A recipe that would stand in the file `path`.
    pub(super) fn from_text(path: &Path, text: &str) -> Result<Recipe> {
        Reader { path, text }.recipe()
    }
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
}

type Table<'a> = DeTable<'a>;

impl Reader<'_> {
    fn wrong(&self, wrong: Wrong, table: usize) -> Error {
        let before = &self.text[..wrong.at.unwrap_or(table).min(self.text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Error::Recipe { path: self.path.to_owned(), line, column, problem: wrong.problem, hint: wrong.hint }
    }

    fn at(&self, at: usize, problem: impl Into<String>, hint: impl Into<String>) -> Error {
        self.wrong(Wrong { at: Some(at), problem: problem.into(), hint: hint.into() }, 0)
    }

    fn recipe(&self) -> Result<Recipe> {
        let table = DeTable::parse(self.text).map_err(|e| {
            let at = e.span().map_or(0, |span| span.start);
            self.at(at, e.message().trim_end().replace('\n', ", "), "")
        })?;
        let table = table.into_inner();
        self.check_names(&table, TOP)?;
        let folder = self.path.parent().map_or_else(PathBuf::new, Path::to_owned);
        let source = self.text_of(&table, "source")?;
        let source = source.ok_or_else(|| self.at(0, "no `source`", "name the model: source = \"FOLDER\""))?;
        let out_dir = self.text_of(&table, "out_dir")?.map_or_else(|| folder.clone(), |name| folder.join(name));
        // A name on the Hub is no path.
        let path = folder.join(&source);
        let source = if path.exists() || source.starts_with('.') { path } else { source.into() };
        let recipe = Recipe {
            path: self.path.to_owned(),
            source,
            passes: self.tables(&table, "pass")?.map(|(at, t)| self.pass(at, t, &folder)).collect::<Result<_>>()?,
            outputs: self
                .tables(&table, "output")?
                .map(|(at, t)| self.output(at, t, &folder, &out_dir))
                .collect::<Result<_>>()?,
            eval: self.one(&table, "eval", &EVAL, &folder)?,
            bench: self.one(&table, "bench", &BENCH, &folder)?,
            limits: self.limits(&table)?,
        };
        check::check(&recipe).map_err(|wrong| self.wrong(wrong, 0))?;
        Ok(recipe)
    }

    fn check_names(&self, table: &Table<'_>, known: &[&str]) -> Result<()> {
        let unknown = table.keys().find(|name| !known.contains(&&**name.get_ref()));
        unknown.map_or(Ok(()), |name| {
            let hint = did_you_mean(name.get_ref(), known.iter().copied());
            Err(self.at(name.span().start, format!("unknown key `{}`", name.get_ref()), hint))
        })
    }

    fn text_of(&self, table: &Table<'_>, name: &str) -> Result<Option<String>> {
        let Some(value) = table.get(name) else { return Ok(None) };
        let text = value.get_ref().as_str();
        let text = text.ok_or_else(|| self.at(value.span().start, format!("`{name}` takes a text"), ""))?;
        Ok(Some(text.to_owned()))
    }

    /// The tables of `[[name]]`, with their places.
    fn tables<'t, 'i>(
        &self,
        table: &'t Table<'i>,
        name: &str,
    ) -> Result<impl Iterator<Item = (usize, &'t Table<'i>)> + use<'t, 'i>> {
        let values: &[Spanned<DeValue<'i>>] = match table.get(name).map(|value| (value, value.get_ref())) {
            None => &[],
            Some((_, DeValue::Array(array))) if array.iter().all(|value| value.get_ref().is_table()) => array,
            Some((value, _)) => {
                let problem = format!("`{name}` is no list of tables");
                return Err(self.at(value.span().start, problem, format!("begin each with [[{name}]]")));
            }
        };
        Ok(values.iter().filter_map(|value| Some((value.span().start, value.get_ref().as_table()?))))
    }

    fn one(&self, table: &Table<'_>, name: &str, kind: &'static Kind, folder: &Path) -> Result<Option<Step>> {
        let Some(value) = table.get(name) else { return Ok(None) };
        let Some(inner) = value.get_ref().as_table() else {
            return Err(self.at(
                value.span().start,
                format!("`{name}` is no table"),
                format!("begin it with [{name}]"),
            ));
        };
        self.step(kind, value.span().start, self.keys(inner, &[])?, folder).map(Some)
    }

    fn pass(&self, at: usize, table: &Table<'_>, folder: &Path) -> Result<Step> {
        let known = || PASSES.iter().map(|kind| kind.name);
        let Some(name) = self.text_of(table, "kind")? else {
            let hint = format!("add kind = \"{}\"", known().collect::<Vec<_>>().join("\" or \""));
            return Err(self.at(at, "a pass without a `kind`", hint));
        };
        let kind = PASSES.iter().find(|kind| kind.name == name).ok_or_else(|| {
            let at = table.get("kind").map_or(at, |value| value.span().start);
            self.at(at, format!("unknown kind of pass `{name}`"), did_you_mean(&name, known()))
        })?;
        self.step(kind, at, self.keys(table, &["kind"])?, folder)
    }

    fn output(&self, at: usize, table: &Table<'_>, folder: &Path, out_dir: &Path) -> Result<Step> {
        let file = self.text_of(table, "file")?;
        let file = file.ok_or_else(|| self.at(at, "an output without a `file`", "add file = \"NAME.gguf\""))?;
        let to_gguf = file.to_ascii_lowercase().ends_with(".gguf");
        let kind = if table.contains_key("type") { &QUANTIZE } else { &CONVERT };
        if kind.name == QUANTIZE.name && !to_gguf {
            let at = table.get("file").map_or(at, |value| value.span().start);
            return Err(self.at(at, format!("`{file}` has a type, but is no GGUF file"), "end its name with .gguf"));
        }
        let step = self.step(kind, at, self.keys(table, &["file"])?, folder)?;
        Ok(Step { file: out_dir.join(&file), name: file, ..step })
    }

    fn step(&self, kind: &'static Kind, at: usize, mut keys: Vec<Key>, folder: &Path) -> Result<Step> {
        let options = (kind.options)();
        let paths = options.take_paths(&mut keys, folder).map_err(|wrong| self.wrong(wrong, at))?;
        let step = Step { kind, keys, paths, name: String::new(), file: PathBuf::new(), at };
        (kind.check)(&step).map_err(|wrong| self.wrong(wrong, at))?;
        Ok(step)
    }

    fn keys(&self, table: &Table<'_>, others: &[&str]) -> Result<Vec<Key>> {
        let own = table.iter().filter(|(name, _)| !others.contains(&&**name.get_ref()));
        own.map(|(name, value)| {
            let at = [name.span().start, value.span().start];
            let odd = || self.at(at[1], format!("`{}` takes a text, a number or a list", name.get_ref()), "");
            let value = match value.get_ref() {
                DeValue::Boolean(on) => Value::Flag(*on),
                DeValue::Array(values) => {
                    let all = values.iter().map(|value| plain(value.get_ref()));
                    Value::Values(all.collect::<Option<_>>().ok_or_else(odd)?)
                }
                value => Value::Values(vec![plain(value).ok_or_else(odd)?]),
            };
            Ok(Key { name: name.get_ref().to_string(), value, at })
        })
        .collect()
    }

    fn limits(&self, table: &Table<'_>) -> Result<Limits> {
        let known = LIMITS.map(|(name, _)| name);
        let Some(value) = table.get("limits") else { return Ok(Limits::default()) };
        let Some(inner) = value.get_ref().as_table() else {
            return Err(self.at(value.span().start, "`limits` is no table", "begin it with [limits]"));
        };
        self.check_names(inner, &known)?;
        let number = |name: &str| {
            let Some(value) = inner.get(name) else { return Ok(None) };
            let number = plain(value.get_ref()).and_then(|text| text.parse::<f64>().ok()).filter(|n| *n >= 0.0);
            let bad = || self.at(value.span().start, format!("`{name}` takes a number that is not negative"), "");
            number.ok_or_else(bad).map(Some)
        };
        let bytes = |name: &str| {
            let Some(value) = inner.get(name) else { return Ok(None) };
            let size = plain(value.get_ref()).and_then(|text| parse_size(&text).ok());
            let bad = || self.at(value.span().start, format!("`{name}` takes a size, such as \"100MiB\""), "");
            size.ok_or_else(bad).map(Some)
        };
        Ok(Limits {
            max_bytes: bytes("max_bytes")?,
            max_kl: number("max_kl")?,
            min_decode_tokens_per_second: number("min_decode_tokens_per_second")?,
        })
    }
}

/// A text, or a number as it is typed.
fn plain(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        _ => None,
    }
}
