"""A Llama of transformers as a GGUF file, by gguf's own writer, and its logits by llama.cpp.

What a `llama` file says of widths is one number for all layers; under the name `deci`, whose layers
are computed alike, it is one for each layer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from runtimes import package
from torch import Tensor, nn

LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}

Q4_0, Q4_K_M = 2, 15
"""File types by llama.cpp's numbers."""


def write(file: Path, model: Any, kind: str = "llama") -> None:
    """The file of a LlamaForCausalLM, in float32, without a vocabulary; `kind` is llama or deci.

    Raises:
        ValueError: a `llama` whose layers have different widths.
    """
    config, layers = model.config, model.model.layers
    width = config.head_dim
    many: dict[str, list[int]] = {
        "head_count": [layer.self_attn.q_proj.weight.shape[0] // width for layer in layers],
        "head_count_kv": [layer.self_attn.k_proj.weight.shape[0] // width for layer in layers],
        "feed_forward_length": [layer.mlp.gate_proj.weight.shape[0] for layer in layers],
    }
    writer = package("gguf").GGUFWriter(file, kind)
    for name, values in many.items():
        if kind == "llama" and len({*values}) > 1:
            raise ValueError(f"{name} of a llama is one number for all layers, not {values}")
        getattr(writer, f"add_{name}")(values if kind == "deci" else values[0])
    writer.add_block_count(len(layers))
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(model.model.embed_tokens.weight.shape[1])
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("none")
    for name, tensor in tensors(model, width).items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def tensors(model: Any, width: int) -> dict[str, np.ndarray[Any, Any]]:
    """The tensors under llama.cpp's names; queries and keys turn their pairs side by side."""
    found = {"token_embd.weight": model.model.embed_tokens, "output_norm.weight": model.model.norm}
    found["output.weight"] = model.lm_head
    for i, layer in enumerate(model.model.layers):
        for path, name in LAYER.items():
            found[f"blk.{i}.{name}.weight"] = layer.get_submodule(path)

    def value(name: str, layer: nn.Module) -> Tensor:
        weight: Any = layer.weight
        if ".attn_q." in name or ".attn_k." in name:
            return (
                weight.view(-1, 2, width // 2, weight.shape[1]).transpose(1, 2).reshape_as(weight)
            )
        return weight

    return {n: value(n, layer).detach().contiguous().numpy() for n, layer in found.items()}


def logits(file: Path, tokens: list[int]) -> Tensor:
    """What llama.cpp computes after the last of these tokens.

    Raises:
        Exception: llama.cpp cannot load the file.
    """
    native = package("cyllama.llama.llama_cpp")
    native.disable_logging()

    class Model(native.LlamaModel):
        """With what `get_logits` asks of it, and cyllama 0.2.18 has not."""

        @property
        def n_vocab(self) -> int:
            return self.get_vocab().n_vocab

    params = native.LlamaContextParams()
    # by default keys and values are float16, in its cache and its fused attention; torch's are not
    params.flash_attn_type, params.type_k, params.type_v = 0, 0, 0
    context = native.LlamaContext(Model(str(file)), params)
    batch = native.LlamaBatch(n_tokens=len(tokens), embd=0, n_seq_max=1)
    batch.set_batch(tokens, n_past=0, logits_all=False)
    context.decode(batch)
    return torch.tensor(context.get_logits())


def quantize(file: Path, made: Path, kind: int) -> dict[str, str]:
    """The types of the tensors in the file that llama.cpp quantizes.

    Raises:
        RuntimeError: llama.cpp refuses it.
    """
    native = package("cyllama.llama.llama_cpp")
    native.disable_logging()
    params = native.LlamaModelQuantizeParams()
    params.ftype = kind
    native.model_quantize(str(file), str(made), params)
    return {t.name: t.tensor_type.name for t in package("gguf").GGUFReader(made).tensors}
