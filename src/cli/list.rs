//! `tersor formats`, `archs` and `completions`.

use super::tree::Cli;
use super::{print, print_json};
use crate::SCHEMA;
use crate::arch::ARCHITECTURES;
use crate::conversion::{FILE_TYPES, FileType};
use crate::error::Result;
use crate::options::{FormatsArgs, FormatsCommand, ListArgs};
use crate::report::{Measured, format_page, support};
use clap::CommandFactory;
use clap_complete::Shell;
use serde::Serialize;
use serde_json::json;
use std::process::ExitCode;
use tersor_kernels::{Class, FORMATS};

#[derive(Serialize)]
struct FormatRow {
    name: &'static str,
    bits_per_weight: f64,
    block: usize,
    bytes: usize,
    gguf: Option<u32>,
    safetensors: Option<&'static str>,
    reads: bool,
    writes: bool,
    about: Option<&'static str>,
}

#[derive(Serialize)]
struct FileTypeRow {
    name: &'static str,
    alias: Option<&'static str>,
    general_file_type: u32,
    base: &'static str,
}

pub(super) fn formats(args: &FormatsArgs) -> Result<ExitCode> {
    if let Some(FormatsCommand::Show { format }) = &args.one {
        print(&format!("{}\n\n{}", format.name, format_page(format, &Measured::COMMITTED)));
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<FormatRow> = FORMATS
        .iter()
        .filter(|f| f.class != Class::Integer)
        .map(|f| FormatRow {
            name: f.name,
            bits_per_weight: f.bits_per_weight(),
            block: f.block,
            bytes: f.bytes,
            gguf: f.ggml,
            safetensors: f.safetensors,
            reads: f.decoder().is_some(),
            writes: f.encoder().is_some(),
            about: f.codec.map(|c| c.about),
        })
        .collect();
    let row = |t: &FileType| FileTypeRow { name: t.name, alias: t.alias, general_file_type: t.id, base: t.base };
    let types: Vec<FileTypeRow> = FILE_TYPES.iter().map(row).collect();
    if args.list.json {
        print_json(&json!({ "schema": SCHEMA, "formats": rows, "file_types": types }));
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::from("format   bits/weight  block  bytes  tersor\n");
    for f in FORMATS.iter().filter(|f| f.class != Class::Integer) {
        let does = support(f);
        text += &format!("{:8} {:11.4}  {:5}  {:5}  {does}\n", f.name, f.bits_per_weight(), f.block, f.bytes);
    }
    text += "\ntype       also  general.file_type  base\n";
    for t in &types {
        text += &format!("{:9}  {:4}  {:17}  {}\n", t.name, t.alias.unwrap_or(""), t.general_file_type, t.base);
    }
    print(&text);
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct ArchitectureRow {
    gguf: &'static str,
    classes: Vec<&'static str>,
}

pub(super) fn architectures(args: &ListArgs) -> Result<ExitCode> {
    let rows: Vec<ArchitectureRow> = ARCHITECTURES
        .iter()
        .map(|a| ArchitectureRow { gguf: a.gguf, classes: a.hf.iter().map(|(class, _)| *class).collect() })
        .collect();
    if args.json {
        print_json(&json!({ "schema": SCHEMA, "architectures": rows }));
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for r in &rows {
        text += &format!("{:8} {}\n", r.gguf, r.classes.join(", "));
    }
    text += "\nA GGUF file needs no row here: every family that llama.cpp knows can be requantized.\n";
    print(&text);
    Ok(ExitCode::SUCCESS)
}

pub(super) fn completions(shell: Shell) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tersor", &mut script);
    print(&String::from_utf8_lossy(&script));
    Ok(ExitCode::SUCCESS)
}
