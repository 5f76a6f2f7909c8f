//! The page about storage formats and file types, made from their tables and from what was measured.

use crate::conversion::{FILE_TYPES, MIX, When};
use crate::error::{Error, Result};
use std::fmt::Write;
use tersor_kernels::{Class, FORMATS, Format};

/// What tersor does with a format.
pub(crate) fn support(format: &Format) -> &'static str {
    match (format.decoder().is_some(), format.encoder().is_some()) {
        (_, true) => "reads and writes",
        (true, _) => "reads",
        _ => "recognises",
    }
}

/// What was measured of the formats, as tables separated by tabs.
#[derive(Clone, Copy)]
pub struct Measured<'a> {
    /// `docs/errors.tsv`: format, relative RMSE over all matrices of fixtures/tiny-llama with fast and with best effort.
    pub errors: &'a str,
    /// `benches/formats.tsv`: the CPU and the date; the names of the columns; a line per format and way to use it.
    pub speeds: &'a str,
}

impl Measured<'static> {
    /// The tables that this version was built with.
    pub const COMMITTED: Measured<'static> =
        Measured { errors: include_str!("../../docs/errors.tsv"), speeds: include_str!("../../benches/formats.tsv") };
}

/// Columns that a line is cut to.
const WIDTH: usize = 120;

/// `docs/formats.md`.
pub fn formats_page(measured: &Measured<'_>) -> String {
    let mut page = String::from(
        "# Storage formats\n\n\
         Made from the table of formats (`cargo test --test docs` says when it is stale, `TERSOR_UPDATE=1` rewrites it).\n\n\
         | format | bits per weight | values per block | bytes | GGUF type | safetensors | tersor |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for f in shown() {
        let does = support(f);
        let ggml = f.ggml.map_or("-".to_owned(), |id| id.to_string());
        let dtype = f.safetensors.unwrap_or("-");
        let bits = f.bits_per_weight();
        let _ = writeln!(page, "| {} | {bits} | {} | {} | {ggml} | {dtype} | {does} |", f.name, f.block, f.bytes);
    }
    page += "\nFormats that are recognised are sized, listed and carried over unchanged.\n";
    file_types(&mut page);
    page += "\n## One by one\n\n`tersor formats show NAME` prints the same. Fast and best are how long \
             the encoder searches for scales; the error is that of all matrices together.\n";
    for f in FORMATS.iter().filter(|f| f.codec.is_some()) {
        let _ = write!(page, "\n### {}\n\n{}", f.name, format_page(f, measured));
    }
    page
}

/// Layout, size, error and speed of one format.
pub fn format_page(format: &Format, measured: &Measured<'_>) -> String {
    let mut page = String::new();
    if let Some(codec) = format.codec {
        page = wrap(codec.about, "") + "\n";
    }
    let bits = format.bits_per_weight();
    let size = match format.block {
        1 => format!("{bits} bits per weight"),
        values => format!("{bits} bits per weight: {values} values in {} bytes", format.bytes),
    };
    let ggml = format.ggml.map(|id| format!("GGUF type {id}"));
    let dtype = format.safetensors.map(|name| format!("safetensors {name}"));
    let facts: Vec<String> =
        [size].into_iter().chain(ggml).chain(dtype).chain([format!("tersor {} it", support(format))]).collect();
    let lines = [Some(facts.join("; ")), error(format, measured.errors), speed(format, measured.speeds)];
    for line in lines.into_iter().flatten() {
        page += &wrap(&format!("- {line}"), "  ");
    }
    page
}

/// The format that has a page under this name, whatever its case.
///
/// # Errors
/// [`Error::UnknownName`] with the names that begin alike, or all of them.
pub fn shown_format(name: &str) -> Result<&'static Format> {
    let found = Format::by_name(name).filter(|f| f.class != Class::Integer);
    found.ok_or_else(|| {
        let start = |text: &str| text.chars().take(2).flat_map(char::to_lowercase).collect::<String>();
        let near: Vec<&str> = shown().map(|f| f.name).filter(|known| start(known) == start(name)).collect();
        let known = if near.is_empty() { shown().map(|f| f.name).collect() } else { near };
        Error::UnknownName { what: "format", name: name.to_owned(), known: known.join(", ") }
    })
}

/// Formats of weights.
fn shown() -> impl Iterator<Item = &'static Format> {
    FORMATS.iter().filter(|f| f.class != Class::Integer)
}

fn error(format: &Format, errors: &str) -> Option<String> {
    let row = rows(errors).find(|row| row[0] == format.name)?;
    let found = match row[..] {
        [_, fast, best] if fast != best => format!("{fast} fast, {best} best"),
        [_, both, ..] => both.to_owned(),
        _ => return None,
    };
    Some(format!("relative RMSE on fixtures/tiny-llama: {found}"))
}

fn speed(format: &Format, speeds: &str) -> Option<String> {
    // The levels stand before ggml, the strongest last.
    let head = rows(speeds).next()?;
    let at = head.len().checked_sub(2)?;
    let find = |what: &[&str]| {
        let row = rows(speeds).find(|row| row[0] == format.name && row[1..].starts_with(what))?;
        row.get(at).copied()
    };
    let encodes = match (find(&["encode", "plain", "fast"]), find(&["encode", "plain", "best"])) {
        (Some(fast), Some(best)) => Some(format!("encodes {fast} fast, {best} best")),
        (fast, _) => fast.map(|fast| format!("encodes {fast}")),
    };
    let weighed = [find(&["encode", "importance", "fast"]), find(&["encode", "importance", "best"])];
    let weighed = weighed[0].zip(weighed[1]).map(|(fast, best)| format!("with importance {fast}, {best}"));
    let decodes = find(&["decode"]).map(|speed| format!("decodes {speed}"));
    let all: Vec<String> = [encodes, weighed, decodes].into_iter().flatten().collect();
    let place = speeds.lines().next()?.trim_start_matches("# ");
    (!all.is_empty()).then(|| format!("M weights/s, one thread, {} ({place}): {}", head[at], all.join("; ")))
}

/// The rows of a table, comments left out.
fn rows(table: &str) -> impl Iterator<Item = Vec<&str>> {
    table.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('\t').collect())
}

/// Lines of at most [`WIDTH`] columns, all but the first indented.
fn wrap(text: &str, indent: &str) -> String {
    let (mut wrapped, mut line) = (String::new(), String::new());
    for word in text.split_whitespace() {
        if line.len() > indent.len() && line.len() + 1 + word.len() > WIDTH {
            wrapped += &(line + "\n");
            line = indent.to_owned();
        } else if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    wrapped + &line + "\n"
}

fn file_types(page: &mut String) {
    *page += "\n## File types\n\n\
              What `--type` takes: llama-quantize's names, and `mxfp4` and `nvfp4` for dense models.\n\n\
              | type | also | general.file_type | base |\n|---|---|---|---|\n";
    for t in FILE_TYPES {
        let _ = writeln!(page, "| {} | {} | {} | {} |", t.name, t.alias.unwrap_or("-"), t.id, t.base);
    }
    *page += "\n## Exceptions\n\n\
              Weight matrices get the base format, but for these; the first row that fits decides. They are \
              llama-quantize's, and `--pure` leaves them out. Types of 16 bits and more have none.\n\n\
              | tensors | types | where | format |\n|---|---|---|---|\n";
    let list = |items: Vec<String>| if items.is_empty() { "all".to_owned() } else { items.join(", ") };
    for m in MIX {
        let roles = list(m.roles.iter().map(|r| r.name()).collect());
        let types = list(m.types.iter().map(|t| (*t).to_owned()).collect());
        let place: Vec<String> = m.when.iter().map(When::to_string).collect();
        let _ = writeln!(page, "| {roles} | {types} | {} | {} |", place.join(", "), m.format);
    }
}
