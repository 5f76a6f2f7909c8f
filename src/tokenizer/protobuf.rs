//! The protocol buffers wire format, as far as a SentencePiece model needs it: fields of a message, in order.

use std::path::Path;

use crate::{Error, Result};

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Wire<'a> {
    /// Integers, flags and enumerations.
    Varint(u64),
    /// Strings, bytes and messages.
    Bytes(Message<'a>),
    /// `float`.
    Fixed32(u32),
    /// `double`.
    Fixed64(u64),
}

/// The bytes of a message, and where they stand in the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Message<'a> {
    bytes: &'a [u8],
    start: usize,
}

impl<'a> Message<'a> {
    /// A whole file.
    pub(super) fn new(bytes: &'a [u8]) -> Message<'a> {
        Message { bytes, start: 0 }
    }

    /// Give every field's number and value to `visit`.
    ///
    /// # Errors
    /// Those of `visit`, and bytes that are no message.
    pub(super) fn fields(self, path: &Path, mut visit: impl FnMut(u64, Wire<'a>) -> Result<()>) -> Result<()> {
        let mut rest = Reader { message: self, at: 0, path };
        while rest.at < self.bytes.len() {
            let (number, value) = rest.field()?;
            visit(number, value)?;
        }
        Ok(())
    }

    /// The message as a string.
    pub(super) fn text(self, path: &Path) -> Result<&'a str> {
        std::str::from_utf8(self.bytes).map_err(|error| {
            let at = self.start + error.valid_up_to();
            Error::malformed(path, format!("byte {at}"), "bytes that are not UTF-8", "text")
        })
    }
}

struct Reader<'a, 'p> {
    message: Message<'a>,
    at: usize,
    path: &'p Path,
}

impl<'a> Reader<'a, '_> {
    fn wrong(&self, found: impl Into<String>) -> Error {
        let place = format!("byte {}", self.message.start + self.at);
        Error::malformed(self.path, place, found, "a SentencePiece model")
    }

    fn field(&mut self) -> Result<(u64, Wire<'a>)> {
        let tag = self.varint()?;
        let number = tag >> 3;
        if number == 0 {
            return Err(self.wrong("field number 0"));
        }
        let value = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let len = self.varint()?;
                let len = usize::try_from(len).unwrap_or(usize::MAX);
                let start = self.message.start + self.at;
                Wire::Bytes(Message { bytes: self.take(len)?, start })
            }
            5 => Wire::Fixed32(u32::from_le_bytes(self.array()?)),
            kind => return Err(self.wrong(format!("wire type {kind}"))),
        };
        Ok((number, value))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let rest = &self.message.bytes[self.at..];
        let Some(taken) = rest.get(..len) else {
            return Err(self.wrong(format!("{} bytes where {len} are announced", rest.len())));
        };
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    /// Seven bits a byte, the lowest first; the high bit says that more follow.
    fn varint(&mut self) -> Result<u64> {
        const MOST: u32 = 10;
        let mut value = 0u64;
        for byte in 0..MOST {
            let [bits] = self.array()?;
            // The tenth byte has room for one bit; what is above it is dropped, as every reader does.
            value |= u64::from(bits & 0x7f).wrapping_shl(7 * byte);
            if bits & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.wrong("an integer of more than 10 bytes"))
    }
}

/// Append a field with an integer.
pub(super) fn put_varint(out: &mut Vec<u8>, number: u64, value: u64) {
    put_raw(out, number << 3);
    put_raw(out, value);
}

/// Append a field with bytes.
pub(super) fn put_bytes(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    put_raw(out, number << 3 | 2);
    put_raw(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Append a field with a float.
pub(super) fn put_f32(out: &mut Vec<u8>, number: u64, value: f32) {
    put_raw(out, number << 3 | 5);
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_raw(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
