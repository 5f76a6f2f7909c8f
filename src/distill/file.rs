//! safetensors files of values in memory.

use crate::error::{Error, Result};
use crate::sink::beside;
use serde_json::{Map, Value, json};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

/// Values that have a type in safetensors.
pub(super) trait Element: Copy {
    const DTYPE: &'static str;
    /// Hand the bytes of `values` to `take`.
    fn bytes(values: &[Self], take: &mut dyn FnMut(&[u8]) -> std::io::Result<()>) -> std::io::Result<()>;
}

impl Element for f32 {
    const DTYPE: &'static str = "F32";

    fn bytes(values: &[f32], take: &mut dyn FnMut(&[u8]) -> std::io::Result<()>) -> std::io::Result<()> {
        values.iter().try_for_each(|value| take(&value.to_le_bytes()))
    }
}

impl Element for u8 {
    const DTYPE: &'static str = "U8";

    fn bytes(values: &[u8], take: &mut dyn FnMut(&[u8]) -> std::io::Result<()>) -> std::io::Result<()> {
        take(values)
    }
}

/// Write `tensors` - name, shape, values - and `facts` about them to `path`, whole or not at all.
pub(super) fn write<T: Element>(path: &Path, facts: Value, tensors: &[(String, &[usize], &[T])]) -> Result<()> {
    let partial = beside(path, ".partial");
    let mut header = Map::new();
    header.insert("__metadata__".into(), facts);
    let mut at = 0;
    for (name, shape, values) in tensors {
        let end = at + size_of_val(*values);
        let entry = json!({ "dtype": T::DTYPE, "shape": shape, "data_offsets": [at, end] });
        header.insert(name.clone(), entry);
        at = end;
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let all = || -> std::io::Result<()> {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&partial)?);
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        for (_, _, values) in tensors {
            T::bytes(values, &mut |bytes| file.write_all(bytes))?;
        }
        file.into_inner()?.sync_all()?;
        fs::rename(&partial, path)
    };
    all().map_err(|e| {
        let _ = fs::remove_file(&partial);
        Error::io("write", path)(e)
    })
}
