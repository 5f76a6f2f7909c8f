//! The `tersor` command.

use std::process::ExitCode;

// Vocabularies are hundreds of thousands of short texts: this allocator takes a tenth off a small model's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tersor::cli::main()
}
