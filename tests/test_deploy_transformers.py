"""Survey: thinned networks of Hugging Face's transformers, saved and loaded by their own means.
Run by `pytest -m survey`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch

import purethin as pt

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.survey

TOKENS = {"vocab_size": 60, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
BERT = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "intermediate_size": 96,
}
LLAMA = {**TOKENS, **BERT, "num_key_value_heads": 4}
GPT2 = {**TOKENS, "n_embd": 64, "n_layer": 2, "n_head": 8, "n_positions": 64}
T5 = {
    "vocab_size": 60,
    "d_model": 64,
    "d_kv": 12,
    "d_ff": 96,
    "num_layers": 2,
    "num_heads": 8,
    "decoder_start_token_id": 0,
}
WHISPER = {
    **TOKENS,
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 8,
    "decoder_attention_heads": 8,
    "encoder_ffn_dim": 96,
    "decoder_ffn_dim": 80,
    "max_source_positions": 16,
    "max_target_positions": 64,
    "num_mel_bins": 8,
    "decoder_start_token_id": 1,
}
IDS = torch.arange(3, 21).view(2, 9)
READ: dict[str, Any] = {"input_ids": IDS}
SEE = {"pixel_values": torch.linspace(0, 1, 2 * 3 * 32 * 32).view(2, 3, 32, 32)}
WRITE = {"input_ids": IDS, "decoder_input_ids": IDS[:, :5]}
HEAR = {"input_features": torch.linspace(0, 1, 2 * 8 * 32).view(2, 8, 32), "decoder_input_ids": IDS}

Changed = dict[str, tuple[int | None, int]]

ROWS: list[tuple[str, dict[str, Any], dict[str, Any], tuple[str, ...], Changed]] = [
    (
        "BertForSequenceClassification",
        {**TOKENS, **BERT},
        READ,
        ("*.intermediate.dense",),
        {"intermediate_size": (96, 48)},
    ),
    (
        "LlamaForCausalLM",
        LLAMA,
        READ,
        ("*.gate_proj", "*.q_proj.heads"),
        {
            "intermediate_size": (96, 48),
            "num_attention_heads": (8, 4),
            "num_key_value_heads": (4, 2),
        },
    ),
    (
        "Qwen3ForCausalLM",
        {**LLAMA, "head_dim": 12},
        READ,
        ("*.gate_proj", "*.q_proj.rep"),
        {"intermediate_size": (96, 48), "num_attention_heads": (8, 4)},
    ),
    (
        "ViTForImageClassification",
        {**BERT, "image_size": 32, "patch_size": 8},
        SEE,
        ("*.mlp.fc1",),
        {"intermediate_size": (96, 48)},
    ),
    ("GPT2LMHeadModel", GPT2, READ, ("*.c_fc",), {"n_inner": (None, 128)}),
    (
        "T5ForConditionalGeneration",
        T5,
        WRITE,
        ("all",),
        {"d_kv": (12, 6), "d_ff": (96, 48), "num_heads": (8, 4)},
    ),
    (
        "WhisperForConditionalGeneration",
        WHISPER,
        HEAR,
        ("*.fc1",),
        {"encoder_ffn_dim": (96, 48), "decoder_ffn_dim": (80, 40)},
    ),
]


def traced(
    name: str, config: dict[str, Any], inputs: dict[str, Any]
) -> tuple[Any, dict[str, torch.Tensor], pt.Spec]:
    """A network of random weights, its parameters and its spec."""
    kind = getattr(transformers, name)
    torch.manual_seed(0)
    model = kind(kind.config_class(**config)).eval()
    params = pt.params_of(model)
    return model, params, pt.infer(model, params, **inputs)


@pytest.mark.parametrize(("name", "config", "inputs", "axes", "changed"), ROWS)
def test_a_network_of_uniform_widths_is_saved_and_loaded_by_its_own_library(
    name: str,
    config: dict[str, Any],
    inputs: dict[str, Any],
    axes: tuple[str, ...],
    changed: Changed,
    tmp_path: Path,
) -> None:
    model, params, spec = traced(name, config, inputs)
    halves = {n: torch.arange(spec.sizes[n]) < spec.sizes[n] // 2 for n in pt.find(spec, axes)}
    small: Any = pt.rebuild(model, *pt.thin(params, spec, halves))
    synced: Any
    synced, report = pt.sync_config(model, small, **inputs)
    assert (report.changed, report.left, report.difference) == (changed, (), 0.0)
    synced.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path).eval()
    want, found = small(**inputs).logits, loaded(**inputs).logits
    assert torch.equal(want, found)
    assert not torch.equal(want, model(**inputs).logits)


def test_what_a_config_class_refuses_is_said() -> None:
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA)).eval()
    params = pt.params_of(model)
    spec = pt.infer(model, params, **READ)
    axes = pt.find(spec, "*.q_proj.heads")
    masks = {n: torch.arange(4) < 3 for n in axes}
    small = pt.rebuild(model, *pt.thin(params, spec, masks))
    _, report = pt.sync_config(model, small, **READ)
    assert report.changed == {"num_attention_heads": (8, 6), "num_key_value_heads": (4, 3)}
    (left,) = report.left
    assert "LlamaConfig refuses" in left and "not a multiple" in left


SMALL = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6}
SIX = {**SMALL, "intermediate_size": 100}
GROUPED = {**TOKENS, **SIX, "num_key_value_heads": 2, "head_dim": 10}
DISTIL = {"vocab_size": 60, "dim": 48, "n_layers": 2, "n_heads": 6, "hidden_dim": 100}
HEARD = {**WHISPER, "d_model": 48, "encoder_attention_heads": 6, "decoder_attention_heads": 6}
SWIN = {
    "image_size": 32,
    "patch_size": 4,
    "embed_dim": 24,
    "depths": [1, 1],
    "num_heads": [3, 6],
    "window_size": 4,
}
STALE: list[tuple[str, dict[str, Any], dict[str, Any], set[str]]] = [
    ("BertModel", {**TOKENS, **SIX}, READ, {"num_attention_heads 6→3", "all_head_size 48→12?"}),
    ("RobertaModel", {**TOKENS, **SIX}, READ, {"num_attention_heads 6→3", "all_head_size 48→12?"}),
    ("DistilBertModel", DISTIL, READ, {"n_heads 6→3", "dim 48→12?"}),
    ("ViTModel", {**SIX, "image_size": 32, "patch_size": 8}, SEE, {"num_attention_heads 6→3"}),
    ("LlamaModel", GROUPED, READ, {"num_key_value_groups 3→1"}),
    ("Qwen3Model", GROUPED, READ, {"num_key_value_groups 3→1"}),
    (
        "GPT2Model",
        {**GPT2, "n_embd": 48, "n_head": 6},
        READ,
        {"num_heads 6→3", "embed_dim 48→12?", "nx 48→12"},
    ),
    (
        "T5ForConditionalGeneration",
        {**T5, "d_model": 48, "num_heads": 6, "d_kv": 10},
        WRITE,
        {"n_heads 6→3", "inner_dim 60→15"},
    ),
    ("WhisperForConditionalGeneration", HEARD, HEAR, {"embed_dim 48→12?"}),
    ("SwinModel", SWIN, SEE, {"num_attention_heads 3→1", "num_attention_heads 6→3"}),
]
"""What stays: `?` where a width of as many units stays too. Whisper's forward reads its heads."""


@pytest.mark.parametrize(("name", "config", "inputs", "stays"), STALE)
def test_integers_of_attention_that_stay_are_listed(
    name: str, config: dict[str, Any], inputs: dict[str, Any], stays: set[str]
) -> None:
    model, params, spec = traced(name, config, inputs)
    parts = ("head", "rep", "attn", "attention", "Attention")
    masks = {
        n: torch.arange(spec.sizes[n]) < max(1, spec.sizes[n] // 2)
        for n in spec.exact
        if any(part in n for part in parts)
    }
    report = pt.check(model, params, spec, masks, **inputs)
    said = r"(?:.*\.)?(\w+) stays (\d+), but .* had \d+ units and has (\d+)(, another)?"
    found = [re.match(said, line) for line in report.unsaid]
    assert report.ok and {f"{m[1]} {m[2]}→{m[3]}{'?' if m[4] else ''}" for m in found if m} == stays
