#!/usr/bin/env bash
# transformers 5.24.0: a model that is put into `trainer.model` while it trains is not trained, and is
# what `save_model` writes.
#
# The loop holds the module that it was started with. A callback that sets `trainer.model` (and
# `trainer.model_wrapped`) to another module changes nothing of the training, and nothing is said: the
# old module goes on training, the new one stays as it is to the last bit, and both evaluation
# and `save_model` then use the untouched one.
#
# Seen (transformers 5.24.0, accelerate 1.15.0, torch 2.14.1, CPython 3.11, Linux x86_64):
#     the old module moved after it was replaced: True
#     the new module moved: False
#     save_model wrote the new one: True
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install torch==2.14.1 transformers==5.24.0 accelerate==1.15.0 numpy
cd "$work"
CUDA_VISIBLE_DEVICES="" "$work/venv/bin/python" - <<'PY' 2>/dev/null | tail -n 3
import copy
import sys

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x, labels):
        out = self.layer(x)
        return {"loss": nn.functional.cross_entropy(out, labels), "logits": out}


class Replace(TrainerCallback):
    def on_epoch_begin(self, args, state, control, **held):
        if state.epoch == 1:
            self.old = held["model"]
            self.before = copy.deepcopy(self.old.state_dict())
            self.new = Net()
            self.fresh = copy.deepcopy(self.new.state_dict())
            self.trainer.model = self.trainer.model_wrapped = self.new


torch.manual_seed(0)
data = [{"x": torch.randn(4), "labels": torch.tensor(i % 2)} for i in range(16)]
args = TrainingArguments("out", num_train_epochs=3, learning_rate=0.1, use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True)
replace = Replace()
trainer = Trainer(Net(), args, train_dataset=data, callbacks=[replace])
replace.trainer = trainer
trainer.train()
trainer.save_model("out")


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in other)


moved = not same(replace.old.state_dict(), replace.before)
new = not same(replace.new.state_dict(), replace.fresh)
wrote = same(load_file("out/model.safetensors"), replace.fresh)
print("the old module moved after it was replaced:", moved)
print("the new module moved:", new)
print("save_model wrote the new one:", wrote)
sys.exit(0 if (moved, new, wrote) == (True, False, True) else 1)
PY
