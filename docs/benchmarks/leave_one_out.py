"""`leave_one_out` of all units of ResNet-20 beside a loop over masks, on one thread, both in this
run.

The loop tries every fourth unit, and its time is counted four times.
"""

from __future__ import annotations

import sys
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

import purethin as pt

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
from resnet_cifar import resnet20

SKIP = 4


def main() -> None:
    """One row for each number of images."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = resnet20().eval()
    params = pt.params_of(model)
    spec = pt.infer(model, params, torch.rand(1, 3, 32, 32))

    def loss(params: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(model, params, (x,)), y)

    print("images  loop, s  leave_one_out, s  ratio  largest difference")
    for images in (1, 2, 8, 32):
        batch = torch.rand(images, 3, 32, 32), torch.arange(images) % 10
        with torch.no_grad():
            dense = loss(params, *batch)
            start, want = perf_counter(), {}
            for axis in spec.exact:
                units = range(0, spec.sizes[axis], SKIP)
                masks = [torch.arange(spec.sizes[axis]) != unit for unit in units]
                want[axis] = torch.stack(
                    [loss(pt.mask(params, spec, {axis: m}), *batch) - dense for m in masks]
                )
        loop = SKIP * (perf_counter() - start)
        start = perf_counter()
        got = pt.leave_one_out(loss, params, spec, [batch])
        own = perf_counter() - start
        far = max(float((got[axis][::SKIP] - want[axis]).abs().max()) for axis in want)
        print(f"{images:>6}  {loop:>7.1f}  {own:>16.2f}  {loop / own:>5.1f}  {far:.1e}")


if __name__ == "__main__":
    main()
