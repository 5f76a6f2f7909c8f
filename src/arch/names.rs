//! GGUF tensor names, independent of the family.

use super::Role;

/// Whole names.
const NAMES: &[(&str, Role)] = &[
    ("output.weight", Role::Output),
    ("token_embd.weight", Role::TokenEmbedding),
    ("per_layer_token_embd.weight", Role::TokenEmbedding),
];

/// How the last part of a name ends, before `.weight`: cross attention counts as attention.
const ENDS: &[(&str, Role)] = &[
    ("_norm", Role::Norm),
    ("attn_qkv", Role::AttnQkv),
    ("attn_kv_b", Role::AttnKvB),
    ("attn_v", Role::AttnV),
    ("attn_k", Role::AttnK),
    ("attn_q", Role::AttnQ),
    ("attn_output", Role::AttnOutput),
];

/// What stands anywhere in a name: experts, shared or not, stacked or not, count as the feed-forward part.
const PARTS: &[(&str, Role)] =
    &[("ffn_gate_inp", Role::Other), ("ffn_up", Role::FfnUp), ("ffn_gate", Role::FfnGate), ("ffn_down", Role::FfnDown)];

/// Parts of names that llama-quantize never quantizes, since ggml's operations on them want floats.
const KEPT: &[&str] = &[
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    "attn_rel_b.weight",
    ".position_embd",
    "sam.pos_embd",
    "sam.neck.",
    "sam.net_",
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
    "a.rvq.codebook",
    "mm.a.code_embd",
];

/// Whole names that are never quantized.
const KEPT_NAMES: &[&str] = &["position_embd.weight", "token_types.weight"];

/// What the tensor with this GGUF name is for: for weight matrices the categories of llama-quantize.
pub fn role_of(name: &str) -> Role {
    if name.ends_with(".bias") {
        return Role::Bias;
    }
    let Some(module) = name.strip_suffix(".weight") else { return Role::Other };
    let module = module.rsplit('.').next().unwrap_or(module);
    let whole = NAMES.iter().find(|(n, _)| *n == name);
    let found = whole.or_else(|| ENDS.iter().find(|(end, _)| module.ends_with(end)));
    let found = found.or_else(|| PARTS.iter().find(|(part, _)| name.contains(part)));
    found.map_or(Role::Other, |(_, role)| *role)
}

/// The first number between dots: the block's, in the names of every family.
pub fn layer_number(name: &str) -> Option<u32> {
    name.split('.').find_map(|part| part.parse().ok())
}

/// True for the tensors whose format may be chosen: weight matrices that ggml can use quantized.
pub fn quantizable(name: &str, rank: usize) -> bool {
    rank >= 2 && name.ends_with("weight") && !KEPT_NAMES.contains(&name) && !KEPT.iter().any(|part| name.contains(part))
}

/// True when `name` matches `pattern`, where `*` stands for any text and `?` for one character.
pub fn glob(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    // Where the last star stands, and how much of the name it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, n) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles() {
        for (name, role) in [
            ("token_embd.weight", Role::TokenEmbedding),
            ("output.weight", Role::Output),
            ("output_norm.weight", Role::Norm),
            ("blk.0.attn_output.weight", Role::AttnOutput),
            ("blk.0.attn_q.bias", Role::Bias),
            ("blk.0.attn_q_norm.weight", Role::Norm),
            ("enc.blk.0.ffn_gate.weight", Role::FfnGate),
            ("dec.blk.0.cross_attn_v.weight", Role::AttnV),
            ("blk.0.attn_qkv.weight", Role::AttnQkv),
            ("blk.0.attn_kv_b.weight", Role::AttnKvB),
            ("blk.0.attn_v_b.weight", Role::Other),
            ("blk.0.ffn_down_shexp.weight", Role::FfnDown),
            ("blk.0.ffn_down.3.weight", Role::FfnDown),
            ("blk.0.ffn_gate_up_exps.weight", Role::FfnGate),
            ("blk.0.ffn_gate_inp.weight", Role::Other),
            ("per_layer_token_embd.weight", Role::TokenEmbedding),
            ("dec.output.weight", Role::Other),
            ("rope_freqs.weight", Role::Other),
        ] {
            assert_eq!(role_of(name), role, "{name}");
        }
    }

    #[test]
    fn what_may_be_quantized() {
        assert!(quantizable("blk.0.ffn_up.weight", 2));
        assert!(quantizable("blk.0.ffn_up_exps.weight", 3));
        for name in ["blk.0.ffn_gate_inp.weight", "blk.0.attn_q.bias", "position_embd.weight", "v.patch_embd.weight"] {
            assert!(!quantizable(name, 2), "{name}");
        }
        assert!(!quantizable("blk.0.ffn_up.weight", 1));
    }

    #[test]
    fn globs() {
        for (pattern, name, wanted) in [
            ("blk.*.ffn_down.weight", "blk.12.ffn_down.weight", true),
            ("blk.*.ffn_down.weight", "blk.12.ffn_down.weights", false),
            ("blk.?.ffn*", "blk.12.ffn_down.weight", false),
            ("*", "", true),
            ("**", "x", true),
            ("", "x", false),
            ("*a*b", "xaxbxb", true),
            ("a*", "ba", false),
        ] {
            assert_eq!(glob(pattern, name), wanted, "{pattern} on {name}");
        }
    }
}
