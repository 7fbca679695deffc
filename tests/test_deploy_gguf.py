"""Survey and nightly: thinned Llamas as GGUF files, read again by gguf and run by llama.cpp."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf_files
import pytest
import torch
from runtimes import package

import purethin as pt

IDS = torch.arange(3, 12)[None]


def imported(name: str) -> Any:
    pytest.importorskip(name.partition(".")[0])
    return package(name)


def llama(layers: int = 2, **sizes: int) -> Any:
    """A tiny Llama of 8 heads of 16 in 4 groups, with as many layers."""
    given = {"hidden_size": 64, "intermediate_size": 96, "head_dim": 16, **sizes}
    transformers = imported("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        **given,
        vocab_size=64,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=64,
        use_cache=False,
    )
    return transformers.LlamaForCausalLM(config).eval()


def thinned(model: Any, kept: dict[str, int]) -> Any:
    params = pt.params_of(model)
    spec = pt.infer(model, params, IDS)
    masks = {
        name: torch.arange(spec.sizes[name]) < n
        for text, n in kept.items()
        for name in pt.find(spec, text)
    }
    return pt.rebuild(model, *pt.thin(params, spec, masks)).eval()


UNIFORM = {"*.gate_proj": 48, "*.q_proj.heads": 2}
UNEVEN = {"*.0.mlp.gate_proj": 41, "*.1.*.heads": 3, "*.0.*.heads": 2, "*.0.*.rep": 1}


@pytest.mark.survey
def test_a_file_says_the_thinned_widths_and_holds_the_thinned_tensors(tmp_path: Path) -> None:
    gguf, model = imported("gguf"), llama()
    small, report = pt.sync_config(model, thinned(model, UNIFORM), IDS)
    assert report.complete
    gguf_files.write(tmp_path / "a.gguf", small)
    reader = gguf.GGUFReader(tmp_path / "a.gguf")
    assert reader.fields["llama.feed_forward_length"].contents() == 48
    assert reader.fields["llama.attention.head_count"].contents() == 4
    assert reader.fields["llama.attention.head_count_kv"].contents() == 2
    held = {t.name: torch.from_numpy(t.data.copy()) for t in reader.tensors}
    layers: Any = small.get_submodule("model.layers")
    for i, layer in enumerate(layers):
        assert torch.equal(held[f"blk.{i}.ffn_down.weight"], layer.mlp.down_proj.weight)
        assert held[f"blk.{i}.attn_q.weight"].shape == layer.self_attn.q_proj.weight.shape
    with pytest.raises(ValueError, match="one number for all layers"):
        gguf_files.write(tmp_path / "b.gguf", thinned(model, UNEVEN))


@pytest.mark.nightly
@pytest.mark.parametrize(("kind", "kept"), [("llama", UNIFORM), ("deci", UNEVEN)])
def test_llama_cpp_computes_what_torch_does(
    kind: str, kept: dict[str, int], tmp_path: Path
) -> None:
    imported("cyllama")
    imported("gguf")
    small = thinned(llama(), kept)
    gguf_files.write(tmp_path / "a.gguf", small, kind)
    want = small(IDS).logits[0, -1].detach()
    found = gguf_files.logits(tmp_path / "a.gguf", IDS[0].tolist())
    assert float((found - want).abs().max() / want.abs().max()) <= 1e-5


@pytest.mark.nightly
def test_llama_cpp_quantizes_rows_of_whole_blocks_and_widens_others(tmp_path: Path) -> None:
    imported("cyllama")
    imported("gguf")
    kinds, sizes = dict[int, str](), dict[int, int]()
    for width in (512, 511, 480, 256):
        file, made = tmp_path / f"{width}.gguf", tmp_path / f"{width}.q.gguf"
        gguf_files.write(file, llama(1, hidden_size=256, intermediate_size=width))
        kinds[width] = gguf_files.quantize(file, made, gguf_files.Q4_K_M)["blk.0.ffn_down.weight"]
        sizes[width] = made.stat().st_size
    assert kinds == {512: "Q6_K", 511: "F16", 480: "Q8_0", 256: "Q6_K"}
    assert sizes[511] > sizes[480] > sizes[512] > sizes[256]
    made = tmp_path / "q.gguf"
    fits = gguf_files.quantize(tmp_path / "480.gguf", made, gguf_files.Q4_0)
    assert fits["blk.0.ffn_down.weight"] == "Q4_0"
    with pytest.raises(RuntimeError, match="quantize failed"):
        gguf_files.quantize(tmp_path / "511.gguf", made, gguf_files.Q4_0)


@pytest.mark.survey
def test_gguf_takes_rows_of_whole_blocks() -> None:
    quants, constants = imported("gguf.quants"), imported("gguf.constants")
    kinds = constants.GGMLQuantizationType
    for kind, width, fits in (
        (kinds.Q4_0, 1504, True),
        (kinds.Q4_0, 1503, False),
        (kinds.Q8_0, 1504, True),
        (kinds.Q4_K, 1504, False),
    ):
        rows = torch.rand(2, width).numpy()
        if fits:
            quants.quantize(rows, kind)
        else:
            with pytest.raises(quants.QuantError, match="Can't quantize"):
                quants.quantize(rows, kind)
