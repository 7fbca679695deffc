"""What `torchrun` runs in test_distributed.py: cases of one small training; each process writes
what it ended with.

torchrun --nproc-per-node=2 tests/support/distributed_job.py cases.json folder
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn import functional as F
from torch.optim import SGD, AdamW, Optimizer
from trainers import trainer_of

import purethin as pt
from purethin.training.distributed import ddp
from purethin.training.network import Engine
from purethin.training.sharded import fully_sharded

RECIPE = """
pruners:
  inner:
    class: L1RankedStructureParameterPruner_AGP
    initial_sparsity: 0.2
    final_sparsity: 0.5
    group_type: Rows
    weights: [blocks.0.up.weight, blocks.1.up.weight]
extensions: {thinner: {class: FilterRemover}}
policies:
  - {pruner: {instance_name: inner}, starting_epoch: 1, ending_epoch: 4, frequency: 1}
  - {extension: {instance_name: thinner}, epochs: [2, 3]}
"""


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(8), nn.Linear(8, 12), nn.Linear(12, 8)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.relu(self.up(self.norm(x))))


class Net(nn.Module):
    """Two residual blocks; without batch norm, a batch in two parts is the same batch."""

    def __init__(self, batch_norm: bool = False) -> None:
        super().__init__()
        self.stem, self.blocks, self.head = (
            nn.Linear(6, 8),
            nn.ModuleList([Block(), Block()]),
            nn.Linear(8, 3),
        )
        self.norm = nn.BatchNorm1d(8) if batch_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class Unsized:
    """A process's part of global batches of 8, in an order that a generator of its own draws."""

    def __init__(self, rank: int, count: int, batches: int) -> None:
        state = torch.Generator().manual_seed(1)
        self.rank, self.count = rank, count
        self.x = torch.randn(batches, 8, 6, generator=state, dtype=torch.float64)
        self.y = self.x.mean(2).gt(0).long() + self.x[..., 0].gt(0.5).long()
        self.generator = torch.Generator().manual_seed(2)

    def __iter__(self) -> Any:
        for i in torch.randperm(len(self.x), generator=self.generator).tolist():
            yield self.x[i, self.rank :: self.count], self.y[i, self.rank :: self.count]


class Shuffled(Unsized):
    def __len__(self) -> int:
        return len(self.x)


OPTIMIZERS: dict[str, Callable[[Sequence[Tensor]], Optimizer]] = {
    "SGD": lambda params: SGD(params, lr=0.1, momentum=0.9, weight_decay=1e-3),
    "AdamW": lambda params: AdamW(params, lr=1e-2, amsgrad=True),
}


def run(case: dict[str, Any], engine: Engine | None, rank: int, count: int) -> dict[str, Any]:
    """Train as a case says: with the trainer's options, and the keys that are taken out here."""
    case = dict(case)
    optimizer, epochs, resume = (
        case.pop("optimizer", "SGD"),
        case.pop("epochs", 5),
        case.pop("resume", False),
    )
    recipes = case.pop("recipes", [RECIPE])  # by rank, the last for the others
    batches, unsized = case.pop("batches", [6]), case.pop("unsized", False)  # so too
    torch.manual_seed(rank)  # process 0's weights are taken
    network = Net(case.pop("batch_norm", False)).double()
    if case.pop("tied", False):
        network.blocks[1].up = network.blocks[0].up
    kill = case.pop("kill", None)  # [rank, step]
    if case.pop("compiled", False):
        case["compile"] = partial(torch.compile, backend="eager")

    def loss_fn(outputs: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
        if kill == [rank, t.step]:
            os.kill(os.getpid(), signal.SIGKILL)
        return F.cross_entropy(outputs, batch[1])

    t = trainer_of(
        network,
        pt.load_recipe(recipes[min(rank, len(recipes) - 1)]),
        loss_fn,
        OPTIMIZERS[optimizer],
        torch.zeros(1, 6, dtype=torch.float64),
        engine=engine,
        callbacks=[{"epoch": lambda moment: told.append(moment.epoch)}],
        **case,
    )
    resumed = resume and t.resume()
    loader = (Unsized if unsized else Shuffled)(rank, count, batches[min(rank, len(batches) - 1)])
    draws: list[float] = []
    told: list[int] = []

    def validate(model: nn.Module) -> float:
        draws.append(float(torch.rand(())))  # from the process's own generator
        with torch.no_grad():
            return float(F.cross_entropy(model(loader.x[0]), loader.y[0]))

    t.fit(loader, epochs - t.epoch, validate)
    whole = t.model().state_dict()
    return {
        "losses": [record.loss for record in t.history],
        "metrics": [record.metric for record in t.history],
        "masks": {name: mask.int().tolist() for name, mask in t.masks.items()},
        "shapes": {name: list(tensor.shape) for name, tensor in t.params.items()},
        "params": {name: tensor.double().flatten().tolist() for name, tensor in whole.items()},
        "average": [
            float(tensor.double().sum()) for tensor in t.model(ema=True).state_dict().values()
        ]
        if case.get("ema")
        else [],
        "local": {
            name: tensor.to_local().numel()
            for name, tensor in t.params.items()
            if isinstance(tensor, DTensor)
        },
        "draws": draws,
        "told": told,
        "resumed": resumed,
        "class": type(t.model()).__name__,
    }


def main() -> None:
    torch.set_num_threads(1)
    cases = json.loads(Path(sys.argv[1]).read_text())
    for number, case in enumerate(cases):
        units = (Block,) if case.pop("units", True) else ()
        replicas = case.pop("replicas", 1)
        fsdp = case.pop("engine") == "sharded"
        engine: Engine = (
            fully_sharded(wrap=units, replicas=replicas, timeout=60) if fsdp else ddp(timeout=60)
        )
        rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        try:
            found = run(case, engine, rank, count)
        except pt.PurethinError as error:
            found = {"error": str(error)}
        Path(sys.argv[2], f"{number}-{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
