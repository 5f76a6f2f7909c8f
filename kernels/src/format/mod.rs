//! Storage formats: how the values of a row lie in bytes.
//!
//! A format is a row of [`FORMATS`], plain floats and integers included, so that no caller asks "is it quantized".
//! Each format with a codec is one file: layout, rounding, encode, decode.

mod bf16;
mod block32;
mod f16;
mod f32;
mod f64;
mod f8;
mod float;
mod iq4_nl;
mod iq4_xs;
mod k;
mod level;
mod mxfp4;
mod nvfp4;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
mod search;
mod table;
mod tq1_0;
mod tq2_0;

use crate::Level;
use crate::matmul::Product;
use crate::simd::Lanes;

pub(crate) use bf16::round as round_to_bf16;
pub(crate) use block32::sixteen;
pub(crate) use q8_0::Q8_0;
pub use table::FORMATS;

/// How a format is laid out and, where tersor has it, coded.
pub struct Format {
    /// The name on the command line and in recipes: the ggml or safetensors name in lower case.
    pub name: &'static str,
    /// The type number in a GGUF file; `None` where GGUF has no such type.
    pub ggml: Option<u32>,
    /// The dtype string in a safetensors header; `None` where safetensors has no such dtype.
    pub safetensors: Option<&'static str>,
    /// Values per block. A row is always a whole number of blocks.
    pub block: usize,
    /// Bytes per block.
    pub bytes: usize,
    /// What the stored numbers are.
    pub class: Class,
    /// Decoder and, for formats that are written, encoder.
    pub codec: Option<Codec>,
}

/// What a format's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// IEEE or bfloat numbers, one at a time.
    Float,
    /// Integers that are values themselves, such as position ids.
    Integer,
    /// Blocks of small integers or codes with shared scales.
    Block,
}

/// The functions of a format.
#[derive(Clone, Copy)]
pub struct Codec {
    /// Bytes to values. `src` and `dst` hold the same whole number of blocks.
    pub decode: Decode,
    /// Values to bytes; `None` for formats that are only read.
    pub encode: Option<Encode>,
    /// The largest error that the encoder may make on one block of these values (`&[f32]` of [`Format::block`]).
    pub worst: fn(&[f32]) -> f32,
    /// Products with activations; `None` for formats that models are not run in.
    pub product: Option<Product>,
    /// A zero always stays one, whatever stands beside it.
    pub holds_zero: bool,
    /// One paragraph: layout and rounding.
    pub about: &'static str,
}

/// A decoder: whole blocks of bytes, and where the values go.
pub type Decode = fn(Level, &[u8], &mut [f32]);

/// An encoder: whole blocks of values, how to encode them, and where the bytes go.
pub type Encode = fn(Level, &[f32], &Encoding<'_>, &mut [u8]) -> Result<Fit, BadValue>;

/// How to encode.
#[derive(Clone, Copy, Debug, Default)]
pub struct Encoding<'a> {
    /// What an error costs, per column; without it, the same everywhere.
    pub importance: Option<Importance<'a>>,
    /// How long to look for scales.
    pub effort: Effort,
    /// What to do with NaN and infinity.
    pub non_finite: NonFinite,
}

impl Encoding<'_> {
    /// The reference's rounding is wanted, where there is one: no search, nothing to weigh.
    fn is_plain(&self) -> bool {
        self.importance.is_none() && self.effort == Effort::Fast
    }

    /// What belongs to the effort.
    fn pick<T>(&self, fast: T, best: T) -> T {
        match self.effort {
            Effort::Fast => fast,
            Effort::Best => best,
        }
    }
}

/// One weight per column of the matrix, finite and not negative: how much the square of an error there counts.
#[derive(Clone, Copy, Debug)]
pub struct Importance<'a> {
    /// The weights of a row.
    pub columns: &'a [f32],
    /// The column of the first encoded value.
    pub start: usize,
}

/// How long an encoder looks for the scales of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effort {
    /// Less error than ggml's encoders; where those do not search (q8_0, q4_0, q4_1, q5_0, q5_1, mxfp4) and no
    /// importance is given, the very bytes of the format's reference.
    Fast,
    /// The least error that can be had in a time that still leaves the disk to wait for.
    #[default]
    Best,
}

/// What an encoder does with NaN and infinity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonFinite {
    /// Give [`BadValue::NonFinite`].
    #[default]
    Refuse,
    /// Floats keep them; a block with shared scales decodes to NaN throughout.
    Keep,
}

/// A value that the format cannot hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BadValue {
    /// NaN or infinity at this position of the source.
    NonFinite {
        /// Position in the encoded slice.
        index: usize,
        /// The value.
        value: f32,
    },
    /// A finite value, or the scale of the block that starts here, is too large for the format.
    Overflow {
        /// Position in the encoded slice.
        index: usize,
        /// The value, or the one of largest magnitude in the block.
        value: f32,
    },
}

impl BadValue {
    /// The same value in a slice that starts `by` values earlier.
    pub fn shifted(self, by: usize) -> BadValue {
        match self {
            BadValue::NonFinite { index, value } => BadValue::NonFinite { index: index + by, value },
            BadValue::Overflow { index, value } => BadValue::Overflow { index: index + by, value },
        }
    }
}

/// How well the encoded values stand for the originals, in sums that add up over a tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fit {
    /// Sum of (decoded - original)^2.
    pub error: f64,
    /// Sum of original^2.
    pub energy: f64,
}

impl Fit {
    /// Root of the error over root of the energy; 0 for a tensor of zeros.
    pub fn relative_rmse(&self) -> f64 {
        if self.energy == 0.0 { 0.0 } else { (self.error / self.energy).sqrt() }
    }
}

impl std::ops::AddAssign for Fit {
    fn add_assign(&mut self, other: Fit) {
        self.error += other.error;
        self.energy += other.energy;
    }
}

impl Format {
    /// Bytes of `values` values; `None` when they are no whole number of blocks or the size overflows.
    pub fn size_of(&self, values: u64) -> Option<u64> {
        let block = self.block as u64;
        if !values.is_multiple_of(block) {
            return None;
        }
        (values / block).checked_mul(self.bytes as u64)
    }

    /// Storage cost of one value.
    pub fn bits_per_weight(&self) -> f64 {
        8.0 * self.bytes as f64 / self.block as f64
    }

    /// The row with this name, whatever its case.
    pub fn by_name(name: &str) -> Option<&'static Format> {
        FORMATS.iter().find(|f| f.name.eq_ignore_ascii_case(name))
    }

    /// The row with this GGUF type number.
    pub fn by_ggml(id: u32) -> Option<&'static Format> {
        FORMATS.iter().find(|f| f.ggml == Some(id))
    }

    /// The row with this safetensors dtype string.
    pub fn by_safetensors(dtype: &str) -> Option<&'static Format> {
        FORMATS.iter().find(|f| f.safetensors == Some(dtype))
    }

    /// The encoder, if tersor writes this format.
    pub fn encoder(&self) -> Option<Encode> {
        self.codec.and_then(|c| c.encode)
    }

    /// The decoder, if tersor reads this format's values.
    pub fn decoder(&self) -> Option<Decode> {
        self.codec.map(|c| c.decode)
    }
}

impl PartialEq for Format {
    fn eq(&self, other: &Format) -> bool {
        self.name == other.name
    }
}

impl Eq for Format {}

impl std::fmt::Debug for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A format that is read: one file of this folder each.
pub(crate) trait Decoding {
    const BLOCK: usize;
    const BYTES: usize;
    const ABOUT: &'static str;
    /// See [`Codec::holds_zero`].
    const HOLDS_ZERO: bool = true;

    /// Decode whole blocks. Inlined into one copy per level, so it must not call closures (they lose the level).
    fn decode<L: Lanes>(l: L, src: &[u8], dst: &mut [f32]);
}

/// A format that is written too.
trait Coding: Decoding {
    /// Encode whole blocks, as [`Decoding::decode`] is compiled.
    fn encode<L: Lanes>(l: L, src: &[f32], how: &Encoding<'_>, dst: &mut [u8]) -> Result<Fit, BadValue>;

    /// See [`Codec::worst`]; that of encoders that search.
    fn worst(block: &[f32]) -> f32 {
        search::tile::worst(block)
    }
}

impl Codec {
    const fn of<F: Coding>() -> Codec {
        Codec { encode: Some(level::encode::<F>), worst: F::worst, ..Codec::decode_only::<F>() }
    }

    const fn decode_only<F: Decoding>() -> Codec {
        let (decode, holds_zero, about) = (level::decode::<F>, F::HOLDS_ZERO, F::ABOUT);
        Codec { decode, encode: None, worst: no_error, product: None, holds_zero, about }
    }
}

fn no_error(_: &[f32]) -> f32 {
    0.0
}
