//! Tasks with one right answer: what they are, and the files that they come in.

use crate::error::{Error, Result};
use crate::source::read_text;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// A text and what could follow it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// What stands before.
    pub prompt: String,
    /// What could follow, with the space that separates them. With a single one the question is whether the model, always
    /// taking the most likely token, would write it.
    pub choices: Vec<String>,
    /// The right one, from 0.
    pub answer: usize,
}

/// Items, and some more that can stand before them as examples.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its name.
    pub name: String,
    /// What is asked.
    pub items: Vec<Item>,
    /// Examples from another file, where there is one; otherwise other items serve.
    pub examples: Vec<Item>,
}

/// A task whose published files are read as they are.
pub struct Known {
    /// As on the command line.
    pub name: &'static str,
    /// Its file, in the folder of data or in one of the task's name there.
    file: &'static str,
    /// The right answers, where they are a file of their own.
    labels: Option<&'static str>,
    /// A file of examples.
    examples: Option<&'static str>,
    parse: fn(&Lines, Option<&Lines>) -> Result<Vec<Item>>,
}

/// All of them, with prompts as lm-evaluation-harness writes them.
pub static TASKS: [Known; 4] = [
    Known { name: "hellaswag", file: "hellaswag_val_full.txt", labels: None, examples: None, parse: hellaswag },
    Known {
        name: "arc",
        file: "ARC-Challenge-Test.jsonl",
        labels: None,
        examples: Some("ARC-Challenge-Dev.jsonl"),
        parse: arc,
    },
    Known { name: "piqa", file: "valid.jsonl", labels: Some("valid-labels.lst"), examples: None, parse: piqa },
    Known { name: "lambada", file: "lambada_test.jsonl", labels: None, examples: None, parse: lambada },
];

impl Task {
    /// The task `name` from the folder `data`: one of [`TASKS`], or the file NAME.jsonl with an [`Item`] as JSON in each line.
    ///
    /// # Errors
    /// A task or file that is not there, or is not of its kind.
    pub fn read(name: &str, data: &Path) -> Result<Task> {
        let own = data.join(format!("{name}.jsonl"));
        let (items, examples) = match TASKS.iter().find(|task| task.name == name) {
            Some(known) => known.read(data)?,
            None if own.is_file() => (schema(&Lines::read(own)?)?, Vec::new()),
            None => {
                let known = TASKS.iter().map(|task| task.name).collect::<Vec<_>>().join(", ");
                let known = format!("{known}, and `{}` if it were there", own.display());
                return Err(Error::UnknownName { what: "task", name: name.to_owned(), known });
            }
        };
        if items.is_empty() {
            let problem = format!("the task `{name}` in `{}` has no items", data.display());
            return Err(Error::Usage { problem, hint: "give the published file".into() });
        }
        Ok(Task { name: name.to_owned(), items, examples })
    }
}

impl Known {
    fn read(&self, data: &Path) -> Result<(Vec<Item>, Vec<Item>)> {
        let find = |file: &str| {
            let places = [data.join(self.name).join(file), data.join(file)];
            let place = places.iter().find(|path| path.is_file());
            place.cloned().ok_or_else(|| Error::Usage {
                problem: format!("`{}` has no `{file}` for the task `{}`", data.display(), self.name),
                hint: format!("put it there, or into a folder `{}` there", self.name),
            })
        };
        let labels = self.labels.map(|file| Lines::read(find(file)?)).transpose()?;
        let parse = |path| (self.parse)(&Lines::read(path)?, labels.as_ref());
        let examples = self.examples.and_then(|file| find(file).ok()).map(parse).transpose()?;
        Ok((parse(find(self.file)?)?, examples.unwrap_or_default()))
    }
}

/// A file, line by line.
pub(super) struct Lines {
    path: PathBuf,
    lines: Vec<String>,
}

impl Lines {
    pub(super) fn read(path: PathBuf) -> Result<Lines> {
        let lines = read_text(&path)?.lines().map(str::to_owned).collect();
        Ok(Lines { path, lines })
    }

    pub(super) fn wrong(&self, line: usize, found: impl Into<String>, wanted: &str) -> Error {
        Error::malformed(&self.path, format!("line {}", line + 1), found, wanted)
    }

    /// The lines that are not blank, as JSON, with their numbers from 0.
    pub(super) fn json<T: for<'a> Deserialize<'a>>(&self, wanted: &str) -> Result<Vec<(usize, T)>> {
        let lines = self.lines.iter().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let parse = |(n, line): (usize, &String)| match serde_json::from_str(line) {
            Ok(value) => Ok((n, value)),
            Err(e) => Err(self.wrong(n, e.to_string(), wanted)),
        };
        lines.map(parse).collect()
    }

    /// A line of JSON each, made into items.
    fn items<T: for<'a> Deserialize<'a>>(
        &self,
        wanted: &str,
        item: impl Fn(usize, T) -> Option<Item>,
    ) -> Result<Vec<Item>> {
        let item = |(n, value)| {
            let item = item(n, value).filter(|item| item.answer < item.choices.len());
            item.ok_or_else(|| self.wrong(n, "no choice of that name", wanted))
        };
        self.json(wanted)?.into_iter().map(item).collect()
    }
}

/// [`Item`] as it is.
fn schema(file: &Lines) -> Result<Vec<Item>> {
    file.items("{\"prompt\": .., \"choices\": [..], \"answer\": 0}", |_, item: Item| Some(item))
}

/// llama.cpp's text: a context, the number of the right ending and four endings, a line each.
fn hellaswag(file: &Lines, _: Option<&Lines>) -> Result<Vec<Item>> {
    const LINES: usize = 6;
    let (items, rest) = file.lines.as_chunks::<LINES>();
    if !rest.is_empty() {
        let found = format!("{} lines", file.lines.len());
        return Err(file.wrong(file.lines.len() - 1, found, "six for each task"));
    }
    let item = |(n, [prompt, answer, endings @ ..]): (usize, &[String; LINES])| {
        let number = answer.trim().parse().ok().filter(|answer| *answer < endings.len());
        let wanted = "the number of the right ending, 0 to 3";
        let answer = number.ok_or_else(|| file.wrong(LINES * n + 1, format!("`{answer}`"), wanted))?;
        Ok(Item { prompt: prompt.clone(), choices: endings.iter().map(|e| format!(" {e}")).collect(), answer })
    };
    items.iter().enumerate().map(item).collect()
}

/// The published JSONL of <https://allenai.org/data/arc>.
fn arc(file: &Lines, _: Option<&Lines>) -> Result<Vec<Item>> {
    #[derive(Deserialize)]
    struct Line {
        question: Question,
        #[serde(rename = "answerKey")]
        answer: String,
    }
    #[derive(Deserialize)]
    struct Question {
        stem: String,
        choices: Vec<Choice>,
    }
    #[derive(Deserialize)]
    struct Choice {
        text: String,
        label: String,
    }
    file.items("a task of ARC", |_, line: Line| {
        let choices = line.question.choices;
        let answer = choices.iter().position(|choice| choice.label == line.answer)?;
        let texts = choices.iter().map(|choice| format!(" {}", choice.text));
        Some(Item { prompt: question(&line.question.stem), choices: texts.collect(), answer })
    })
}

/// The published JSONL of <https://yonatanbisk.com/piqa>, with labels beside it.
fn piqa(file: &Lines, labels: Option<&Lines>) -> Result<Vec<Item>> {
    #[derive(Deserialize)]
    struct Line {
        goal: String,
        sol1: String,
        sol2: String,
    }
    file.items("a task of PIQA, and its label beside it", |n, line: Line| {
        let answer = labels?.lines.get(n)?.trim().parse().ok()?;
        let choices = [line.sol1, line.sol2].map(|text| format!(" {text}")).into();
        Some(Item { prompt: question(&line.goal), choices, answer })
    })
}

/// JSONL with passages whose last word is asked for, <https://arxiv.org/abs/1606.06031>.
fn lambada(file: &Lines, _: Option<&Lines>) -> Result<Vec<Item>> {
    #[derive(Deserialize)]
    struct Line {
        text: String,
    }
    file.items("a passage of more than one word", |_, line: Line| {
        let (prompt, word) =
            line.text.rsplit_once(' ').filter(|(prompt, word)| !prompt.is_empty() && !word.is_empty())?;
        Some(Item { prompt: prompt.to_owned(), choices: vec![format!(" {word}")], answer: 0 })
    })
}

fn question(text: &str) -> String {
    format!("Question: {text}\nAnswer:")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    fn folder(files: &[(&str, &str)]) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn item(prompt: &str, choices: &[&str], answer: usize) -> Item {
        Item { prompt: prompt.into(), choices: choices.iter().map(|c| (*c).to_owned()).collect(), answer }
    }

    const ARC: &str = r#"{"id":"x","question":{"stem":"Why?","choices":[{"text":"So.","label":"A"},{"text":"Thus.","label":"B"}]},"answerKey":"B"}"#;

    #[test]
    fn published_files_are_read() {
        let data = folder(&[
            (
                "hellaswag/hellaswag_val_full.txt",
                "A man sits. he\n3\nstands.\nruns.\nflies.\neats.\nB\n0\na\nb\nc\nd\n",
            ),
            ("ARC-Challenge-Test.jsonl", ARC),
            ("ARC-Challenge-Dev.jsonl", &format!("{ARC}\n{ARC}\n")),
            ("piqa/valid.jsonl", r#"{"goal": "Dry it.", "sol1": "Sun.", "sol2": "Rain."}"#),
            ("piqa/valid-labels.lst", "1\n"),
            ("lambada_test.jsonl", "{\"text\": \"I said, \\\"No\\nmore, Shane\"}\n\n"),
            ("mine.jsonl", r#"{"prompt": "2+2=", "choices": ["4", "5", "6"], "answer": 0}"#),
        ]);
        let read = |name: &str| Task::read(name, data.path()).unwrap();
        let hellaswag = read("hellaswag");
        assert_eq!(hellaswag.items[0], item("A man sits. he", &[" stands.", " runs.", " flies.", " eats."], 3));
        assert_eq!((hellaswag.items.len(), hellaswag.examples.len()), (2, 0));
        let arc = read("arc");
        assert_eq!(arc.items, [item("Question: Why?\nAnswer:", &[" So.", " Thus."], 1)]);
        assert_eq!(arc.examples.len(), 2);
        assert_eq!(read("piqa").items, [item("Question: Dry it.\nAnswer:", &[" Sun.", " Rain."], 1)]);
        assert_eq!(read("lambada").items, [item("I said, \"No\nmore,", &[" Shane"], 0)]);
        assert_eq!(read("mine").items, [item("2+2=", &["4", "5", "6"], 0)]);
    }

    #[test]
    fn other_files_are_errors() {
        let fails = |files: &[(&str, &str)], name: &str, message: &str| {
            let found = Task::read(name, folder(files).path()).unwrap_err().to_string();
            assert!(found.contains(message), "no `{message}` in `{found}`");
        };
        fails(&[], "hellaswag", "has no `hellaswag_val_full.txt` for the task `hellaswag`");
        fails(&[], "sums", "unknown task `sums`; known are hellaswag, arc, piqa, lambada, and `");
        fails(&[("hellaswag_val_full.txt", "a\n0\nb\nc\nd\n")], "hellaswag", "line 5: found 5 lines, wanted six");
        fails(&[("hellaswag_val_full.txt", "a\n4\nb\nc\nd\ne\n")], "hellaswag", "line 2: found `4`, wanted the number");
        fails(&[("hellaswag_val_full.txt", "")], "hellaswag", "has no items");
        let arc = ARC.replace(r#""answerKey":"B""#, r#""answerKey":"C""#);
        fails(&[("ARC-Challenge-Test.jsonl", &arc)], "arc", "line 1: found no choice of that name");
        fails(&[("ARC-Challenge-Test.jsonl", "\n{}")], "arc", "line 2: found missing field `question`");
        let piqa = r#"{"goal": "a", "sol1": "b", "sol2": "c"}"#;
        fails(&[("valid.jsonl", piqa)], "piqa", "has no `valid-labels.lst`");
        for labels in ["", "2\n", "x\n"] {
            fails(&[("valid.jsonl", piqa), ("valid-labels.lst", labels)], "piqa", "line 1: found no choice");
        }
        fails(&[("lambada_test.jsonl", "{\"text\": \"one\"}")], "lambada", "wanted a passage of more than one word");
        fails(&[("a.jsonl", r#"{"prompt": "", "choices": [], "answer": 0}"#)], "a", "no choice of that name");
        fails(&[("a.jsonl", r#"{"prompt": "", "choices": ["b"], "label": 0}"#)], "a", "unknown field `label`");
    }
}
