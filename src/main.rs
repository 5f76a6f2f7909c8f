//! The `tersor` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    tersor::cli::main()
}
