"""Survey: tiny networks of Hugging Face's transformers, random weights. Run by `pytest -m survey`.

A row gives a config and what the layout must say, in the row's own words: an axis is called as the
row calls it where it first stands, `~` marks an inexact one, and a word's size stands in SIZES or
in the word itself (`state4`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch
from networks import random_masks, randomise
from survey import surveyed
from torch import Tensor, nn

import purethin as pt

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.survey

SIZES = {"width": 64, "heads": 8, "dim": 8, "ffn": 96, "kv": 2, "rep": 4, "pair": 6, "expert": 32}

SMALL = {"vocab_size": 64, "hidden_size": 64, "num_hidden_layers": 2}
SPECIAL = {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
TEXT = (
    SMALL
    | SPECIAL
    | {"intermediate_size": 96, "num_attention_heads": 8, "max_position_embeddings": 64}
)
GROUPED = dict(TEXT, num_key_value_heads=2, head_dim=12)
GPT = dict(SPECIAL, n_embd=64, n_layer=2, n_head=8, n_positions=64, n_inner=96)
MIXED = dict(GROUPED, intermediate_size=32, num_local_experts=8, num_experts_per_tok=2)
ROUTED = dict(GROUPED, num_experts=8, moe_intermediate_size=32, num_experts_per_tok=2)
LATENT = dict(
    TEXT,
    num_key_value_heads=8,
    head_dim=8,
    q_lora_rank=12,
    kv_lora_rank=16,
    qk_rope_head_dim=8,
    qk_nope_head_dim=6,
    v_head_dim=10,
    n_routed_experts=8,
    n_shared_experts=1,
    moe_intermediate_size=32,
    num_experts_per_tok=2,
    first_k_dense_replace=1,
    topk_group=1,
)
APART = dict(TEXT, relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=8)
T5 = {
    "vocab_size": 64,
    "d_model": 64,
    "d_kv": 12,
    "d_ff": 96,
    "num_layers": 2,
    "num_heads": 8,
    "decoder_start_token_id": 0,
}
BART = dict(
    SPECIAL,
    d_model=64,
    encoder_layers=2,
    decoder_layers=2,
    encoder_attention_heads=8,
    decoder_attention_heads=8,
    encoder_ffn_dim=96,
    decoder_ffn_dim=96,
    max_position_embeddings=64,
    decoder_start_token_id=1,
    forced_eos_token_id=2,
)
IMAGE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "image_size": 32,
    "patch_size": 8,
}
WINDOWS = {
    "image_size": 32,
    "patch_size": 2,
    "embed_dim": 16,
    "depths": [2, 2],
    "num_heads": [2, 4],
    "window_size": 4,
}
SOUND = dict(
    SMALL,
    num_attention_heads=8,
    intermediate_size=96,
    conv_dim=(16, 20, 24),
    conv_stride=(5, 2, 2),
    conv_kernel=(10, 3, 3),
    num_conv_pos_embeddings=16,
    num_conv_pos_embedding_groups=4,
)

chance = torch.Generator().manual_seed(0)
IDS = torch.randint(3, 60, (2, 9), generator=chance)
READ = {"input_ids": IDS}
WRITE = {"input_ids": IDS, "decoder_input_ids": IDS[:, :5]}
SEE = {"pixel_values": torch.randn(2, 3, 32, 32, generator=chance)}
HEAR = {"input_values": torch.randn(2, 800, generator=chance)}
MEL = {"input_features": torch.randn(2, 8, 32, generator=chance), "decoder_input_ids": IDS}


class Only(nn.Module):
    """One field of the model's output: a model that returns inner states too has their sizes
    frozen, as an output's are.
    """

    def __init__(self, model: Any, name: str) -> None:
        super().__init__()
        self.model, self.name = model, name

    def forward(self, **inputs: Tensor) -> Tensor:
        return getattr(self.model(**inputs), self.name)


@dataclass(frozen=True)
class Row:
    """A model and what its layout must say.

    Attributes:
        kind: transformers' name of it.
        head: what follows `AutoModel`.
        config: its sizes.
        layout: `{part of a parameter's name: the layout of the first parameter whose name has it}`.
        inputs: the example.
        only: the field of the output to look at, None for all.
        tolerance: of masked against thinned.
        experts: the implementation of a mixture's experts; the default, grouped_mm, refuses
            float64.
    """

    kind: str
    head: str
    config: Mapping[str, Any]
    layout: Mapping[str, str]
    inputs: Mapping[str, Tensor] = field(default_factory=lambda: READ)
    only: str | None = None
    tolerance: float = 1e-9
    dtype: torch.dtype = torch.float64
    experts: str = "eager"

    def build(self) -> Any:
        config = transformers.AutoConfig.for_model(self.kind, **self.config)
        model = getattr(transformers, f"AutoModel{self.head}").from_config(config)
        model.set_experts_implementation(self.experts)
        model = randomise(model, dtype=self.dtype)
        return Only(model, self.only).eval() if self.only else model

    def example(self) -> dict[str, Tensor]:
        return {k: v.to(self.dtype) if v.is_floating_point() else v for k, v in self.inputs.items()}


def attention(
    parameters: str, query: str, key: str | None = None, width: str = "width~"
) -> dict[str, str]:
    """What the query, key, value and output projections must say."""
    q, k, v, out = parameters.split()
    return {
        q: f"{query} {width}",
        k: f"{key or query} {width}",
        v: f"{key or query} {width}",
        out: f"{width} {query}",
    }


def mlp(*parameters: str, ffn: str = "ffn", width: str = "width~") -> dict[str, str]:
    """What the layers up to the feed-forward width must say, and the last, down from it."""
    return dict.fromkeys(parameters[:-1], f"{ffn} {width}") | {parameters[-1]: f"{width} {ffn}"}


def llama(query: str = "(kv rep (pair + pair))", key: str = "(kv (pair + pair))") -> dict[str, str]:
    return attention("q_proj k_proj v_proj o_proj", query, key)


GATED = mlp("gate_proj", "up_proj", "down_proj")
NORMED = llama("(kv rep (pair~ + pair~))", "(kv (pair~ + pair~))")  # a norm over each head
EXPERTS = {
    "experts.gate_up_proj": "8 (expert + expert) width~",
    "experts.down_proj": "8 width~ expert",
}
LATENTS = EXPERTS | {
    "q_a_proj": "query12~ width~",
    "q_b_proj": "(heads (nope6 + (turn4 2))) query12~",
    "kv_a_proj": "(rank16~ + (turn4 2)) width~",
    "kv_b_proj": "(heads (nope6 + value10)) rank16~",
    "o_proj": "width~ (heads value10)",
    "inv_freq": "turn4",
}
BERT = attention("self.query self.key self.value attention.output.dense", "(heads dim)")
BERT |= mlp("intermediate.dense", "layer.0.output.dense")
DEBERTA = mlp("intermediate.dense", "layer.0.output.dense") | {
    "query_proj": "(heads dim~) width~",
    "key_proj": "(heads dim~) width~",
    "value_proj": "(heads value8) width~",
    "attention.output.dense": "width~ (heads value8)",
}
VIT = llama("(heads dim)", "(heads dim)") | mlp("fc1", "fc2")
T5S = attention("SelfAttention.q SelfAttention.k SelfAttention.v SelfAttention.o", "(heads key12)")
T5S |= attention(
    "EncDecAttention.q EncDecAttention.k EncDecAttention.v EncDecAttention.o", "(cross8 crossed12)"
)
T5S |= {"relative_attention_bias": "32 heads"}
PAIRED = attention("q_proj k_proj v_proj self_attn.out_proj", "(heads dim)") | mlp("fc1", "fc2")
PAIRED |= attention(
    "encoder_attn.q_proj encoder_attn.k_proj encoder_attn.v_proj encoder_attn.out_proj",
    "(cross8 crossed8)",
)
SOUNDS = attention("k_proj v_proj q_proj out_proj", "(heads dim)", width="(groups4~ inner16~)")
SOUNDS |= mlp("intermediate_dense", "output_dense", width="(groups4~ inner16~)")
SOUNDS |= {
    "original1": "(groups4~ inner16~) inner16~ 16",
    "feature_projection.projection": "(groups4~ inner16~) last24~",
}
MERGED = {"reduction": "width32~ (width16~ + width16~ + width16~ + width16~)"}
MAMBA2 = "(groups2 rep~ dim16~)"

LM, CLASSES, PICTURES = "ForCausalLM", "ForSequenceClassification", "ForImageClassification"
ROWS = {
    "Llama": Row("llama", LM, GROUPED, llama() | GATED),
    "Llama, eager attention": Row(
        "llama", LM, GROUPED | {"attn_implementation": "eager"}, llama() | GATED
    ),
    "Mistral": Row("mistral", LM, GROUPED, llama() | GATED),
    "Qwen2": Row("qwen2", LM, GROUPED, llama() | GATED),
    "Qwen3": Row("qwen3", LM, GROUPED, NORMED | GATED | {"q_norm": "(pair~ + pair~)"}),
    "Gemma": Row("gemma", LM, GROUPED, llama() | GATED),
    "Gemma 2": Row("gemma2", LM, GROUPED | {"query_pre_attn_scalar": 8}, llama() | GATED),
    "Gemma 3": Row("gemma3_text", LM, GROUPED | {"query_pre_attn_scalar": 8}, NORMED | GATED),
    "Phi": Row(
        "phi",
        LM,
        TEXT,
        attention("q_proj k_proj v_proj dense", "(heads (turn2 + turn2 + rest4))")
        | mlp("fc1", "fc2"),
    ),
    "Phi-3": Row(
        "phi3",
        LM,
        GROUPED,
        {
            "qkv_proj": "((kv rep (pair + pair)) + (kv (pair + pair)) + (kv (pair + pair))) width~",
            "o_proj": "width~ (kv rep (pair + pair))",
            "gate_up_proj": "(ffn + ffn) width~",
            "down_proj": "width~ ffn",
        },
    ),
    "GPT-2": Row(
        "gpt2",
        LM,
        GPT,
        {
            "c_attn": "width~ ((heads dim) + (heads dim) + (heads dim))",
            "attn.c_proj": "(heads dim) width~",
            "c_fc": "width~ ffn",
            "mlp.c_proj": "ffn width~",
        },
    ),
    "GPT-J": Row(
        "gptj",
        LM,
        GPT | {"rotary_dim": 4},
        attention("q_proj k_proj v_proj out_proj", "(heads ((turn2 2) + rest4))")
        | mlp("fc_in", "fc_out"),
    ),
    # modeling_gpt_neo.py:109 casts queries and keys to float32
    "GPT-Neo": Row(
        "gpt_neo",
        LM,
        SPECIAL
        | {
            "hidden_size": 64,
            "num_layers": 2,
            "num_heads": 8,
            "intermediate_size": 96,
            "max_position_embeddings": 64,
            "attention_types": [[["global", "local"], 1]],
        },
        attention("q_proj k_proj v_proj out_proj", "(heads dim)") | mlp("c_fc", "c_proj"),
        tolerance=1e-6,
    ),
    "GPT-NeoX": Row(
        "gpt_neox",
        LM,
        TEXT | {"rotary_pct": 0.5},
        {
            "query_key_value": f"(heads ({' + '.join(['turn2 + turn2 + rest4'] * 3)})) width~",
            "attention.dense": "width~ (heads (turn2 + turn2 + rest4))",
            **mlp("dense_h_to_4h", "dense_4h_to_h"),
        },
    ),
    "OPT": Row(
        "opt",
        LM,
        TEXT | {"ffn_dim": 96, "word_embed_proj_dim": 48},
        attention("q_proj k_proj v_proj out_proj", "(heads dim)")
        | mlp("fc1", "fc2")
        | {"embed_tokens": "64 table48"},
    ),
    "Bloom": Row(
        "bloom",
        LM,
        SPECIAL | {"hidden_size": 64, "n_layer": 2, "n_head": 8},
        {
            "query_key_value": "(24 dim) width~",
            "self_attention.dense": "width~ (8 dim)",  # ALiBi computes a slope for each head
            **mlp("dense_h_to_4h", "dense_4h_to_h", ffn="ffn256"),
        },
    ),
    "Falcon": Row(
        "falcon",
        LM,
        TEXT | {"ffn_hidden_size": 96},
        {
            "query_key_value": "((heads + 2) (half4~ + half4~)) width~",
            "self_attention.dense": "width~ (heads (half4~ + half4~))",
            **mlp("dense_h_to_4h", "dense_4h_to_h"),
        },
    ),
    "Falcon, grouped": Row(
        "falcon",
        LM,
        TEXT | {"ffn_hidden_size": 96, "new_decoder_architecture": True, "num_kv_heads": 2},
        {
            "query_key_value": "(kv (rep + 2) (half4~ + half4~)) width~",
            "self_attention.dense": "width~ (kv rep (half4~ + half4~))",
            **mlp("dense_h_to_4h", "dense_4h_to_h"),
        },
    ),
    "StarCoder2": Row("starcoder2", LM, GROUPED, llama() | mlp("c_fc", "c_proj")),
    "Cohere": Row("cohere", LM, GROUPED, llama("(kv rep pair 2)", "(kv pair 2)") | GATED),
    "StableLM": Row(
        "stablelm",
        LM,
        TEXT | {"num_key_value_heads": 2, "partial_rotary_factor": 0.5},
        llama("(kv rep (turn2 + turn2 + rest4))", "(kv (turn2 + turn2 + rest4))") | GATED,
    ),
    "OLMo2": Row(
        "olmo2", LM, GROUPED, llama("(kv~ rep~ (pair~ + pair~))", "(kv~ (pair~ + pair~))") | GATED
    ),
    # modeling_llama4.py:230 casts queries and keys to float32
    "Llama 4": Row(
        "llama4_text",
        LM,
        MIXED | {"intermediate_size_mlp": 96},
        {
            **llama("(kv rep pair~ 2)", "(kv pair~ 2)"),
            **mlp("shared_expert.up_proj", "shared_expert.down_proj", ffn="shared32"),
            "experts.gate_up_proj": "8 width~ (expert + expert)",
            "experts.down_proj": "8 expert width~",
        },
        tolerance=1e-6,
    ),
    "GPT-OSS": Row(
        "gpt_oss",
        LM,
        MIXED,
        {
            **llama(),
            "sinks": "(kv rep)",
            "experts.gate_up_proj": "8 width~ (expert 2)",
            "experts.down_proj": "8 expert width~",
        },
    ),
    "Mixtral": Row("mixtral", LM, MIXED, llama() | EXPERTS),
    "Mixtral, grouped_mm, float32": Row(
        "mixtral",
        LM,
        MIXED,
        llama() | EXPERTS,
        tolerance=1e-5,
        dtype=torch.float32,
        experts="grouped_mm",
    ),
    "Qwen2-MoE": Row(
        "qwen2_moe",
        LM,
        ROUTED | {"shared_expert_intermediate_size": 24},
        llama() | EXPERTS | mlp("shared_expert.up_proj", "shared_expert.down_proj", ffn="shared24"),
    ),
    "Qwen3-MoE": Row("qwen3_moe", LM, ROUTED, NORMED | EXPERTS),
    "DeepSeek-V2": Row("deepseek_v2", LM, LATENT | {"n_group": 1}, LATENTS),
    "DeepSeek-V3": Row("deepseek_v3", LM, LATENT | {"n_group": 2}, LATENTS),
    "BERT": Row("bert", CLASSES, TEXT, BERT | {"pooler": "pooled64 width~"}),
    "BERT, masked LM": Row(
        "bert", "ForMaskedLM", TEXT, BERT | {"predictions.transform.dense": "width~ width~"}
    ),
    "RoBERTa": Row("roberta", CLASSES, TEXT, BERT),
    "DistilBERT": Row(
        "distilbert",
        CLASSES,
        {"vocab_size": 64, "dim": 64, "hidden_dim": 96, "n_layers": 2, "n_heads": 8},
        attention("q_lin k_lin v_lin out_lin", "(heads dim)") | mlp("lin1", "lin2"),
    ),
    "ALBERT": Row(
        "albert",
        CLASSES,
        TEXT | {"embedding_size": 48},
        {
            **attention(
                "attention.query attention.key attention.value attention.dense", "(heads dim)"
            ),
            **mlp("ffn", "ffn_output"),
            "embedding_hidden_mapping_in": "width~ table48~",
        },
    ),
    "DeBERTa-v2": Row(
        "deberta-v2",
        CLASSES,
        APART | {"share_att_key": True},
        DEBERTA | {"rel_embeddings": "16 width~"},
    ),
    "DeBERTa-v2, keys apart": Row(
        "deberta-v2", CLASSES, APART, DEBERTA | {"pos_key_proj": "(heads dim~) places64"}
    ),
    "ELECTRA": Row(
        "electra",
        CLASSES,
        TEXT | {"embedding_size": 48},
        BERT | {"embeddings_project": "width~ table48~"},
    ),
    "CamemBERT": Row("camembert", CLASSES, TEXT, BERT),
    "MPNet": Row(
        "mpnet",
        CLASSES,
        TEXT,
        {
            **attention("attn.q attn.k attn.v attn.o", "(heads dim~)"),
            **mlp("intermediate.dense", "layer.0.output.dense"),
            "relative_attention_bias": "32 heads",
        },
    ),
    "ModernBERT": Row(
        "modernbert",
        CLASSES,
        TEXT,
        {
            "Wqkv": "(3 heads (half4~ + half4~)) width~",
            "attn.Wo": "width~ (heads (half4~ + half4~))",
            "Wi": "(ffn + ffn) width~",
            "mlp.Wo": "width~ ffn",
        },
    ),
    "T5": Row("t5", "ForSeq2SeqLM", T5, T5S | mlp("wi", "wo"), WRITE, "logits"),
    "T5, gated": Row(
        "t5",
        "ForSeq2SeqLM",
        T5 | {"feed_forward_proj": "gated-gelu"},
        T5S | mlp("wi_0", "wi_1", "wo"),
        WRITE,
        "logits",
    ),
    "BART": Row("bart", "ForSeq2SeqLM", BART, PAIRED, WRITE, "logits"),
    "Pegasus": Row("pegasus", "ForSeq2SeqLM", BART, PAIRED, WRITE, "logits"),
    "ViT": Row("vit", PICTURES, IMAGE, VIT | {"patch_embeddings.projection": "width~ 3 8 8"}, SEE),
    "DeiT": Row(
        "deit", PICTURES, IMAGE | {"architectures": ["DeiTForImageClassification"]}, VIT, SEE
    ),
    "Swin": Row(
        "swin",
        PICTURES,
        WINDOWS,
        {
            **attention("q_proj k_proj v_proj o_proj", "(heads2 dim)", width="width16~"),
            **MERGED,
            "relative_position_bias_table": "49 heads2",
        },
        SEE,
    ),
    "Swinv2": Row(
        "swinv2",
        PICTURES,
        WINDOWS,
        {
            "self.query": "(heads2 dim) width16~",
            "self.value": "(heads2 dim) width16~",
            "logit_scale": "heads2 1 1",
            "continuous_position_bias_mlp.2": "heads2 hidden512",
            "intermediate.dense": "ffn64 width16~",
            **MERGED,
        },
        SEE,
    ),
    "BEiT": Row(
        "beit",
        PICTURES,
        IMAGE | {"use_relative_position_bias": True},
        VIT | {"lambda_1": "width~", "relative_position_bias_table": "52 heads"},
        SEE,
    ),
    "DINOv2": Row(
        "dinov2",
        PICTURES,
        IMAGE | {"mlp_ratio": 2},
        VIT | mlp("fc1", "fc2", ffn="ffn128") | {"classifier": "2 (width~ + width~)"},
        SEE,
    ),
    "SegFormer": Row(
        "segformer",
        "ForSemanticSegmentation",
        {
            "num_encoder_blocks": 2,
            "depths": [1, 1],
            "sr_ratios": [2, 1],
            "hidden_sizes": [16, 32],
            "patch_sizes": [7, 3],
            "strides": [4, 2],
            "num_attention_heads": [2, 4],
            "mlp_ratios": [2, 2],
            "decoder_hidden_size": 24,
        },
        {
            "q_proj": "(heads2 dim) width16~",
            "o_proj": "width16~ (heads2 dim)",
            "fc1": "ffn32 width16~",
            "dwconv": "ffn32 1 3 3",
            "sequence_reduction": "width16~ width16~ 2 2",
            "1.patch_embeddings.proj": "width32~ width16~ 3 3",
            "linear_fuse": "fused24 (second24 + first24) 1 1",
            "linear_projections.0": "first24 width16~",
        },
        SEE,
    ),
    "PVT": Row(
        "pvt",
        PICTURES,
        {
            "image_size": 32,
            "hidden_sizes": [16, 20, 32, 48],
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 2, 4, 4],
            "mlp_ratios": [2, 2, 2, 2],
        },
        {
            "block.1.0.attention.self.query": "(heads2 dim10~) width20~",
            "block.1.0.attention.self.value": "(heads2 dim10~) width20~",
            "block.1.0.attention.output": "width20~ (heads2 dim10~)",
            "block.1.0.mlp.dense1": "ffn40 width20~",
            "patch_embeddings.1.projection": "width20~ width16~ 2 2",
        },
        SEE,
    ),
    "ConvNeXt": Row(
        "convnext",
        PICTURES,
        {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1]},
        {
            "dwconv": "width8~ 1 7 7",
            "pwconv1": "ffn32 width8~",
            "pwconv2": "width8~ ffn32",
            "stages.1.downsampling_layer.1": "width16~ width8~ 2 2",
        },
        SEE,
    ),
    "MobileViT": Row(
        "mobilevit",
        PICTURES,
        {
            "image_size": 32,
            "hidden_sizes": [16, 24, 32],
            "neck_hidden_sizes": [8, 8, 16, 24, 32, 32, 40],
        },
        {
            "layer.1.layer.0.expand_1x1": "wide32 stem8 1 1",
            "layer.1.layer.0.conv_3x3": "wide32 1 3 3",
            "attention.query": "(heads4 dim4~) width16~",
            "intermediate.dense": "ffn32 width16~",
            "layer.2.conv_projection": "back24 width16~ 1 1",
            "layer.2.fusion": "fused24 (local24 + back24) 3 3",
        },
        SEE,
    ),
    "CLIP": Row(
        "clip",
        "",
        {"text_config": TEXT, "vision_config": IMAGE, "projection_dim": 24},
        {
            "text_model.encoder.layers.0.self_attn.q_proj": "(heads dim) width~",
            "text_model.encoder.layers.0.mlp.fc1": "ffn width~",
            "vision_model.encoder.layers.0.self_attn.q_proj": "(eyes8 eye8) seen64~",
            "patch_embedding": "seen64~ 3 8 8",
            "text_projection": "joint24 width~",
            "visual_projection": "joint24 seen64~",
        },
        READ | SEE,
        "logits_per_image",
    ),
    "SigLIP": Row(
        "siglip",
        "",
        {"text_config": TEXT, "vision_config": IMAGE},
        {
            "text_model.encoder.layers.0.self_attn.q_proj": "(heads dim) width~",
            "text_model.head": "joint64~ width~",
            "vision_model.encoder.layers.0.self_attn.q_proj": "(eyes8 eye8) seen64~",
            "in_proj_weight": "((probes8 key8) + (probes8 key8) + (probes8 value8)) seen64~",
            "attention.out_proj": "joint64~ (probes8 value8)",
            "head.mlp.fc1": "ffn joint64~",
        },
        READ | SEE,
        "logits_per_image",
    ),
    "Whisper": Row(
        "whisper",
        "ForSpeechSeq2Seq",
        BART | {"num_mel_bins": 8, "max_source_positions": 16, "max_target_positions": 64},
        {
            **attention("q_proj k_proj v_proj out_proj", "(heads dim)"),
            **mlp("fc1", "fc2"),
            "encoder.conv1": "stem64 8 3",
            "encoder.conv2": "width~ stem64 3",
            "encoder_attn.q_proj": "(cross8 crossed8) written64~",
            "encoder_attn.k_proj": "(cross8 crossed8) width~",
            "decoder.layers.0.fc1": "after96 written64~",
        },
        MEL,
        "logits",
    ),
    "Wav2Vec2": Row(
        "wav2vec2", "ForCTC", SOUND, SOUNDS | {"conv_layers.1.conv": "mid20 first16 3"}, HEAR
    ),
    "Hubert": Row(
        "hubert",
        "ForCTC",
        SOUND | {"feat_extract_norm": "layer", "do_stable_layer_norm": True},
        SOUNDS | {"conv_layers.1.conv": "mid20~ first16~ 3"},
        HEAR,
    ),
    "Mamba": Row(
        "mamba",
        LM,
        SMALL | {"state_size": 4, "time_step_rank": 6},
        {
            "in_proj": "(inner128 + inner128) width~",
            "conv1d": "inner128 1 4",
            "x_proj": "(rank6 + state4 + state4) inner128",
            "dt_proj": "inner128 rank6",
            "A_log": "inner128 state4",
            "out_proj": "width~ inner128",
        },
    ),
    # modeling_mamba2.py:282 casts to float32
    "Mamba2": Row(
        "mamba2",
        LM,
        SMALL | {"state_size": 12, "num_heads": 8, "head_dim": 16, "n_groups": 2, "chunk_size": 4},
        {
            "A_log": "(groups2 rep~)",
            "conv1d": f"({MAMBA2} + (groups2 state12) + (groups2 state12)) 1 4",
            "in_proj": (
                f"({MAMBA2} + {MAMBA2} + (groups2 state12) + (groups2 state12) + (groups2 rep~)) "
                "width~"
            ),
            "out_proj": f"width~ {MAMBA2}",  # a norm over rep and dim
        },
        tolerance=1e-6,
    ),
    "RWKV": Row(
        "rwkv",
        LM,
        SMALL | {"intermediate_size": 96},
        {
            "attention.key": "width~ width~",  # config.hidden_size gives the state's size too
            "feed_forward.key": "ffn width~",
            "feed_forward.value": "width~ ffn",
        },
    ),
}
NAME = re.compile(r"[A-Za-z_][\w.#]*~?")


def asserted(spec: pt.Spec, layout: Mapping[str, str]) -> None:
    """That parameters have these layouts, up to the axes' names, and the axes the sizes and
    exactness that their words say.
    """
    words: dict[str, str] = {}
    found = {}
    for part, text in layout.items():
        own = " ".join(map(str, spec.layout[next(p for p in spec.layout if part in p)]))
        for axis, word in zip(NAME.findall(own), NAME.findall(text), strict=False):
            words.setdefault(axis, word)
        found[part] = NAME.sub(lambda axis: words.get(axis[0], axis[0]), own)
    assert found == layout
    assert len({w.rstrip("~") for w in words.values()}) == len(words), "two axes go by one word"
    for name, word in words.items():
        size = SIZES.get(word.rstrip("~")) or int(re.sub(r"\D", "", word))
        assert (spec.axes[name].size, spec.axes[name].exact) == (size, not word.endswith("~")), (
            word,
            spec.axes[name],
        )


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in ROWS])
def test_half_of_all_exact_axes_goes_and_the_function_stays(name: str) -> None:
    row = ROWS[name]
    spec = surveyed("transformers", name, row.build(), (), row.example(), tolerance=row.tolerance)
    asserted(spec, row.layout)


WRITERS = ("Llama", "Mistral", "Qwen2", "Gemma 2", "GPT-2", "Mixtral")


@pytest.mark.parametrize("fraction", [0.25, 0.5])
@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in WRITERS])
def test_masked_and_thinned_write_the_same_tokens_from_their_caches(
    name: str, fraction: float
) -> None:
    model = ROWS[name].build()
    params = pt.params_of(model)
    spec = pt.infer(model, params, input_ids=IDS)
    masks = random_masks(spec, fraction=fraction)
    thinned, config = pt.thin(params, spec, masks)
    both: Any = (
        pt.rebuild(model, pt.mask(params, spec, masks), {}).eval(),
        pt.rebuild(model, thinned, config).eval(),
    )
    wanted = {
        "min_new_tokens": 12,
        "max_new_tokens": 12,
        "no_repeat_ngram_size": 1,
        "do_sample": False,
        "use_cache": True,
    }
    told = {"return_dict_in_generate": True, "output_logits": True}
    masked, small = (
        m.generate(IDS, attention_mask=torch.ones_like(IDS), **wanted, **told) for m in both
    )
    assert masked.sequences.shape == (2, 9 + 12)
    assert torch.equal(masked.sequences, small.sequences)
    torch.testing.assert_close(
        torch.stack(masked.logits), torch.stack(small.logits), rtol=0, atol=1e-9
    )
    keys = [
        cache.layers[0].keys.numel() for cache in (masked.past_key_values, small.past_key_values)
    ]
    assert keys[1] <= (1 - fraction) * keys[0]


class Looked(Only):
    """The same after a look at values, which meta tensors refuse."""

    def forward(self, **inputs: Tensor) -> Tensor:
        torch.nonzero(self.model.get_output_embeddings().weight.sum(1))
        return super().forward(**inputs)


@pytest.mark.parametrize(
    "name", [pytest.param(name, id=name) for name in ("Llama", "StableLM", "GPT-2")]
)
def test_the_layout_is_the_same_on_meta_and_on_real_tensors(name: str) -> None:
    model = ROWS[name].build()
    meta, real = (
        pt.infer(m, pt.params_of(m), input_ids=IDS)
        for m in (Only(model, "logits"), Looked(model, "logits"))
    )
    assert not meta.notes
    assert [note.split(":")[0] for note in real.notes] == ["inferred on real tensors"]
    assert real.layout == meta.layout
    assert real.axes == meta.axes
