//! A question in the form that a model was trained on.

use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error as JinjaError, ErrorKind, Value, context};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde::Serialize;

use super::metadata::{special_text, templates};
use crate::gguf::Metadata;
use crate::{Error, Result};

/// Steps of a template before it is taken to run forever; a long one takes some thousands.
const STEPS: u64 = 10_000_000;

/// One turn of a conversation.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// `system`, `user` or `assistant`.
    pub role: &'a str,
    /// What was said.
    pub content: &'a str,
}

/// `messages` in the default chat template of the GGUF at `path`, up to where the assistant speaks. It holds the special
/// tokens as text, bos among them where the template wants it.
///
/// The template sees what transformers gives it: <https://huggingface.co/docs/transformers/chat_templating>.
///
/// # Errors
/// No template, or one that cannot be read or refuses the messages.
pub fn chat(path: &Path, metadata: &Metadata, messages: &[Message<'_>]) -> Result<String> {
    let problem = |problem: String| Error::Tokenizer { path: path.to_owned(), problem };
    let Some(template) = templates(metadata).into_iter().next() else {
        let problem = format!("`{}` has no chat template", path.display());
        return Err(Error::Usage { problem, hint: "give the text as it is with `-p`".into() });
    };
    let source = without_generation_tags(&template.text);
    let read = || {
        let turns = messages.iter().map(|m| Value::from_pairs([("role", m.role), ("content", m.content)]));
        let token = |role| special_text(metadata, role).map_or(Value::UNDEFINED, Value::from);
        environment()?.render_str(
            &source,
            context! { messages => turns.collect::<Value>(), add_generation_prompt => true, bos_token => token("bos"), eos_token => token("eos"),
                unk_token => token("unk"), pad_token => token("pad"), tools => (), documents => () },
        )
    };
    read().map_err(|e| {
        let place = e.line().map_or(String::new(), |line| format!(", line {line}"));
        problem(format!("chat template{place}: {}", e.detail().map_or_else(|| e.kind().to_string(), str::to_owned)))
    })
}

/// Jinja as transformers sets it up.
fn environment() -> Result<Environment<'static>, JinjaError> {
    let mut jinja = Environment::new();
    jinja.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    jinja.set_fuel(Some(STEPS));
    jinja.set_unknown_method_callback(unknown_method_callback);
    jinja.add_filter("tojson", to_json);
    jinja.add_function("raise_exception", |message: String| -> Result<(), JinjaError> {
        Err(JinjaError::new(ErrorKind::InvalidOperation, message))
    });
    jinja.add_function("strftime_now", |format: String| -> Result<String, JinjaError> {
        let now = jiff::ZonedDateTime::now();
        jiff::fmt::strtime::format(&format, &now)
            .map_err(|e| JinjaError::new(ErrorKind::InvalidOperation, e.to_string()))
    });
    Ok(jinja)
}

/// JSON as Python's `json.dumps` spaces it, without what HTML would want escaped.
fn to_json(value: Value, options: minijinja::value::Kwargs) -> Result<String, JinjaError> {
    let problem = |e: serde_json::Error| JinjaError::new(ErrorKind::BadSerialization, e.to_string());
    let indent: Option<usize> = options.get("indent")?;
    options.assert_all_used()?;
    let mut out = Vec::new();
    let written = match indent {
        Some(width) => {
            let indent = " ".repeat(width.min(16));
            let pretty = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, pretty))
        }
        None => value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, Spaced)),
    };
    written.map_err(problem)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// `{"a": 1, "b": [2, 3]}`
struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

/// transformers' own tags `generation` and `endgeneration` mark what is trained on: here they are blocks that always are.
fn without_generation_tags(template: &str) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, tag)) = rest.split_once("{%") {
        let Some((inside, after)) = tag.split_once("%}") else { break };
        let name = inside.trim_matches(|c: char| c == '-' || c == '+' || c.is_whitespace());
        let instead = match name {
            "generation" => inside.replace("generation", "if true"),
            "endgeneration" => inside.replace("endgeneration", "endif"),
            _ => inside.to_owned(),
        };
        out.extend([before, "{%", &instead, "%}"]);
        rest = after;
    }
    out + rest
}
