//! llama-quantize's mixtures as data: which tensors of a file type get another format than its base.
//!
//! The facts are those of `llama_tensor_get_type_impl` in llama.cpp's `src/llama-quant.cpp` at 007dbbf3. Rows of `mxfp4` and `nvfp4` are tersor's own.

use super::FileType;
use super::choose::Candidate;
use crate::arch::Role;
use crate::plan::Why;
use std::fmt;
use tersor_kernels::{Class, Format};

/// A row of [`MIX`].
pub struct Mix {
    /// The tensor has one of these roles; none are listed where any will do. A tied embedding is [`Role::Output`].
    pub roles: &'static [Role],
    /// The file type is one of these; none are listed where any below 16 bits will do.
    pub types: &'static [&'static str],
    /// All of these hold.
    pub when: &'static [When],
    /// The format then.
    pub format: &'static str,
}

/// A condition on the model, or on the tensor's shape and place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// `general.architecture`.
    Family(&'static str),
    /// The model has eight experts.
    Experts8,
    /// A key-value head serves four query heads or more.
    GqaAtLeast4,
    /// llama.cpp's type of the model is 70B, which it tells from family and layers.
    Large,
    /// The third dimension counted from the fastest is more than 1: a stack of experts.
    Stacked,
    /// The base format's blocks do not divide the rows.
    Undivided,
    /// Among the first tensors of this kind: so many.
    First(u64),
    /// In the first of so many parts of the layers.
    FirstPart(u64),
    /// There is an importance matrix.
    Imatrix,
    /// There is none.
    NoImatrix,
    /// In the first or last eighth of the layers, or every third between.
    More,
}

use When::{Experts8, Family, First, FirstPart, GqaAtLeast4, Imatrix, Large, More, NoImatrix, Stacked, Undivided};

const fn row(
    roles: &'static [Role],
    types: &'static [&'static str],
    when: &'static [When],
    format: &'static str,
) -> Mix {
    Mix { roles, types, when, format }
}

const ANY: &[Role] = &[];
const OUTPUT: &[Role] = &[Role::Output];
const EMBEDDING: &[Role] = &[Role::TokenEmbedding];
/// What holds values, alone or with queries and keys.
const ATTN_V: &[Role] = &[Role::AttnV, Role::AttnQkv, Role::AttnKvB];
const ATTN_K: &[Role] = &[Role::AttnK];
const ATTN_OUTPUT: &[Role] = &[Role::AttnOutput];
const FFN: &[Role] = &[Role::FfnUp, Role::FfnGate, Role::FfnDown];
const FFN_DOWN: &[Role] = &[Role::FfnDown];
const ALL: &[&str] = &[];

/// The first row that fits decides; a tensor that none fits gets the file type's base.
pub static MIX: &[Mix] = &[
    // The output head, or the embedding that serves as one.
    row(OUTPUT, &["mxfp4_moe", "mxfp4", "nvfp4", "q8_0"], &[], "q8_0"),
    row(OUTPUT, ALL, &[Family("falcon")], "q8_0"),
    row(OUTPUT, ALL, &[Undivided], "q8_0"),
    row(OUTPUT, ALL, &[], "q6_k"),
    // Latent projections of bailingmoe3 are stacked too.
    row(FFN, &["mxfp4_moe"], &[Stacked], "mxfp4"),
    row(ANY, &["mxfp4_moe"], &[Family("bailingmoe3")], "q8_0"),
    row(ANY, &["mxfp4_moe"], &[Stacked], "mxfp4"),
    row(ANY, &["mxfp4_moe"], &[], "q8_0"),
    row(EMBEDDING, &["mxfp4", "nvfp4"], &[], "q8_0"),
    row(EMBEDDING, &["tq1_0", "tq2_0"], &[], "q4_k"),
    // Small where heads share it, and sensitive. In llama.cpp until 2025 the fused attn_qkv had rules of its own.
    row(ATTN_V, ALL, &[Experts8], "q8_0"),
    row(ATTN_V, &["q2_k", "q3_k_s", "q3_k_m", "q4_k_s"], &[Large], "q5_k"),
    row(ATTN_V, &["q2_k_s"], &[Large, GqaAtLeast4], "q5_k"),
    row(ATTN_V, &["q2_k", "q2_k_s"], &[GqaAtLeast4], "q4_k"),
    row(ATTN_V, &["q2_k"], &[], "q3_k"),
    row(ATTN_V, &["q3_k_m"], &[First(2)], "q5_k"),
    row(ATTN_V, &["q3_k_m"], &[], "q4_k"),
    row(ATTN_V, &["q3_k_l"], &[], "q5_k"),
    row(ATTN_V, &["q4_k_s"], &[First(4)], "q5_k"),
    row(ATTN_V, &["q4_k_m", "q5_k_m"], &[More], "q6_k"),
    row(ATTN_V, &["q4_k_m"], &[Large], "q5_k"),
    row(ATTN_V, &["iq4_nl", "iq4_xs"], &[GqaAtLeast4], "q5_k"),
    row(ATTN_K, ALL, &[Experts8], "q8_0"),
    row(ATTN_OUTPUT, &["q2_k"], &[Family("falcon")], "q2_k"),
    row(ATTN_OUTPUT, &["q3_k_m"], &[Family("falcon")], "q3_k"),
    row(ATTN_OUTPUT, &["q3_k_l"], &[Family("falcon")], "q4_k"),
    row(ATTN_OUTPUT, &["q2_k", "q3_k_s", "q3_k_m", "q4_k_s", "q4_k_m", "iq4_nl", "iq4_xs"], &[Experts8], "q5_k"),
    row(ATTN_OUTPUT, &["q3_k_l"], &[Experts8], "q3_k"),
    row(ATTN_OUTPUT, &["q2_k"], &[], "q3_k"),
    row(ATTN_OUTPUT, &["q3_k_m"], &[], "q4_k"),
    row(ATTN_OUTPUT, &["q3_k_l"], &[], "q5_k"),
    row(FFN_DOWN, &["q2_k"], &[], "q3_k"),
    row(FFN_DOWN, &["q2_k_s"], &[FirstPart(8)], "q4_k"),
    row(FFN_DOWN, &["q3_k_m"], &[FirstPart(16)], "q5_k"),
    row(FFN_DOWN, &["q3_k_m"], &[Family("falcon"), More], "q4_k"),
    row(FFN_DOWN, &["q3_k_m"], &[Family("falcon")], "q3_k"),
    row(FFN_DOWN, &["q3_k_m"], &[], "q4_k"),
    row(FFN_DOWN, &["q3_k_l"], &[Family("falcon")], "q4_k"),
    row(FFN_DOWN, &["q3_k_l"], &[], "q5_k"),
    row(FFN_DOWN, &["q4_k_s"], &[Family("falcon")], "q4_k"),
    row(FFN_DOWN, &["q4_k_s"], &[FirstPart(8)], "q5_k"),
    row(FFN_DOWN, &["q4_k_m"], &[Family("falcon"), FirstPart(16)], "q6_k"),
    row(FFN_DOWN, &["q4_k_m"], &[Family("falcon"), More], "q5_k"),
    row(FFN_DOWN, &["q4_k_m"], &[Family("falcon")], "q4_k"),
    row(FFN_DOWN, &["q4_k_m", "q5_k_m"], &[More], "q6_k"),
    row(FFN_DOWN, &["iq4_nl", "iq4_xs"], &[NoImatrix, FirstPart(8)], "q5_k"),
    row(FFN_DOWN, &["q4_0"], &[Imatrix, FirstPart(8)], "q4_1"),
    row(FFN_DOWN, &["q5_0"], &[Imatrix, FirstPart(8)], "q5_1"),
];

/// The format of a tensor in a file of this type where it is not the base, and the reason.
pub(super) fn exception(file_type: &FileType, c: &Candidate<'_>) -> Option<(&'static Format, Why)> {
    let row = fitting(file_type, c)?;
    let why = if row.when.iter().any(|w| matches!(w, First(_) | FirstPart(_) | More)) { Why::Layer } else { Why::Role };
    Format::by_name(row.format).filter(|f| *f != file_type.base()).map(|f| (f, why))
}

/// The row that decides.
pub(super) fn fitting(file_type: &FileType, c: &Candidate<'_>) -> Option<&'static Mix> {
    let base = file_type.base();
    let fits = |row: &&Mix| {
        (row.roles.is_empty() || row.roles.contains(&c.role))
            && (row.types.is_empty() || row.types.contains(&file_type.name))
            && row.when.iter().all(|when| when.holds(base, c))
    };
    MIX.iter().find(fits).filter(|_| base.class == Class::Block)
}

impl When {
    fn holds(self, base: &Format, c: &Candidate<'_>) -> bool {
        let (at, of) = c.model.place(c.role, c.name);
        match self {
            Family(name) => c.model.family == name,
            Experts8 => c.model.experts == 8,
            GqaAtLeast4 => c.model.gqa() >= 4,
            Large => c.model.is_large(),
            Stacked => c.shape.dims().iter().rev().nth(2).is_some_and(|n| *n > 1),
            Undivided => !c.shape.cols().is_multiple_of(base.block as u64),
            Imatrix => c.imatrix,
            NoImatrix => !c.imatrix,
            First(n) => at < n,
            FirstPart(n) => at < of / n,
            More => at < of / 8 || at >= of.saturating_mul(7) / 8 || (at - of / 8) % 3 == 2,
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Family(name) => write!(f, "{name}"),
            Experts8 => f.write_str("8 experts"),
            GqaAtLeast4 => f.write_str("4 or more query heads per key-value head"),
            Large => f.write_str("70B"),
            Stacked => f.write_str("stacked experts"),
            Undivided => f.write_str("rows that the base's blocks do not divide"),
            Imatrix => f.write_str("with an importance matrix"),
            NoImatrix => f.write_str("without an importance matrix"),
            First(n) => write!(f, "the first {n}"),
            FirstPart(n) => write!(f, "the first 1/{n} of the layers"),
            More => f.write_str("the first and last 1/8 of the layers, every third between"),
        }
    }
}
