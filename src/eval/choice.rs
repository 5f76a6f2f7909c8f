//! Which of several texts a model finds likeliest.

use super::score::{Estimate, nll, percent, perplexity};
use super::tasks::{Item, Task};
use crate::arch::Count;
use crate::error::{Error, Result};
use crate::gguf::Strings;
use crate::model::{Model, Session};
use crate::progress::Progress;
use crate::source::Source;
use crate::tokenizer::{encoder_of, metadata_of, tokens};
use serde::Serialize;

/// How a model did.
#[derive(Clone, Debug, Serialize)]
pub struct TaskScores {
    /// The task.
    pub task: String,
    /// Items that were asked.
    pub items: usize,
    /// Examples before each.
    pub shots: usize,
    /// Percent of items whose right choice has the highest log likelihood; with one choice, that it is what the model would
    /// write.
    pub accuracy: Estimate,
    /// The same after division by the choice's characters; none with one choice.
    pub accuracy_norm: Option<Estimate>,
    /// exp of the mean negative log likelihood of the right answer; only with one choice.
    pub perplexity: Option<Estimate>,
}

/// A task as token ids.
pub struct Questions {
    name: String,
    shots: usize,
    items: Vec<Question>,
    vocabulary: usize,
    longest: usize,
}

struct Question {
    choices: Vec<Choice>,
    answer: usize,
}

struct Choice {
    ids: Vec<u32>,
    /// Ids of the prompt at the front.
    prompt: usize,
    characters: usize,
}

/// Of each task at most so many items, with so many examples before each.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Examples: those of the task, or its own other items, from the first on.
    pub shots: usize,
    /// Items at most, from the first on.
    pub limit: Option<usize>,
}

impl Questions {
    /// `task` by the tokenizer of `source`.
    ///
    /// # Errors
    /// Too few examples, an item that is longer than the model takes, or of which no token is left to predict.
    pub fn new(source: &Source, task: &Task, asked: Asked) -> Result<Questions> {
        let metadata = metadata_of(source)?;
        let encoder = encoder_of(source, &metadata)?;
        let encode = |text: &str| encoder.encode_whole(&metadata, text);
        let context = source.settings()?[Count::Context] as usize;
        let limit = asked.limit.unwrap_or(task.items.len());
        let mut items = Vec::new();
        for (n, item) in task.items.iter().enumerate().take(limit) {
            let bad = |problem: String, hint: &str| {
                let problem = format!("task `{}`, item {}: {problem}", task.name, n + 1);
                Error::Usage { problem, hint: hint.into() }
            };
            let before = examples(task, n, asked.shots)
                .map_err(|found| bad(format!("{found} others can serve as examples"), "ask for fewer `--shots`"))?;
            let text = before + &item.prompt;
            let prompt = encode(&text)?;
            let mut choices = Vec::new();
            for choice in &item.choices {
                let ids = encode(&(text.clone() + choice))?;
                // A choice can change how the end of the prompt is cut.
                let shared = same(&ids, &prompt);
                if shared == 0 || shared == ids.len() {
                    let problem = format!("`{choice}` has no token, or none before it");
                    return Err(bad(problem, "give it a prompt and choices that are not empty"));
                }
                if ids.len() > context {
                    let problem = format!("{} tokens, but the model takes {context}", ids.len());
                    return Err(bad(problem, if asked.shots > 0 { "ask for fewer `--shots`" } else { "shorten it" }));
                }
                choices.push(Choice { ids, prompt: shared, characters: choice.trim_start().chars().count().max(1) });
            }
            items.push(Question { choices, answer: item.answer });
        }
        let longest = items.iter().flat_map(|item| &item.choices).map(|c| c.ids.len()).max().unwrap_or(1);
        let vocabulary = tokens(&metadata).map_or(0, Strings::len);
        Ok(Questions { name: task.name.clone(), shots: asked.shots, items, vocabulary, longest })
    }

    /// Tokens of all of them, prompts counted once.
    pub fn total(&self) -> u64 {
        self.items.iter().map(Question::tokens).sum()
    }

    /// Ask `model`. `progress` hears of tokens.
    ///
    /// # Errors
    /// Predictions that are not numbers, [`Error::Interrupted`].
    pub fn ask(&self, model: &Model, progress: &dyn Progress) -> Result<TaskScores> {
        let mut run = Run { session: Session::new(model, self.longest)?, model, ids: Vec::new(), logits: Vec::new() };
        let (mut right, mut right_norm, mut nlls) = (Vec::new(), Vec::new(), Vec::new());
        for item in &self.items {
            let found: Vec<Found> =
                item.choices.iter().map(|choice| run.find(choice, self.vocabulary)).collect::<Result<_>>()?;
            let hit = |score: &dyn Fn(usize) -> f64| {
                let best = (0..found.len()).fold(0, |best, n| if score(n) < score(best) { n } else { best });
                f64::from(u8::from(best == item.answer))
            };
            if let [only] = &found[..] {
                right.push(f64::from(u8::from(only.greedy)));
                nlls.push(only.nll);
            } else {
                right.push(hit(&|n| found[n].nll));
                right_norm.push(hit(&|n| found[n].nll / item.choices[n].characters as f64));
            }
            progress.advance(item.tokens());
            if progress.cancelled() {
                return Err(Error::Interrupted);
            }
        }
        Ok(TaskScores {
            task: self.name.clone(),
            items: self.items.len(),
            shots: self.shots,
            accuracy: percent(&right),
            accuracy_norm: (!right_norm.is_empty()).then(|| percent(&right_norm)),
            perplexity: (!nlls.is_empty()).then(|| perplexity(&nlls)),
        })
    }
}

impl Question {
    fn tokens(&self) -> u64 {
        let prompt = self.choices.iter().map(|choice| choice.prompt).max().unwrap_or(0);
        (prompt + self.choices.iter().map(|choice| choice.ids.len() - choice.prompt).sum::<usize>()) as u64
    }
}

/// The text of the first `shots` examples for item `n`, or how many there are.
fn examples(task: &Task, n: usize, shots: usize) -> Result<String, usize> {
    let others = task.items.iter().enumerate().filter(|(other, _)| *other != n).map(|(_, item)| item);
    let all: Vec<&Item> = match &task.examples[..] {
        [] => others.take(shots).collect(),
        examples => examples.iter().take(shots).collect(),
    };
    if all.len() < shots {
        return Err(all.len());
    }
    Ok(all.iter().map(|item| format!("{}{}\n\n", item.prompt, item.choices[item.answer])).collect())
}

/// How many ids at the front are the same.
fn same(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// A model that keeps what it has seen, since many texts begin alike.
struct Run<'m> {
    model: &'m Model,
    session: Session<'m>,
    ids: Vec<u32>,
    logits: Vec<f32>,
}

/// What a model thinks of a choice.
struct Found {
    /// Negative log likelihood of all its tokens.
    nll: f64,
    /// Each of them is the most likely one.
    greedy: bool,
}

impl Run<'_> {
    fn find(&mut self, choice: &Choice, vocabulary: usize) -> Result<Found> {
        // Token n is predicted at n - 1; the last one predicts nothing that is asked.
        let (first, last) = (choice.prompt - 1, choice.ids.len() - 1);
        let known = same(&self.ids, &choice.ids).min(first);
        self.session.rewind(known);
        self.ids.truncate(known);
        self.session.forward(&choice.ids[known..last])?;
        self.ids.extend_from_slice(&choice.ids[known..last]);
        self.session.logits(first - known..last - known, &mut self.logits)?;
        let mut found = Found { nll: 0.0, greedy: true };
        let rows = self.logits.chunks_exact(self.model.vocabulary());
        for (row, target) in rows.zip(&choice.ids[choice.prompt..]) {
            let row = &row[..vocabulary.min(row.len())];
            found.nll += nll(row, *target as usize);
            found.greedy &= row.iter().all(|logit| *logit <= row[*target as usize]);
        }
        Ok(found)
    }
}
