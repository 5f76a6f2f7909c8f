//! The page about storage formats, made from their table.

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
    page += "\nFormats that are recognised are sized, listed and carried over unchanged.\n\n## Layout and rounding\n";
    for f in FORMATS {
        if let Some(codec) = f.codec {
            let _ = write!(page, "\n**{}**. {}\n", f.name, codec.about);
        }
    }
    page
}
