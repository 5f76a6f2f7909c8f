//! How fast models run: prefill and decode, interleaved so that a drift of the machine hits all alike.

use crate::error::{Error, Result};
use crate::model::{Model, Session};
use crate::progress::Progress;
use serde::Serialize;
use std::time::Instant;

/// What to run.
#[derive(Clone, Debug)]
pub struct Load {
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Tokens generated after it.
    pub tokens: usize,
    /// Times that each model runs, in turn with the others.
    pub repetitions: usize,
}

/// Repetitions of one figure.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

/// One model with one number of threads.
#[derive(Clone, Debug, Serialize)]
pub struct Speed {
    /// Threads.
    pub threads: usize,
    /// Tokens per second of the prompt.
    pub prefill: Spread,
    /// Seconds from the prompt to the first token's logits.
    pub first_token: Spread,
    /// Tokens per second after the prompt, one at a time.
    pub decode: Spread,
}

/// Seconds of one repetition.
struct Times {
    prompt: f64,
    tokens: f64,
}

/// The speeds of `models`, in their order, for each number of threads. `progress` hears of tokens.
///
/// # Errors
/// A model that takes no sequence of that length, [`Error::Interrupted`].
pub fn run(models: &mut [Model], threads: &[usize], load: &Load, progress: &dyn Progress) -> Result<Vec<Vec<Speed>>> {
    let mut speeds = vec![Vec::new(); models.len()];
    for threads in threads {
        for model in &mut *models {
            model.set_threads(*threads)?;
        }
        let mut times: Vec<Vec<Times>> = models.iter().map(|_| Vec::new()).collect();
        // The first one of each warms caches and threads up.
        for turn in 0..=load.repetitions {
            for (model, times) in models.iter().zip(&mut times) {
                let found = once(model, load)?;
                if turn > 0 {
                    times.push(found);
                }
                progress.advance((load.prompt + load.tokens) as u64);
                if progress.cancelled() {
                    return Err(Error::Interrupted);
                }
            }
        }
        for (speeds, times) in speeds.iter_mut().zip(&times) {
            let of = |f: &dyn Fn(&Times) -> f64| spread(times.iter().map(f).collect());
            speeds.push(Speed {
                threads: *threads,
                prefill: of(&|t| load.prompt as f64 / t.prompt),
                first_token: of(&|t| t.prompt),
                decode: of(&|t| load.tokens as f64 / t.tokens),
            });
        }
    }
    Ok(speeds)
}

/// Run `model` on the prompt and one token, so that what it needs beside its weights has been in memory.
///
/// # Errors
/// A model that takes no sequence of that length.
pub fn try_out(model: &Model, load: &Load) -> Result<()> {
    once(model, &Load { tokens: 1, ..load.clone() }).map(|_| ())
}

/// A prompt, then token after token. Which tokens they are does not matter to the time.
fn once(model: &Model, load: &Load) -> Result<Times> {
    let id = |n: usize| (n * 37 % model.vocabulary()) as u32;
    let prompt: Vec<u32> = (0..load.prompt).map(id).collect();
    let mut session = Session::new(model, load.prompt + load.tokens)?;
    let mut logits = Vec::new();
    let started = Instant::now();
    session.forward(&prompt)?;
    session.last_logits(&mut logits)?;
    let prompt = started.elapsed().as_secs_f64();
    let started = Instant::now();
    for n in 0..load.tokens {
        session.forward(&[id(n)])?;
        session.last_logits(&mut logits)?;
    }
    Ok(Times { prompt, tokens: started.elapsed().as_secs_f64() })
}

fn spread(mut values: Vec<f64>) -> Spread {
    values.sort_by(f64::total_cmp);
    let at = |n: usize| values.get(n).copied().unwrap_or(f64::NAN);
    Spread { median: at(values.len() / 2), min: at(0), max: at(values.len().saturating_sub(1)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads() {
        let found = spread(vec![3.0, 1.0, 2.0]);
        assert_eq!((found.median, found.min, found.max), (2.0, 1.0, 3.0));
    }
}
