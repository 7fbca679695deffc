#!/usr/bin/env bash
# lightning 2.6.6: a submodule that is replaced while it trains does not train, without a word.
#
# `self.net = other` in a hook (`on_train_epoch_start`) is a plain way to change a network between
# epochs. The forward uses the new one, gradients are made, `optimizer.step()` runs; but the optimizer
# holds the old parameters, so nothing moves, and no warning says so.
#
# Seen (lightning 2.6.6, torch 2.14.1, CPython 3.11, Linux x86_64):
#     the new module has gradients: True
#     the new module moved in 3 epochs: False
#     warnings of the optimizer: 0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install torch==2.14.1 lightning==2.6.6 numpy
cd "$work"
CUDA_VISIBLE_DEVICES="" "$work/venv/bin/python" - <<'PY' 2>/dev/null
import copy
import sys
import warnings

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn


class Module(LightningModule):
    def __init__(self):
        super().__init__()
        self.net, self.gradients = nn.Linear(4, 2), False

    def training_step(self, batch, _):
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def on_train_epoch_start(self):
        if self.current_epoch == 1:
            self.net = nn.Linear(4, 2)
            self.fresh = copy.deepcopy(self.net.state_dict())

    def on_before_optimizer_step(self, optimizer):
        self.gradients = self.net.weight.grad is not None

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.5)


torch.manual_seed(0)
data = torch.utils.data.TensorDataset(torch.randn(16, 4), torch.arange(16) % 2)
module = Module()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    trainer = Trainer(max_epochs=4, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=8))
said = [w for w in caught if "optimizer" in str(w.message) or "parameter" in str(w.message)]
moved = any(not torch.equal(t, module.fresh[n]) for n, t in module.net.state_dict().items())
print("the new module has gradients:", module.gradients)
print("the new module moved in 3 epochs:", moved)
print("warnings of the optimizer:", len(said))
sys.exit(0 if (module.gradients, moved, len(said)) == (True, False, 0) else 1)
PY
