//! The page about storage formats and file types, made from their tables.

use crate::recipe::{FILE_TYPES, MIX, When};
use std::fmt::Write;
use tersor_kernels::{Class, FORMATS, Format};

/// What tersor does with a format.
pub(crate) fn support(format: &Format) -> &'static str {
    match (format.decoder().is_some(), format.encoder().is_some()) {
        (_, true) => "reads and writes",
        (true, _) => "reads",
        _ => "recognises",
    }
}

/// `docs/formats.md`.
pub fn formats_page() -> String {
    let mut page = String::from(
        "# Storage formats\n\n\
         Made from the table of formats (`cargo test --test docs` says when it is stale, `TERSOR_UPDATE=1` rewrites it).\n\n\
         | format | bits per weight | values per block | bytes | GGUF type | safetensors | tersor |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for f in FORMATS.iter().filter(|f| f.class != Class::Integer) {
        let does = support(f);
        let ggml = f.ggml.map_or("-".to_owned(), |id| id.to_string());
        let dtype = f.safetensors.unwrap_or("-");
        let bits = f.bits_per_weight();
        let _ = writeln!(page, "| {} | {bits} | {} | {} | {ggml} | {dtype} | {does} |", f.name, f.block, f.bytes);
    }
    page += "\nFormats that are recognised are sized, listed and carried over unchanged.\n";
    file_types(&mut page);
    page += "\n## Layout and rounding\n";
    for f in FORMATS {
        if let Some(codec) = f.codec {
            let _ = write!(page, "\n**{}**. {}\n", f.name, codec.about);
        }
    }
    page
}

fn file_types(page: &mut String) {
    *page += "\n## File types\n\n\
              What `--type` takes: llama-quantize's names, and `mxfp4` and `nvfp4` for dense models.\n\n\
              | type | also | general.file_type | base |\n|---|---|---|---|\n";
    for t in FILE_TYPES {
        let _ = writeln!(page, "| {} | {} | {} | {} |", t.name, t.alias.unwrap_or("-"), t.id, t.base);
    }
    *page += "\n## Exceptions\n\n\
              Weight matrices get the base format, but for these; the first row that fits decides. They are \
              llama-quantize's, and `--pure` leaves them out. Types of 16 bits and more have none.\n\n\
              | tensors | types | where | format |\n|---|---|---|---|\n";
    let list = |items: Vec<String>| if items.is_empty() { "all".to_owned() } else { items.join(", ") };
    for m in MIX {
        let roles = list(m.roles.iter().map(|r| r.name()).collect());
        let types = list(m.types.iter().map(|t| (*t).to_owned()).collect());
        let place: Vec<String> = m.when.iter().map(When::to_string).collect();
        let _ = writeln!(page, "| {roles} | {types} | {} | {} |", place.join(", "), m.format);
    }
}
