//! `tersor generate`.

use super::progress::{Console, Meter};
use super::{INTERRUPTED, print, print_json, printed};
use crate::error::Result;
use crate::generate::{AT_ONCE, End, Request, Sampling, generate};
use crate::model::{Room, Weights};
use crate::options::GenerateArgs;
use crate::progress::Unit;
use crate::report::GenerateReport;
use crate::source::Source;
use crate::steps::model::{self, Place};
use crate::tokenizer::{Decoder, Message, chat, encoder_of, last_tokens, metadata_of};
use std::process::ExitCode;

pub(super) fn run(args: &GenerateArgs) -> Result<ExitCode> {
    let source = Source::open(&args.model)?;
    let metadata = metadata_of(&source)?.into_owned();
    let encoder = encoder_of(&source, &metadata)?;
    let (text, prompt) = match (&args.chat, &args.prompt) {
        (Some(question), _) => {
            let system = args.system.as_deref().map(|content| Message { role: "system", content });
            let question = Message { role: "user", content: question };
            let turns: Vec<Message<'_>> = system.into_iter().chain([question]).collect();
            // The template has the tokens that a text begins with.
            let text = chat(&args.model, &metadata, &turns)?;
            let ids = encoder.encode(&text)?;
            (text, ids)
        }
        (None, text) => {
            let text = text.clone().unwrap_or_default();
            let ids = encoder.encode_whole(&metadata, &text)?;
            (text, ids)
        }
    };
    drop(encoder);
    let mut decoder = Decoder::new(&args.model, &metadata)?;
    let room = Room { tokens: prompt.len() + args.tokens, at_once: prompt.len().min(AT_ONCE) };
    let place = Place { device: args.device.device, room, threads: args.threads.get() };
    let model = model::load(source, Weights::AsStored, place, &Console { quiet: args.quiet })?;
    let request = Request {
        prompt: &prompt,
        tokens: args.tokens,
        sampling: Sampling { temperature: args.temperature, top_p: args.top_p, seed: args.seed },
        last: &last_tokens(&metadata),
        vocabulary: decoder.len(),
    };
    let meter = Meter::new(args.quiet, Unit::Tokens, prompt.len() as u64);
    let mut written = String::new();
    let mut say = |text: String| {
        written += &text;
        args.json || printed(&text)
    };
    let made = generate(&model, &request, &meter, &mut |id| {
        meter.finish();
        say(decoder.push(id))
    });
    meter.finish();
    say(decoder.finish());
    let made = made?;
    let end = made.end;
    let report = GenerateReport::new(&args.model, (text, prompt.len()), written, &made, model.computed());
    if args.json {
        print_json(&report);
    } else {
        print("\n");
    }
    if !args.quiet {
        eprint!("{}", report.summary());
    }
    Ok(if end == End::Cancelled { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS })
}
