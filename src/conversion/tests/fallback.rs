//! Rows that blocks do not divide.

use super::*;
use crate::conversion::Fallback;
use crate::conversion::fallback::ERRORS;
use tersor_kernels::{Encoding, Level};

fn format(name: &str) -> &'static Format {
    Format::by_name(name).unwrap()
}

#[test]
fn llama_quantize_s_substitutes() {
    for (wanted, narrow) in [
        ("iq4_xs", "iq4_nl"),
        ("q2_k", "q4_0"),
        ("q3_k", "q4_0"),
        ("tq1_0", "q4_0"),
        ("tq2_0", "q4_0"),
        ("q4_k", "q5_0"),
        ("q5_k", "q5_1"),
        ("q6_k", "q8_0"),
        ("nvfp4", "iq4_nl"),
    ] {
        let chosen = |cols| Fallback::Llama.choose(format(wanted), cols).0.name;
        assert_eq!((chosen(576), chosen(32), chosen(60)), (narrow, narrow, "f16"), "{wanted}");
    }
    for wanted in ["q8_0", "q4_0", "iq4_nl", "mxfp4"] {
        assert_eq!(Fallback::Llama.choose(format(wanted), 60).0.name, "f16");
    }
}

#[test]
fn least_error_for_half_a_bit() {
    for (wanted, narrow) in [
        ("q6_k", "q5_1"),
        ("q5_k", "q5_1"),
        ("q4_k", "q4_1"),
        ("nvfp4", "q4_1"),
        ("iq4_xs", "iq4_nl"),
        ("q3_k", "mxfp4"),
        ("q2_k", "mxfp4"),
        ("tq1_0", "mxfp4"),
    ] {
        let (chosen, why) = Fallback::Auto.choose(format(wanted), 576);
        assert_eq!(chosen.name, narrow, "{wanted}");
        let within = chosen.bits_per_weight() <= format(wanted).bits_per_weight() + 0.5;
        assert_eq!(why.starts_with("least error"), within, "{wanted}: {why}");
        assert_eq!(Fallback::Auto.choose(format(wanted), 60).0.name, "f16");
    }
}

#[test]
fn a_format_is_taken_where_it_divides() {
    let told = Fallback::Format(format("q8_0"));
    assert_eq!(told.choose(format("q4_k"), 576).0.name, "q8_0");
    assert_eq!(told.choose(format("q4_k"), 60).0.name, "f16");
    assert_eq!(Fallback::Format(format("q3_k")).choose(format("q4_k"), 576).0.name, "q5_0", "then llama-quantize's");
    for text in ["llama", "auto", "q8_0"] {
        assert_eq!(text.parse::<Fallback>().unwrap().to_string(), text);
    }
    assert!("none".parse::<Fallback>().is_err());
}

#[test]
fn a_model_with_narrow_rows() {
    let choices = |fallback| choices(&SMOLLM2_135M, &Conversion { fallback, ..conversion("q4_k_m") });
    let llama = choices(Fallback::Llama);
    assert_eq!(count(&llama, Role::TokenEmbedding, "q8_0"), 1, "the head's own rule, no fallback");
    assert_eq!(count(&llama, Role::AttnQ, "q5_0"), 30);
    // 30 / 8 and 7 * 30 / 8 round down: layers 0 to 2, 26 to 29, and every third between from 5.
    assert_eq!((count(&llama, Role::AttnV, "q8_0"), count(&llama, Role::AttnV, "q5_0")), (14, 16));
    assert_eq!((count(&llama, Role::FfnDown, "q6_k"), count(&llama, Role::FfnDown, "q4_k")), (14, 16));
    let auto = choices(Fallback::Auto);
    assert_eq!(count(&auto, Role::AttnQ, "q4_1"), 30);
    assert_eq!(count(&auto, Role::AttnV, "q5_1"), 14);
    let query = auto.iter().find(|c| c.role == Role::AttnQ).unwrap();
    assert_eq!(
        query.why.to_string(),
        "rows do not divide by 256, as q4_k wants; least error for at most half a bit more"
    );
    let strict = Conversion { strict: true, ..conversion("q4_k_m") };
    let error = decide_all(&SMOLLM2_135M.metadata(), &SMOLLM2_135M.tensors(), &strict).err().unwrap();
    assert_eq!(
        error.to_string(),
        "tensor `blk.0.attn_q.weight`: rows of 576 values do not divide into q4_k blocks of 256"
    );
}

/// Normally distributed numbers from a fixed seed, by the sum of twelve uniform ones.
fn gaussian(n: usize) -> Vec<f32> {
    let mut state = 1u64;
    let mut uniform = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    (0..n).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect()
}

#[test]
fn the_stated_errors_are_those_of_the_encoders() {
    let values = gaussian(1 << 16);
    let mut measured = 0;
    for (name, stated) in ERRORS {
        let Some(encode) = format(name).encoder() else { continue };
        let mut bytes = vec![0; format(name).size_of(values.len() as u64).unwrap() as usize];
        let fit = encode(Level::best(), &values, &Encoding::default(), &mut bytes).unwrap();
        let error = fit.relative_rmse();
        // The sum of twelve has thinner tails than a Gaussian, which makes scales a little finer.
        assert!((error / stated - 1.0).abs() < 0.05, "{name}: {error} of {stated}");
        measured += 1;
    }
    assert!(measured >= 5);
}
