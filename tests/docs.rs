//! Pages under docs/ that are made from tables are not stale.
#![allow(missing_docs)]

use std::path::Path;

#[test]
fn the_page_of_formats_is_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/formats.md");
    let wanted = tersor::report::formats_page();
    if std::env::var_os("TERSOR_UPDATE").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "docs/formats.md is stale: run `TERSOR_UPDATE=1 cargo test --test docs`");
}
