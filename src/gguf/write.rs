//! Encoding a header.

use super::value::{Array, Value, ValueType};
use super::{MAGIC, Metadata, VERSION, align_up};
use tersor_kernels::Format;

/// One row of the tensor table to write; offsets follow from the order.
#[derive(Clone, Copy, Debug)]
pub struct TensorEntry<'a> {
    /// The name, at most [`super::MAX_NAME`] bytes.
    pub name: &'a str,
    /// Sizes, slowest first.
    pub dims: &'a [u64],
    /// How it is stored; must have a GGUF type number.
    pub format: &'static Format,
    /// Bytes of its data, without padding.
    pub bytes: u64,
}

/// Everything before the tensor data, padded to `alignment`, and each tensor's offset from its own end.
///
/// # Panics
/// When a format has no GGUF type number, or the sizes overflow: the plan has checked both.
pub fn encode_header(metadata: &Metadata, tensors: &[TensorEntry<'_>], alignment: u64) -> (Vec<u8>, Vec<u64>) {
    let mut out = Vec::new();
    out.extend(MAGIC);
    out.extend(VERSION.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata.iter() {
        pair(&mut out, key, value);
    }
    let mut offset = 0;
    let mut offsets = Vec::with_capacity(tensors.len());
    for t in tensors {
        string(&mut out, t.name);
        out.extend((t.dims.len() as u32).to_le_bytes());
        for d in t.dims.iter().rev() {
            out.extend(d.to_le_bytes());
        }
        out.extend(t.format.ggml.expect("the plan only holds GGUF formats").to_le_bytes());
        out.extend(u64::to_le_bytes(offset));
        offsets.push(offset);
        offset += align_up(t.bytes, alignment).expect("the plan's size fits");
    }
    out.resize(out.len().next_multiple_of(alignment as usize), 0);
    (out, offsets)
}

/// Where the value of `key` starts in a file with this metadata: behind its type.
pub fn value_offset(metadata: &Metadata, key: &str) -> Option<u64> {
    metadata.get(key)?;
    let mut out = vec![0; 24];
    for (name, value) in metadata.iter().take_while(|(name, _)| *name != key) {
        pair(&mut out, name, value);
    }
    Some((out.len() + 8 + key.len() + 4) as u64)
}

/// BLAKE3 of the pairs whose keys begin with `prefix`, as they stand in a file.
pub fn digest(metadata: &Metadata, prefix: &str) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    let mut out = Vec::new();
    for (key, value) in metadata.iter().filter(|(key, _)| key.starts_with(prefix)) {
        out.clear();
        pair(&mut out, key, value);
        hasher.update(&out);
    }
    hasher.finalize()
}

fn pair(out: &mut Vec<u8>, key: &str, value: &Value) {
    string(out, key);
    out.extend((value.value_type() as u32).to_le_bytes());
    put(out, value);
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(v) => out.extend(v.to_le_bytes()),
        Value::I8(v) => out.extend(v.to_le_bytes()),
        Value::U16(v) => out.extend(v.to_le_bytes()),
        Value::I16(v) => out.extend(v.to_le_bytes()),
        Value::U32(v) => out.extend(v.to_le_bytes()),
        Value::I32(v) => out.extend(v.to_le_bytes()),
        Value::F32(v) => out.extend(v.to_le_bytes()),
        Value::Bool(v) => out.push(u8::from(*v)),
        Value::String(v) => string(out, v),
        Value::U64(v) => out.extend(v.to_le_bytes()),
        Value::I64(v) => out.extend(v.to_le_bytes()),
        Value::F64(v) => out.extend(v.to_le_bytes()),
        Value::Array(a) => array(out, a),
    }
}

fn array(out: &mut Vec<u8>, a: &Array) {
    out.extend((a.element_type() as u32).to_le_bytes());
    out.extend((a.len() as u64).to_le_bytes());
    match a {
        Array::U8(v) => out.extend(v),
        Array::I8(v) => out.extend(v.iter().map(|x| *x as u8)),
        Array::U16(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Array::I16(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Array::U32(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Array::I32(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Array::F32(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Array::Bool(v) => out.extend(v.iter().map(|x| u8::from(*x))),
        Array::String(v) => v.iter().for_each(|s| string(out, s)),
        Array::U64(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Array::I64(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
        Array::F64(v) => out.extend(v.iter().flat_map(|x| x.to_le_bytes())),
    }
    debug_assert!(!matches!(a.element_type(), ValueType::Array));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::read_header;
    use std::path::Path;

    #[test]
    fn a_header_reads_back_as_it_was_written() {
        let mut metadata = Metadata::default();
        metadata.set("general.architecture", "llama");
        metadata.set("a.bool", true);
        metadata.set("a.f64", 0.1f64);
        metadata.set("a.i8s", vec![-1i8, 2]);
        metadata.set("a.strings", vec!["x".to_owned(), "ü".to_owned()]);
        metadata.set("a.empty", Vec::<u64>::new());
        metadata.set("a.bools", vec![true, false]);
        let f32 = Format::by_name("f32").unwrap();
        let q8 = Format::by_name("q8_0").unwrap();
        let rows = [
            TensorEntry { name: "a", dims: &[3], format: f32, bytes: 12 },
            TensorEntry { name: "b", dims: &[2, 64], format: q8, bytes: 136 },
        ];
        let (mut file, offsets) = encode_header(&metadata, &rows, 32);
        assert_eq!(file.len() % 32, 0);
        assert_eq!(offsets, [0, 32]);
        let start = file.len() as u64;
        file.resize(file.len() + 32 + 136, 0);
        let header = read_header(Path::new("x"), &file[..], file.len() as u64).unwrap();
        assert_eq!(header.metadata, metadata);
        assert_eq!(header.data_start, start);
        assert_eq!(header.tensors[1].dims, [2, 64]);
        assert_eq!(header.tensors[1].offset, 32);
        // Cut anywhere, it is an error and never a panic.
        for n in 0..file.len() {
            assert!(read_header(Path::new("x"), &file[..n], n as u64).is_err(), "{n}");
        }
    }
}
