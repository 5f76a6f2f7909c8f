//! qwen2: Qwen 2 and 2.5. Biases on query, key and value; rotary halves stay as transformers has them.

use super::Count::{Ffn, Hidden, Vocab};
use super::Dim::{Is, KeyValue, Query};
use super::{Architecture, Fixed, NameRule, Need, Role, layer};

pub(super) static QWEN2: Architecture = Architecture {
    gguf: "qwen2",
    hf: &[("Qwen2ForCausalLM", "qwen2")],
    tensors: &[
        layer("model.embed_tokens.weight", "token_embd.weight", Role::TokenEmbedding, &[Is(Vocab), Is(Hidden)]),
        layer("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight", Role::Norm, &[Is(Hidden)]),
        layer("model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", Role::AttnQ, &[Query, Is(Hidden)]),
        layer("model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight", Role::AttnK, &[KeyValue, Is(Hidden)]),
        layer("model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight", Role::AttnV, &[KeyValue, Is(Hidden)]),
        layer(
            "model.layers.{}.self_attn.o_proj.weight",
            "blk.{}.attn_output.weight",
            Role::AttnOutput,
            &[Is(Hidden), Query],
        ),
        layer("model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias", Role::Bias, &[Query]),
        layer("model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias", Role::Bias, &[KeyValue]),
        layer("model.layers.{}.self_attn.v_proj.bias", "blk.{}.attn_v.bias", Role::Bias, &[KeyValue]),
        layer("model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight", Role::Norm, &[Is(Hidden)]),
        layer("model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight", Role::FfnGate, &[Is(Ffn), Is(Hidden)]),
        layer("model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight", Role::FfnUp, &[Is(Ffn), Is(Hidden)]),
        layer("model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight", Role::FfnDown, &[Is(Hidden), Is(Ffn)]),
        layer("model.norm.weight", "output_norm.weight", Role::Norm, &[Is(Hidden)]),
        NameRule {
            need: Need::Untied,
            ..layer("lm_head.weight", "output.weight", Role::Output, &[Is(Vocab), Is(Hidden)])
        },
    ],
    ignored: &["*.rotary_emb.inv_freq"],
    fixed: &[Fixed { key: "hidden_act", value: "\"silu\"" }, Fixed { key: "use_mrope", value: "false" }],
    window_unless_switched_off: false,
    qkv_bias: true,
};
