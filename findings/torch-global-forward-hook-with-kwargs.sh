#!/usr/bin/env bash
# torch 2.14.1: a global forward hook registered with `with_kwargs=True` is not gone after `remove()`.
#
# `torch.nn.modules.module.register_module_forward_hook(f, with_kwargs=True)` returns a handle. Its
# `remove()` takes the hook itself away, but the note that it wants keyword arguments stays in
# `_global_forward_hooks_with_kwargs`. `torch.compile` looks at that dict too, so every later compilation
# in the process warns that global hooks are there. The same call without `with_kwargs`, and a
# module's own `register_forward_hook(f, with_kwargs=True)`, leave nothing.
#
# Seen (torch 2.14.1, CPython 3.11, Linux x86_64):
#     global hook:                    0 hooks, 0 notes left
#     a module's, with_kwargs=True:   0 hooks, 0 notes left
#     global hook, with_kwargs=True:  0 hooks, 1 notes left
#     warnings of torch.compile: 1
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install torch==2.14.1 numpy
"$work/venv/bin/python" - <<'PY'
import sys
import warnings

import torch
from torch import nn
from torch.nn.modules import module as hooks


def hook(module, args, kwargs, output):
    return None


def left(name, handle, found, notes):
    handle.remove()
    print(f"{name + ':':32}{len(found)} hooks, {len(notes)} notes left")
    return len(found), len(notes)


net = nn.Linear(2, 2)
register, everywhere = hooks.register_module_forward_hook, hooks._global_forward_hooks
notes = hooks._global_forward_hooks_with_kwargs
plain = left("global hook", register(hook), everywhere, notes)
own = left(
    "a module's, with_kwargs=True",
    net.register_forward_hook(hook, with_kwargs=True),
    net._forward_hooks,
    net._forward_hooks_with_kwargs,
)
keyed = left("global hook, with_kwargs=True", register(hook, with_kwargs=True), everywhere, notes)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    torch.compile(net, backend="eager")(torch.ones(1, 2))
warned = [str(w.message) for w in caught if "global hooks" in str(w.message)]
print("warnings of torch.compile:", len(warned))
sys.exit(0 if (plain, own, keyed) == ((0, 0), (0, 0), (0, 1)) and warned else 1)
PY
