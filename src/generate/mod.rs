//! Tokens that a model writes after a prompt.

mod sample;

pub use sample::Sampling;

use crate::arch::Count;
use crate::error::{Error, Result};
use crate::model::{Model, Session};
use crate::progress::Progress;
use sample::Sampler;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Tokens of the prompt that run together: a bound on memory.
pub const AT_ONCE: usize = 512;

/// What to write.
pub struct Request<'a> {
    /// What stands before.
    pub prompt: &'a [u32],
    /// Tokens at most.
    pub tokens: usize,
    /// How each is chosen.
    pub sampling: Sampling,
    /// Tokens after which nothing follows.
    pub last: &'a [u32],
    /// Ids that count; what the embedding has beyond is padding.
    pub vocabulary: usize,
}

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The model wrote a token after which nothing follows.
    Stop,
    /// As many tokens as were asked for.
    Length,
    /// The model takes no more.
    Context,
    /// Someone had enough.
    Cancelled,
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Generated {
    /// Without the last one, if [`End::Stop`].
    pub tokens: Vec<u32>,
    /// Why there are no more.
    pub end: End,
    /// From the start to the first token.
    pub first: Duration,
    /// From the first token to the last.
    pub rest: Duration,
}

/// Run the prompt and write after it. `progress` hears of the prompt's tokens, `heard` of every new one at once, and says
/// whether to go on.
///
/// # Errors
/// [`Error::Usage`] for a prompt that is empty or longer than the model takes, or predictions that are not numbers.
pub fn generate(
    model: &Model,
    request: &Request<'_>,
    progress: &dyn Progress,
    heard: &mut dyn FnMut(u32) -> bool,
) -> Result<Generated> {
    let started = Instant::now();
    let (prompt, context) = (request.prompt, model.settings()[Count::Context] as usize);
    if prompt.is_empty() || prompt.len() >= context {
        let problem = format!("a prompt of {} tokens, but the model takes 1 to {}", prompt.len(), context - 1);
        return Err(Error::Usage { problem, hint: "give another prompt".into() });
    }
    let room = request.tokens.min(context - prompt.len());
    let mut session = Session::new(model, prompt.len() + room)?;
    let mut sampler = Sampler::new(request.sampling);
    let (mut tokens, mut logits) = (Vec::new(), Vec::new());
    let generated = |tokens, end, first: Option<Duration>| {
        let first = first.unwrap_or_else(|| started.elapsed());
        Ok(Generated { tokens, end, first, rest: started.elapsed() - first })
    };
    for part in prompt.chunks(AT_ONCE) {
        session.forward(part)?;
        progress.advance(part.len() as u64);
        if progress.cancelled() {
            return generated(tokens, End::Cancelled, None);
        }
    }
    let mut first = None;
    while tokens.len() < room {
        session.last_logits(&mut logits)?;
        let token = sampler.choose(&logits[..request.vocabulary.min(logits.len())]);
        first.get_or_insert_with(|| started.elapsed());
        if request.last.contains(&token) {
            return generated(tokens, End::Stop, first);
        }
        tokens.push(token);
        if !heard(token) || progress.cancelled() {
            return generated(tokens, End::Cancelled, first);
        }
        if tokens.len() < room {
            session.forward(&[token])?;
        }
    }
    let end = if tokens.len() < request.tokens { End::Context } else { End::Length };
    generated(tokens, end, first)
}
