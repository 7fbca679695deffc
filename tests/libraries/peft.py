"""peft: adapters over a Llama, some beside it, some within its weights."""

from __future__ import annotations

from functools import partial
from typing import Any

from libraries import Call, Lazy, Models, Row, ids, row

peft = Lazy("peft")
transformers = Lazy("transformers")
SIZES: dict[str, Any] = {
    "vocab_size": 20,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
}
TO = {"target_modules": ["q_proj", "v_proj", "down_proj"]}


def adapted(kind: str, **options: Any) -> Row:
    """A Llama with an adapter, its cache left out."""
    config = transformers.LlamaConfig(**SIZES, use_cache=False)
    model = transformers.AutoModelForCausalLM.from_config(config)
    options = {"task_type": "CAUSAL_LM", **options}
    model = peft.get_peft_model(model, getattr(peft, kind)(**options))
    return row(Call(model, "forward", lambda y: y.logits), input_ids=ids(2, 5))


MODELS: Models = {
    "prompt tuning": partial(adapted, "PromptTuningConfig", num_virtual_tokens=3),
    "prefix tuning": partial(adapted, "PrefixTuningConfig", num_virtual_tokens=3),
    "p-tuning": partial(
        adapted, "PromptEncoderConfig", num_virtual_tokens=3, encoder_hidden_size=12
    ),
    "LoRA": partial(adapted, "LoraConfig", r=4, **TO),
    "LoRA, rank-stabilised": partial(adapted, "LoraConfig", r=4, use_rslora=True, **TO),
    "DoRA": partial(adapted, "LoraConfig", r=4, use_dora=True, **TO),
    "LoKr": partial(adapted, "LoKrConfig", r=2, **TO),
    "LoHa": partial(adapted, "LoHaConfig", r=2, **TO),
    "AdaLoRA": partial(adapted, "AdaLoraConfig", init_r=4, target_r=2, total_step=10, **TO),
    "IA3": partial(
        adapted,
        "IA3Config",
        target_modules=["k_proj", "v_proj", "down_proj"],
        feedforward_modules=["down_proj"],
    ),
    "OFT": partial(adapted, "OFTConfig", oft_block_size=4, **TO),
    "VeRA": partial(adapted, "VeraConfig", r=4, target_modules=["q_proj", "o_proj"]),
    "FourierFT": partial(adapted, "FourierFTConfig", n_frequency=8, **TO),
    "LN tuning": partial(adapted, "LNTuningConfig"),
}
