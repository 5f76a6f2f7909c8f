//! llama: Llama 1 to 3 and what shares its blocks (Mistral, SmolLM2, TinyLlama ...).

use super::Count::{Ffn, Hidden, Vocab};
use super::Dim::{Is, KeyValue, Query};
use super::{Architecture, Fixed, NameRule, Need, Role, RowOrder, layer};

const fn optional(hf: &'static str, gguf: &'static str, shape: &'static [super::Dim]) -> NameRule {
    NameRule { need: Need::Optional, ..layer(hf, gguf, Role::Bias, shape) }
}

/// See [`RowOrder::Rotary`].
const fn rotary(rule: NameRule) -> NameRule {
    NameRule { rows: RowOrder::Rotary, ..rule }
}

pub(super) static LLAMA: Architecture = Architecture {
    gguf: "llama",
    hf: &[("LlamaForCausalLM", "llama"), ("MistralForCausalLM", "mistral")],
    tensors: &[
        layer("model.embed_tokens.weight", "token_embd.weight", Role::TokenEmbedding, &[Is(Vocab), Is(Hidden)]),
        layer("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight", Role::Norm, &[Is(Hidden)]),
        rotary(layer(
            "model.layers.{}.self_attn.q_proj.weight",
            "blk.{}.attn_q.weight",
            Role::AttnQ,
            &[Query, Is(Hidden)],
        )),
        rotary(layer(
            "model.layers.{}.self_attn.k_proj.weight",
            "blk.{}.attn_k.weight",
            Role::AttnK,
            &[KeyValue, Is(Hidden)],
        )),
        layer("model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight", Role::AttnV, &[KeyValue, Is(Hidden)]),
        layer(
            "model.layers.{}.self_attn.o_proj.weight",
            "blk.{}.attn_output.weight",
            Role::AttnOutput,
            &[Is(Hidden), Query],
        ),
        rotary(optional("model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias", &[Query])),
        rotary(optional("model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias", &[KeyValue])),
        optional("model.layers.{}.self_attn.v_proj.bias", "blk.{}.attn_v.bias", &[KeyValue]),
        optional("model.layers.{}.self_attn.o_proj.bias", "blk.{}.attn_output.bias", &[Is(Hidden)]),
        layer("model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight", Role::Norm, &[Is(Hidden)]),
        layer("model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight", Role::FfnGate, &[Is(Ffn), Is(Hidden)]),
        layer("model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight", Role::FfnUp, &[Is(Ffn), Is(Hidden)]),
        layer("model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight", Role::FfnDown, &[Is(Hidden), Is(Ffn)]),
        optional("model.layers.{}.mlp.gate_proj.bias", "blk.{}.ffn_gate.bias", &[Is(Ffn)]),
        optional("model.layers.{}.mlp.up_proj.bias", "blk.{}.ffn_up.bias", &[Is(Ffn)]),
        optional("model.layers.{}.mlp.down_proj.bias", "blk.{}.ffn_down.bias", &[Is(Hidden)]),
        layer("model.norm.weight", "output_norm.weight", Role::Norm, &[Is(Hidden)]),
        NameRule {
            need: Need::Untied,
            ..layer("lm_head.weight", "output.weight", Role::Output, &[Is(Vocab), Is(Hidden)])
        },
    ],
    ignored: &["*.rotary_emb.inv_freq"],
    fixed: &[Fixed { key: "hidden_act", value: "\"silu\"" }, Fixed { key: "partial_rotary_factor", value: "1.0" }],
    window_unless_switched_off: true,
    qkv_bias: false,
};
