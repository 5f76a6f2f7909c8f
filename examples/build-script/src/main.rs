//! A program with a model in it, which goes on with what it is given.

use tersor::generate::{Request, Sampling, generate};
use tersor::machine::all_threads;
use tersor::model::{Model, Weights};
use tersor::progress::Silent;
use tersor::source::Source;
use tersor::tokenizer::{Decoder, encoder_of, last_tokens, metadata_of};
use tersor_kernels::Level;

/// About a third of the model's size in bf16.
static MODEL: &[u8] = include_bytes!(env!("MODEL"));

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = std::env::args().nth(1).unwrap_or_else(|| "The king".into());
    // Models are read from files.
    let file = std::env::temp_dir().join(format!("embedded-{}.gguf", std::process::id()));
    std::fs::write(&file, MODEL)?;
    let source = Source::open(&file)?;
    std::fs::remove_file(&file)?;
    let metadata = metadata_of(&source)?.into_owned();
    let prompt = encoder_of(&source, &metadata)?.encode_whole(&metadata, &text)?;
    let mut decoder = Decoder::new(&file, &metadata)?;
    let model = Model::load(source, Weights::AsStored, Level::best(), all_threads(), &Silent)?;
    let request = Request {
        prompt: &prompt,
        tokens: 24,
        sampling: Sampling { temperature: 0.0, top_p: 1.0, seed: 0 },
        last: &last_tokens(&metadata),
        vocabulary: decoder.len(),
    };
    let mut written = text;
    generate(&model, &request, &Silent, &mut |id| {
        written += &decoder.push(id);
        true
    })?;
    println!("{written}{}", decoder.finish());
    Ok(())
}
