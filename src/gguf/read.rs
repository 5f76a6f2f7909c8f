//! Reading a header, trusting nothing: every count is held against the bytes that are left.

use super::value::{Array, Value, ValueType};
use super::{ALIGNMENT_KEY, DEFAULT_ALIGNMENT, MAGIC, MAX_DIMS, MAX_NAME, Metadata, Strings, align_up};
use crate::error::{Error, Result};
use std::collections::HashSet;
use std::fmt;
use std::io::{BufReader, Read};
use std::path::Path;
use tersor_kernels::Format;

/// Longest text: a chat template has kilobytes.
const MAX_STRING: u64 = 64 << 20;
/// Longest array of numbers, in bytes: scores of the largest vocabularies have megabytes.
const MAX_ARRAY: u64 = 256 << 20;

/// Everything before the tensor data.
#[derive(Debug)]
pub struct Header {
    /// 2 or 3.
    pub version: u32,
    /// Key-value pairs in file order.
    pub metadata: Metadata,
    /// The tensor table in file order.
    pub tensors: Vec<Entry>,
    /// Where tensor data starts, from the start of the file.
    pub data_start: u64,
    /// Alignment of tensor data.
    pub alignment: u64,
}

/// One row of the tensor table.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The name.
    pub name: String,
    /// Sizes, slowest first (the file stores the fastest first).
    pub dims: Vec<u64>,
    /// How it is stored.
    pub format: &'static Format,
    /// Where its data starts, from [`Header::data_start`].
    pub offset: u64,
    /// Bytes of its data, without padding.
    pub bytes: u64,
}

struct Reader<'p, R> {
    input: R,
    path: &'p Path,
    at: u64,
    len: u64,
}

/// Read and check the header of the GGUF file at `path`, `len` bytes long.
///
/// # Errors
/// [`Error::Malformed`] for everything that llama.cpp would refuse, and for counts that the file cannot hold.
pub fn read_header(path: &Path, file: impl Read, len: u64) -> Result<Header> {
    let mut r = Reader { input: BufReader::with_capacity(1 << 16, file), path, at: 0, len };
    let magic = r.bytes::<4>("magic")?;
    if magic != MAGIC {
        return Err(r.wrong("magic", format!("{:?}", String::from_utf8_lossy(&magic)), "`GGUF`"));
    }
    let version = r.u32("version")?;
    if !(2..=3).contains(&version) {
        let found =
            if (2..=3).contains(&version.swap_bytes()) { "a big-endian file".to_owned() } else { version.to_string() };
        return Err(r.wrong("version", found, "2 or 3, little-endian"));
    }
    let tensor_count = r.u64("tensor count")?;
    let pair_count = r.u64("key count")?;
    // A pair takes at least a key length, a type and a byte; a row name length, dimensions, type and offset.
    r.bound("key count", pair_count, 13)?;
    r.bound("tensor count", tensor_count, 24)?;
    let metadata = r.metadata(pair_count)?;
    let alignment = alignment(&metadata).map_err(|found| r.wrong(ALIGNMENT_KEY, found, "a power of two"))?;
    let mut tensors = Vec::new();
    for n in 0..tensor_count {
        tensors.push(r.entry(n)?);
    }
    let data_start = align_up(r.at, alignment).filter(|s| tensors.is_empty() || *s <= len);
    let data_start = data_start.ok_or_else(|| r.wrong("tensor data", "the end of the file", "padding and data"))?;
    check_table(path, &tensors, data_start, alignment, len)?;
    Ok(Header { version, metadata, tensors, data_start, alignment })
}

fn alignment(metadata: &Metadata) -> Result<u64, String> {
    match metadata.get(ALIGNMENT_KEY) {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(Value::U32(n)) if n.is_power_of_two() => Ok(u64::from(*n)),
        Some(other) => Err(format!("{other} ({})", other.value_type().name())),
    }
}

/// Names are unique, and data lies in table order without gaps, as llama.cpp asks.
fn check_table(path: &Path, tensors: &[Entry], data_start: u64, alignment: u64, len: u64) -> Result<()> {
    let mut names = HashSet::new();
    let mut expected = 0u64;
    for t in tensors {
        let wrong = |what: &str, found: String, wanted: String| {
            Err(Error::malformed(path, format!("tensor `{}`: {what}", t.name), found, wanted))
        };
        if !names.insert(t.name.as_str()) {
            return wrong("name", "a second one".into(), "unique names".into());
        }
        if t.offset != expected {
            return wrong("offset", t.offset.to_string(), format!("{expected}, the end of the tensor before"));
        }
        let end = data_start.checked_add(t.offset).and_then(|s| s.checked_add(t.bytes));
        if end.is_none_or(|e| e > len) {
            let wanted = format!("{} bytes of data at {}", t.bytes, data_start.saturating_add(t.offset));
            return wrong("data", format!("a file of {len} bytes"), wanted);
        }
        let next = align_up(t.bytes, alignment).and_then(|size| expected.checked_add(size));
        expected = match next {
            Some(next) => next,
            None => return wrong("size", t.bytes.to_string(), "a sum below 2^64".into()),
        };
    }
    Ok(())
}

impl<R: Read> Reader<'_, BufReader<R>> {
    fn wrong(&self, place: &str, found: impl Into<String>, wanted: impl Into<String>) -> Error {
        Error::malformed(self.path, format!("{place} at byte {}", self.at), found, wanted)
    }

    fn left(&self) -> u64 {
        self.len - self.at
    }

    /// `count` things of at least `size` bytes each fit into what is left.
    fn bound(&self, what: impl fmt::Display, count: u64, size: u64) -> Result<()> {
        if count > self.left() / size {
            return Err(self.wrong(
                &what.to_string(),
                count.to_string(),
                format!("at most {} in this file", self.left() / size),
            ));
        }
        Ok(())
    }

    /// A file may be longer than the memory, so its length alone is no bound.
    fn limit(&self, what: &str, bytes: u64, limit: u64) -> Result<()> {
        if bytes > limit {
            return Err(self.wrong(what, format!("{bytes} bytes"), format!("at most {limit}")));
        }
        Ok(())
    }

    fn exact(&mut self, what: &str, buffer: &mut [u8]) -> Result<()> {
        if buffer.len() as u64 > self.left() {
            return Err(self.wrong(what, "the end of the file", format!("{} more bytes", buffer.len())));
        }
        self.input.read_exact(buffer).map_err(Error::io("read", self.path))?;
        self.at += buffer.len() as u64;
        Ok(())
    }

    fn bytes<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut buffer = [0; N];
        self.exact(what, &mut buffer)?;
        Ok(buffer)
    }

    fn u32(&mut self, what: &str) -> Result<u32> {
        Ok(u32::from_le_bytes(self.bytes(what)?))
    }

    fn u64(&mut self, what: &str) -> Result<u64> {
        Ok(u64::from_le_bytes(self.bytes(what)?))
    }

    fn string(&mut self, what: &str) -> Result<String> {
        self.text(what, &mut Vec::new()).map(str::to_owned)
    }

    /// Read a string into `buffer`.
    fn text<'b>(&mut self, what: &str, buffer: &'b mut Vec<u8>) -> Result<&'b str> {
        let length = self.u64(what)?;
        self.bound(format_args!("length of {what}"), length, 1)?;
        self.limit(what, length, MAX_STRING)?;
        buffer.resize(length as usize, 0);
        self.exact(what, buffer)?;
        std::str::from_utf8(buffer).map_err(|_| self.wrong(what, "bytes that are not UTF-8", "text"))
    }

    fn metadata(&mut self, count: u64) -> Result<Metadata> {
        let mut metadata = Metadata::default();
        for n in 0..count {
            let key = self.string(&format!("key {n}"))?;
            if key.is_empty() {
                return Err(self.wrong(&format!("key {n}"), "an empty one", "a name"));
            }
            if metadata.get(&key).is_some() {
                return Err(self.wrong(&format!("key `{key}`"), "a second one", "unique keys"));
            }
            let kind = self.value_type(&key)?;
            let value = self.value(&key, kind)?;
            metadata.set(key, value);
        }
        Ok(metadata)
    }

    fn value_type(&mut self, key: &str) -> Result<ValueType> {
        let id = self.u32(&format!("type of `{key}`"))?;
        ValueType::from_id(id)
            .ok_or_else(|| self.wrong(&format!("type of `{key}`"), id.to_string(), "a value type, 0 to 12"))
    }

    fn value(&mut self, key: &str, kind: ValueType) -> Result<Value> {
        let what = format!("`{key}`");
        Ok(match kind {
            ValueType::U8 => Value::U8(u8::from_le_bytes(self.bytes(&what)?)),
            ValueType::I8 => Value::I8(i8::from_le_bytes(self.bytes(&what)?)),
            ValueType::U16 => Value::U16(u16::from_le_bytes(self.bytes(&what)?)),
            ValueType::I16 => Value::I16(i16::from_le_bytes(self.bytes(&what)?)),
            ValueType::U32 => Value::U32(u32::from_le_bytes(self.bytes(&what)?)),
            ValueType::I32 => Value::I32(i32::from_le_bytes(self.bytes(&what)?)),
            ValueType::F32 => Value::F32(f32::from_le_bytes(self.bytes(&what)?)),
            ValueType::Bool => Value::Bool(self.bytes::<1>(&what)?[0] != 0),
            ValueType::String => Value::String(self.string(&what)?),
            ValueType::U64 => Value::U64(u64::from_le_bytes(self.bytes(&what)?)),
            ValueType::I64 => Value::I64(i64::from_le_bytes(self.bytes(&what)?)),
            ValueType::F64 => Value::F64(f64::from_le_bytes(self.bytes(&what)?)),
            ValueType::Array => Value::Array(self.array(key)?),
        })
    }

    fn array(&mut self, key: &str) -> Result<Array> {
        let what = format!("array `{key}`");
        let kind = self.value_type(key)?;
        let count = self.u64(&what)?;
        macro_rules! numbers {
            ($variant:ident, $size:literal, $from:expr) => {{
                self.bound(&what, count, $size)?;
                self.limit(&what, count * $size, MAX_ARRAY)?;
                let mut bytes = vec![0; count as usize * $size];
                self.exact(&what, &mut bytes)?;
                Array::$variant(bytes.as_chunks::<$size>().0.iter().map($from).collect())
            }};
        }
        Ok(match kind {
            ValueType::U8 => numbers!(U8, 1, |b| b[0]),
            ValueType::I8 => numbers!(I8, 1, |b| b[0] as i8),
            ValueType::Bool => numbers!(Bool, 1, |b| b[0] != 0),
            ValueType::U16 => numbers!(U16, 2, |b| u16::from_le_bytes(*b)),
            ValueType::I16 => numbers!(I16, 2, |b| i16::from_le_bytes(*b)),
            ValueType::U32 => numbers!(U32, 4, |b| u32::from_le_bytes(*b)),
            ValueType::I32 => numbers!(I32, 4, |b| i32::from_le_bytes(*b)),
            ValueType::F32 => numbers!(F32, 4, |b| f32::from_le_bytes(*b)),
            ValueType::U64 => numbers!(U64, 8, |b| u64::from_le_bytes(*b)),
            ValueType::I64 => numbers!(I64, 8, |b| i64::from_le_bytes(*b)),
            ValueType::F64 => numbers!(F64, 8, |b| f64::from_le_bytes(*b)),
            ValueType::String => {
                self.bound(&what, count, 8)?;
                let mut strings = Strings::default();
                let mut buffer = Vec::new();
                for _ in 0..count {
                    strings.push(&[self.text(&what, &mut buffer)?]);
                }
                Array::String(strings)
            }
            ValueType::Array => return Err(self.wrong(&what, "an array of arrays", "an array of plain values")),
        })
    }

    fn entry(&mut self, n: u64) -> Result<Entry> {
        let name = self.string(&format!("name of tensor {n}"))?;
        if name.is_empty() || name.len() > MAX_NAME {
            let found = format!("{} bytes", name.len());
            return Err(self.wrong(&format!("name of tensor {n}"), found, format!("1 to {MAX_NAME} bytes")));
        }
        let place = format!("tensor `{name}`");
        let rank = self.u32(&place)? as usize;
        if rank > MAX_DIMS {
            return Err(self.wrong(&place, format!("{rank} dimensions"), format!("at most {MAX_DIMS}")));
        }
        let mut dims = Vec::with_capacity(rank);
        for _ in 0..rank {
            dims.push(self.u64(&place)?);
        }
        dims.reverse();
        let id = self.u32(&place)?;
        let format = Format::by_ggml(id)
            .ok_or_else(|| self.wrong(&place, format!("type number {id}"), "a type of the GGUF table"))?;
        let offset = self.u64(&place)?;
        let values =
            dims.iter().try_fold(1u64, |n, d| n.checked_mul((*d).max(1))).filter(|n| i64::try_from(*n).is_ok());
        values.ok_or_else(|| self.wrong(&place, format!("sizes {dims:?}"), "a product below 2^63"))?;
        let values = dims.iter().product();
        let cols = dims.last().copied().unwrap_or(1);
        if !cols.is_multiple_of(format.block as u64) {
            let wanted = format!("a multiple of {}, the {} block", format.block, format.name);
            return Err(self.wrong(&place, format!("rows of {cols} values"), wanted));
        }
        let bytes = format
            .size_of(values)
            .ok_or_else(|| self.wrong(&place, format!("sizes {dims:?}"), "a size below 2^64 bytes"))?;
        Ok(Entry { name, dims, format, offset, bytes })
    }
}
