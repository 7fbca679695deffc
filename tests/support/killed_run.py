"""A training that dies again and again: `python killed_run.py FOLDER KILLS` forks it, kills it at
random, and lets it go on.

Prints the digest of the last state of an uninterrupted run, that of the killed one, and how many
kills fell where. Forks rather than starts anew, so that a kill costs no import.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy
import torch
from test_train import RECIPE, Net, loss_fn
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from trainers import trainer_of

import purethin as pt
from purethin.training import checkpoint
from purethin.tree import named

EPOCHS = 12


class Dropping(Net):
    """Draws from torch's generator in each forward."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(x, 0.1, self.training))


class Noisy:
    """Shuffled by a generator of its own; noise from torch, Python and NumPy."""

    def __init__(self) -> None:
        state = torch.Generator().manual_seed(1)
        images = torch.randn(48, 3, 6, 6, generator=state)
        own = torch.Generator().manual_seed(2)
        self.batches = DataLoader(
            TensorDataset(images, images.mean((2, 3)).argmax(1)), 8, shuffle=True, generator=own
        )
        self.sampler = self.batches.sampler

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for x, y in self.batches:
            yield x + 0.01 * torch.randn_like(x) * random.random() * float(numpy.random.rand()), y


def run(folder: Path, told: int | None = None) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    random.seed(0)
    numpy.random.seed(0)

    def tell(moment: object) -> None:
        if told is not None:
            os.write(told, b".")

    trainer = trainer_of(
        Dropping(),
        pt.load_recipe(RECIPE),
        loss_fn,
        lambda params: torch.optim.AdamW(params, lr=3e-3, amsgrad=True),
        torch.zeros(1, 3, 6, 6),
        thin="now",
        ema=0.9,
        accumulate=2,
        clip_norm=1.0,
        folder=folder,
        callbacks=[{"save": tell}],
    )
    trainer.resume()
    trainer.fit(Noisy(), EPOCHS - trainer.epoch)


def digest(folder: Path) -> str:
    """Of all tensors and plain data of the last state; wall times aside."""
    state = checkpoint.read(folder)
    assert state is not None
    assert state["epoch"] == EPOCHS
    for record in state["history"]:
        del record["seconds"]
    out = hashlib.sha256()
    for name, leaf in named(state).items():
        tensor = isinstance(leaf, Tensor)
        values = bytes(leaf.flatten().view(torch.uint8).tolist()) if tensor else repr(leaf).encode()
        out.update(name.encode() + values)
    return out.hexdigest()


def main() -> None:
    folder, kills = Path(sys.argv[1]), int(sys.argv[2])
    chance = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 0)
    start = time.perf_counter()
    if (child := os.fork()) == 0:
        run(folder / "whole")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    whole = time.perf_counter() - start
    done, lost, ends = 0, 0, 0
    while done < kills:
        hear, told = os.pipe()
        if (child := os.fork()) == 0:
            run(folder / "killed", told)
            os._exit(0)
        os.close(told)
        time.sleep(chance.uniform(0.0, 0.5 * whole))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        saved = len(os.read(hear, 1 << 16))
        os.close(hear)
        before = lost
        state = checkpoint.read(folder / "killed")
        lost = 0 if state is None else state["epoch"]
        assert lost >= before + saved, (
            f"epoch {before} and {saved} more were saved, epoch {lost} is there"
        )
        done += 1
        if lost == EPOCHS:  # over before all kills: once more from the start
            ends += 1
            assert digest(folder / "killed") == digest(folder / "whole")
            for file in (folder / "killed").iterdir():
                file.unlink()
            lost = 0
    if (child := os.fork()) == 0:
        run(folder / "killed")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    print(digest(folder / "whole"), digest(folder / "killed"), done, ends)


if __name__ == "__main__":
    main()
