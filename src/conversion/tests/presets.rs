//! File types on models of known shape.

use super::*;
use crate::conversion::mix::{MIX, fitting};
use crate::conversion::{FILE_TYPES, Rule};
use crate::error::Error;
use std::sync::Arc;

/// The layers whose tensors of this role have the format.
fn layers(choices: &[Choice], role: Role, format: &str) -> Vec<u64> {
    let of = choices.iter().filter(|c| c.role == role && c.format.name == format);
    of.map(|c| c.name.split('.').nth(1).unwrap().parse().unwrap()).collect()
}

/// The first and last eighth of 32 layers, and every third between.
const MORE: [u64; 16] = [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31];

#[test]
fn q4_k_m_of_llama_3_8b() {
    let choices = choices(&LLAMA_3_8B, &conversion("q4_k_m"));
    let bytes: u64 = choices.iter().map(|c| c.bytes).sum();
    assert_eq!(format!("{:.2}", bytes as f64 / f64::from(1 << 30)), "4.58");
    for role in [Role::AttnV, Role::FfnDown] {
        assert_eq!(layers(&choices, role, "q6_k"), MORE, "{role:?}");
        assert_eq!(count(&choices, role, "q4_k"), 16);
    }
    for (name, format, why) in [
        ("output.weight", "q6_k", Why::Role),
        ("token_embd.weight", "q4_k", Why::FileType),
        ("blk.3.attn_v.weight", "q6_k", Why::Layer),
        ("blk.4.attn_v.weight", "q4_k", Why::FileType),
        ("blk.0.attn_norm.weight", "f32", Why::Float),
    ] {
        let choice = choices.iter().find(|c| c.name == name).unwrap();
        assert_eq!((choice.format.name, &choice.why), (format, &why), "{name}");
    }
}

/// GiB of whole files of Llama-3-8B as llama-quantize's own list of types has them; the vocabulary takes 0.007 of them.
#[test]
fn sizes_are_those_that_llama_quantize_states() {
    for (file_type, gib) in [
        ("q2_k", 2.96),
        ("q3_k_s", 3.41),
        ("q3_k_m", 3.74),
        ("q3_k_l", 4.03),
        ("q4_k_s", 4.37),
        ("q4_k_m", 4.58),
        ("q5_k_s", 5.21),
        ("q5_k_m", 5.33),
        ("q6_k", 6.14),
        ("q8_0", 7.96),
        ("q4_0", 4.34),
        ("q4_1", 4.78),
        ("q5_0", 5.21),
        ("q5_1", 5.65),
    ] {
        let bytes: u64 = choices(&LLAMA_3_8B, &conversion(file_type)).iter().map(|c| c.bytes).sum();
        let file = bytes as f64 / f64::from(1 << 30) + 0.007;
        assert!((file - gib).abs() < 0.01, "{file_type}: {file} of {gib}");
    }
}

/// What differs from the base: file type, role, format, number of tensors.
type Exceptions = &'static [(&'static str, &'static [(Role, &'static str, usize)])];

fn check(sizes: &Sizes, wanted: Exceptions) {
    for (file_type, exceptions) in wanted {
        let base = FileType::by_name(file_type).unwrap().base;
        let choices = choices(sizes, &conversion(file_type));
        for (role, format, n) in *exceptions {
            assert_eq!(count(&choices, *role, format), *n, "{file_type}: {role:?} in {format}");
        }
        let others = choices.iter().filter(|c| c.role != Role::Norm && c.format.name != base).count();
        assert_eq!(others, exceptions.iter().map(|(.., n)| n).sum::<usize>(), "{file_type}");
    }
}

#[test]
fn exceptions_of_llama_3_8b() {
    use Role::{AttnOutput, AttnV, FfnDown, Output, TokenEmbedding};
    let wanted: Exceptions = &[
        ("f16", &[]),
        ("bf16", &[]),
        ("q8_0", &[]),
        ("q6_k", &[]),
        ("q5_k_m", &[(AttnV, "q6_k", 16), (FfnDown, "q6_k", 16), (Output, "q6_k", 1)]),
        ("q5_k_s", &[(Output, "q6_k", 1)]),
        ("q4_k_s", &[(AttnV, "q5_k", 4), (FfnDown, "q5_k", 4), (Output, "q6_k", 1)]),
        ("iq4_nl", &[(AttnV, "q5_k", 32), (FfnDown, "q5_k", 4), (Output, "q6_k", 1)]),
        ("iq4_xs", &[(AttnV, "q5_k", 32), (FfnDown, "q5_k", 4), (Output, "q6_k", 1)]),
        ("q3_k_l", &[(AttnV, "q5_k", 32), (AttnOutput, "q5_k", 32), (FfnDown, "q5_k", 32), (Output, "q6_k", 1)]),
        (
            "q3_k_m",
            &[
                (AttnV, "q5_k", 2),
                (AttnV, "q4_k", 30),
                (AttnOutput, "q4_k", 32),
                (FfnDown, "q5_k", 2),
                (FfnDown, "q4_k", 30),
                (Output, "q6_k", 1),
            ],
        ),
        ("q3_k_s", &[(Output, "q6_k", 1)]),
        ("q4_0", &[(Output, "q6_k", 1)]),
        ("q5_1", &[(Output, "q6_k", 1)]),
        ("q2_k", &[(AttnV, "q4_k", 32), (AttnOutput, "q3_k", 32), (FfnDown, "q3_k", 32), (Output, "q6_k", 1)]),
        ("tq1_0", &[(TokenEmbedding, "q4_k", 1), (Output, "q6_k", 1)]),
        ("tq2_0", &[(TokenEmbedding, "q4_k", 1), (Output, "q6_k", 1)]),
        ("mxfp4", &[(TokenEmbedding, "q8_0", 1), (Output, "q8_0", 1)]),
        ("nvfp4", &[(TokenEmbedding, "q8_0", 1), (Output, "q8_0", 1)]),
    ];
    check(&LLAMA_3_8B, wanted);
    // Nothing in a dense model is a stack of experts.
    let dense = choices(&LLAMA_3_8B, &conversion("mxfp4_moe"));
    assert!(dense.iter().all(|c| c.format.name == if c.role == Role::Norm { "f32" } else { "q8_0" }));
}

#[test]
fn exceptions_of_large_models_and_of_ungrouped_heads() {
    use Role::{AttnOutput, AttnV, FfnDown, Output};
    let grouped: Exceptions = &[
        ("q4_k_m", &[(AttnV, "q6_k", 40), (AttnV, "q5_k", 40), (FfnDown, "q6_k", 40), (Output, "q6_k", 1)]),
        ("q4_k_s", &[(AttnV, "q5_k", 80), (FfnDown, "q5_k", 10), (Output, "q6_k", 1)]),
        ("q3_k_s", &[(AttnV, "q5_k", 80), (Output, "q6_k", 1)]),
        ("q5_k_s", &[(Output, "q6_k", 1)]),
    ];
    check(&LLAMA_3_70B, grouped);
    let ungrouped: Exceptions = &[
        ("q4_k_s", &[(AttnV, "q5_k", 4), (FfnDown, "q5_k", 10), (Output, "q6_k", 1)]),
        ("q2_k", &[(AttnV, "q3_k", 80), (AttnOutput, "q3_k", 80), (FfnDown, "q3_k", 80), (Output, "q6_k", 1)]),
        ("iq4_xs", &[(FfnDown, "q5_k", 10), (Output, "q6_k", 1)]),
    ];
    check(&LLAMA_1_65B, ungrouped);
    // Without grouping, only `llama` stops being large.
    check(&Sizes { family: "qwen2", ..LLAMA_1_65B }, &[("q3_k_s", &[(AttnV, "q5_k", 80), (Output, "q6_k", 1)])]);
}

#[test]
fn exceptions_of_eight_experts() {
    use Role::{AttnK, AttnOutput, AttnV, FfnDown, FfnGate, FfnUp, Output};
    let wanted: Exceptions = &[
        (
            "q4_k_m",
            &[
                (AttnV, "q8_0", 32),
                (AttnK, "q8_0", 32),
                (AttnOutput, "q5_k", 32),
                (FfnDown, "q6_k", 16),
                (Output, "q6_k", 1),
            ],
        ),
        ("q3_k_l", &[(AttnV, "q8_0", 32), (AttnK, "q8_0", 32), (FfnDown, "q5_k", 32), (Output, "q6_k", 1)]),
        ("q5_k_s", &[(AttnV, "q8_0", 32), (AttnK, "q8_0", 32), (Output, "q6_k", 1)]),
    ];
    check(&MIXTRAL, wanted);
    let choices = choices(&MIXTRAL, &conversion("mxfp4_moe"));
    for role in [FfnUp, FfnGate, FfnDown] {
        assert_eq!(count(&choices, role, "mxfp4"), 32, "{role:?}");
    }
    assert_eq!(choices.iter().filter(|c| c.format.name == "q8_0").count(), 2 + 4 * 32);
}

#[test]
fn exceptions_of_falcon() {
    use Role::{AttnOutput, AttnQkv, FfnDown, Output};
    // A hidden size that blocks of 256 divide, as in Falcon-180B; 32 layers are kept.
    let falcon = Sizes { hidden: 14848, ffn: 59392, heads: 232, kv_heads: 8, ..FALCON };
    let wanted: Exceptions = &[
        ("q4_k_m", &[(AttnQkv, "q6_k", 16), (FfnDown, "q6_k", 2), (FfnDown, "q5_k", 14), (Output, "q8_0", 1)]),
        ("q4_k_s", &[(AttnQkv, "q5_k", 4), (Output, "q8_0", 1)]),
        (
            "q3_k_m",
            &[
                (AttnQkv, "q5_k", 2),
                (AttnQkv, "q4_k", 30),
                (FfnDown, "q5_k", 2),
                (FfnDown, "q4_k", 14),
                (Output, "q8_0", 1),
            ],
        ),
        ("q3_k_l", &[(AttnQkv, "q5_k", 32), (AttnOutput, "q4_k", 32), (FfnDown, "q4_k", 32), (Output, "q8_0", 1)]),
        ("q2_k", &[(AttnQkv, "q4_k", 32), (FfnDown, "q3_k", 32), (Output, "q8_0", 1)]),
    ];
    check(&falcon, wanted);
}

#[test]
fn q2_k_s_needs_an_importance_matrix() {
    let error = decide_all(&LLAMA_3_8B.metadata(), &LLAMA_3_8B.tensors(), &conversion("q2_k_s")).err().unwrap();
    let Error::NeedsImatrix { tensor, format: "q2_k", .. } = &error else { panic!("{error}") };
    assert_eq!(tensor, "blk.0.attn_q.weight", "the embedding is exempt");
    assert_eq!(error.hint().unwrap(), "pass `--imatrix` or `--calibration`; `--type q2_k` needs none");
    // Rows that become something else need none, as in llama-quantize.
    let choices = choices(&Sizes { hidden: 96, ffn: 224, heads: 3, kv_heads: 3, ..LLAMA_3_8B }, &conversion("q2_k_s"));
    assert_eq!(count(&choices, Role::AttnQ, "q4_0"), 32);
    assert_eq!(count(&choices, Role::FfnDown, "q5_0"), 4, "q4_k in the first eighth");
}

#[test]
fn an_importance_matrix_changes_the_mixture() {
    let with = |name| Conversion { importance: Some(Arc::default()), ..conversion(name) };
    let choices_of = |name| choices(&LLAMA_3_8B, &with(name));
    assert_eq!(count(&choices_of("q2_k_s"), Role::AttnQ, "q2_k"), 32, "it is no error");
    for (name, base, other) in [("q4_0", "q4_0", "q4_1"), ("q5_0", "q5_0", "q5_1")] {
        let choices = choices_of(name);
        assert_eq!(layers(&choices, Role::FfnDown, other), [0, 1, 2, 3], "{name}");
        assert_eq!(count(&choices, Role::FfnUp, base), 32, "{name}");
    }
    for name in ["iq4_nl", "iq4_xs"] {
        assert_eq!(count(&choices_of(name), Role::FfnDown, name), 32);
        assert_eq!(count(&choices(&LLAMA_3_8B, &conversion(name)), Role::FfnDown, "q5_k"), 4);
    }
}

#[test]
fn pure_and_options_come_before_the_mixture() {
    let pure = choices(&LLAMA_3_8B, &Conversion { pure: true, ..conversion("q4_k_m") });
    assert!(pure.iter().all(|c| c.format.name == if c.role == Role::Norm { "f32" } else { "q4_k" }));
    let f16 = Format::by_name("f16");
    let rules: Vec<Rule> = vec!["blk.0.*=q8_0".parse().unwrap()];
    let told = Conversion { output_type: f16, rules, ..conversion("q4_k_m") };
    let told = choices(&LLAMA_3_8B, &told);
    assert_eq!(count(&told, Role::Output, "f16"), 1);
    assert_eq!(layers(&told, Role::AttnV, "q8_0"), [0]);
    assert_eq!(layers(&told, Role::AttnV, "q6_k"), MORE[1..], "a rule changes nothing for other layers");
}

#[test]
fn tensors_are_counted_in_the_order_of_their_layers() {
    // Attention in every fourth layer, as hybrid models have it; names in the order of text, not of layers.
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", "hybrid");
    metadata.set("hybrid.block_count", 32u32);
    metadata.set("hybrid.attention.head_count", vec![0u32; 32]);
    let tensor = |(n, what)| (format!("blk.{n}.{what}.weight"), Shape::new(vec![1024, 1024]).unwrap());
    let mut tensors: Vec<_> = (0..32).map(|n| tensor((n, "ffn_down"))).collect();
    tensors.extend((3..32).step_by(4).map(|n| tensor((n, "attn_v"))));
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let of = |metadata: &Metadata, file_type| {
        let mut chosen = decide_all(metadata, &tensors, &conversion(file_type)).unwrap();
        chosen.sort_by_key(|c| c.name.split('.').nth(1).unwrap().parse::<u64>().unwrap());
        chosen
    };
    // The first, fourth, seventh and eighth of eight.
    assert_eq!(layers(&of(&metadata, "q4_k_m"), Role::AttnV, "q6_k"), [3, 15, 27, 31]);
    assert_eq!(layers(&of(&metadata, "q4_k_m"), Role::FfnDown, "q6_k"), MORE);
    assert_eq!(layers(&of(&metadata, "q3_k_m"), Role::AttnV, "q5_k"), [3, 7]);
    // Without key-value heads nothing is grouped.
    assert_eq!(layers(&of(&metadata, "q2_k"), Role::AttnV, "q4_k"), [0; 0]);
    // The first layer speaks for all.
    metadata.set("hybrid.attention.head_count", 32u32);
    metadata.set("hybrid.attention.head_count_kv", [vec![8u32], vec![32; 31]].concat());
    assert_eq!(layers(&of(&metadata, "q2_k"), Role::AttnV, "q4_k").len(), 8);
    // Layers that are not stated are counted, and absurd numbers do no harm.
    metadata.retain(|key| key != "hybrid.block_count");
    assert_eq!(layers(&of(&metadata, "q4_k_m"), Role::FfnDown, "q6_k"), MORE);
    metadata.set("hybrid.block_count", u64::MAX);
    assert_eq!(layers(&of(&metadata, "q4_k_m"), Role::FfnDown, "q6_k").len(), 32);
}

#[test]
fn several_down_projections_in_a_layer_share_its_place() {
    let sizes = Sizes { experts: 4, ..LLAMA_3_8B };
    let mut tensors = sizes.tensors();
    let shared = |n: u64| (format!("blk.{n}.ffn_down_shexp.weight"), Shape::new(vec![4096, 14336]).unwrap());
    tensors.extend((0..32).map(shared));
    let choices = decide_all(&sizes.metadata(), &tensors, &conversion("q4_k_s")).unwrap();
    let mut found = layers(&choices, Role::FfnDown, "q5_k");
    found.sort_unstable();
    assert_eq!(found, [0, 0, 1, 1, 2, 2, 3, 3]);
}

/// Every row of the table decides somewhere, and names only what there is.
#[test]
fn no_row_is_idle() {
    let models = [
        LLAMA_3_8B,
        LLAMA_3_70B,
        LLAMA_1_65B,
        MIXTRAL,
        FALCON,
        SMOLLM2_135M,
        Sizes { family: "olmo", ..LLAMA_1_65B },
        Sizes { family: "bailingmoe3", experts: 64, ..LLAMA_3_8B },
    ];
    let mut decided = vec![false; MIX.len()];
    for sizes in models {
        let mut tensors = sizes.tensors();
        tensors.push(("blk.0.attn_k_b.weight".into(), Shape::new(vec![16, 128, 256]).unwrap()));
        let model = Model::from_metadata(&sizes.metadata(), tensors.iter().map(|(name, _)| name.clone()));
        for (name, shape) in &tensors {
            let stored = Format::by_name("bf16").unwrap();
            let head = sizes.tied && role_of(name) == Role::TokenEmbedding;
            let (role, model) = (if head { Role::Output } else { role_of(name) }, &model);
            let c = Candidate {
                name,
                names: &[],
                role,
                tied: false,
                shape,
                stored,
                model,
                imatrix: false,
                from_gguf: true,
            };
            for c in [Candidate { imatrix: true, ..c }, c] {
                for row in FILE_TYPES.iter().filter_map(|t| fitting(t, &c)) {
                    decided[MIX.iter().position(|m| std::ptr::eq(m, row)).unwrap()] = true;
                }
            }
        }
    }
    for (row, decided) in MIX.iter().zip(decided) {
        assert!(decided, "{:?} {:?} {:?}", row.roles, row.types, row.when);
        assert!(Format::by_name(row.format).is_some(), "{}", row.format);
        assert!(row.types.iter().all(|t| FILE_TYPES.iter().any(|f| f.name == *t)), "{:?}", row.types);
    }
}
