"""`leave_one_out` of all units of ResNet-20 beside a loop over masks, on one thread, both in this
run.

    python docs/benchmarks/leave_one_out.py [--images 1 2 8 32]

The loop tries every fourth unit, and its time is counted four times; times are the processor's.
Both compute in float32, so their losses differ by some units of the last place of the loss, or by
none where torch takes the same kernels for a batch as for a chunk of batches: that is rounding, and
says nothing of the masks. Far from zero is what they agree on, the largest change.

The last line is the limit where arithmetic takes all the time, as for many images: the MACs of the
loop, part of those of `leave_one_out`, which computes once what lies before a unit. What is above
it is what a loop of small calls costs besides.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import purethin as pt
from purethin.table import Table

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
from resnet_cifar import resnet20

SKIP = 4


def flops(run: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return counter.get_total_flops()


def main() -> None:
    """One row for each number of images."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, nargs="+", default=[1, 2, 8, 32])
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = resnet20().eval()
    params = pt.params_of(model)
    spec = pt.infer(model, params, torch.rand(1, 3, 32, 32))

    def loss(params: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(model, params, (x,)), y)

    rows = []
    for images in args.images:
        batch = torch.rand(images, 3, 32, 32), torch.arange(images) % 10
        with torch.no_grad():
            dense = loss(params, *batch)
            start, want = process_time(), {}
            for axis in spec.exact:
                units = range(0, spec.sizes[axis], SKIP)
                masks = [torch.arange(spec.sizes[axis]) != unit for unit in units]
                want[axis] = torch.stack(
                    [loss(pt.mask(params, spec, {axis: m}), *batch) - dense for m in masks]
                )
        loop = SKIP * (process_time() - start)
        start = process_time()
        got = pt.leave_one_out(loss, params, spec, [batch])
        own = process_time() - start
        apart = max(float((got[axis][::SKIP] - want[axis]).abs().max()) for axis in want)
        places = apart / float(torch.finfo(dense.dtype).eps * dense)
        largest = max(float(got[axis].abs().max()) for axis in want)
        times = (f"{loop:.1f}", f"{own:.2f}", f"{loop / own:.1f}")
        rows.append((str(images), *times, f"{places:.1f}", f"{largest:.2f}"))
    head = ("images", "loop, s", "leave_one_out, s", "ratio", "last places apart", "largest change")
    print(Table(head, rows, numbers=range(6)))
    one = torch.rand(1, 3, 32, 32), torch.zeros(1, dtype=torch.long)
    units = sum(spec.sizes[axis] for axis in spec.exact)
    whole = units * flops(lambda: loss(params, *one))
    part = flops(lambda: pt.leave_one_out(loss, params, spec, [one]))
    print(f"MACs of the loop, part of those of leave_one_out: {whole / part:.2f}")


if __name__ == "__main__":
    main()
