#!/usr/bin/env bash
# transformers 5.24.0: LlamaConfig refuses heads that do not divide hidden_size though head_dim is given.
#
# With `head_dim` set, `LlamaForCausalLM` makes its projections of heads × head_dim rows, and any number of
# heads works. `LlamaConfig` still refuses 6 heads of a hidden size of 64, when it is made and when it is
# saved, but not when the number is assigned: a network that runs cannot be written. MistralConfig and
# Qwen3Config take the same numbers.
#
# Seen (transformers 5.24.0, CPython 3.11, Linux x86_64):
#     LlamaConfig: made: refused, assigned: taken, saved: refused
#     MistralConfig: made: taken, assigned: taken, saved: taken
#     Qwen3Config: made: taken, assigned: taken, saved: taken
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install transformers==5.24.0
cd "$work"
"$work/venv/bin/python" - <<'PY' 2>/dev/null
import sys

import transformers


def outcome(work):
    try:
        work()
    except Exception:
        return "refused"
    return "taken"


def seen(name):
    kind = getattr(transformers, name)
    sizes = {"hidden_size": 64, "head_dim": 8, "num_key_value_heads": 2}
    config = kind(**sizes, num_attention_heads=8)
    made = outcome(lambda: kind(**sizes, num_attention_heads=6))
    assigned = outcome(lambda: setattr(config, "num_attention_heads", 6))
    saved = outcome(lambda: config.save_pretrained("saved"))
    print(f"{name}: made: {made}, assigned: {assigned}, saved: {saved}")
    return made, assigned, saved


llama = seen("LlamaConfig")
others = {seen("MistralConfig"), seen("Qwen3Config")}
sys.exit(0 if llama == ("refused", "taken", "refused") and others == {("taken",) * 3} else 1)
PY
