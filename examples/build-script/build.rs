//! Compresses the model that the program has in it.

fn main() {
    let files = tersor::build("tersor.toml").unwrap_or_else(|e| panic!("{e}"));
    println!("cargo::rustc-env=MODEL={}", files[0].display());
}
