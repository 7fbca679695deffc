"""What criteria cost beside what they cannot do without, one thread, taken in turns.

`lp_norm` of all axes beside one `torch.linalg.vector_norm` of each tensor that it reads; `measure`
beside the forwards that it watches. Run: `python docs/benchmarks/criteria.py`.
"""

from __future__ import annotations

import torch
import torchvision
from fastest import fastest
from torch import nn

import purethin as pt
from purethin.table import Table


def norms(model: nn.Module, x: torch.Tensor) -> dict[str, float]:
    """`lp_norm` beside `vector_norm`, for p = 1 and 2."""
    params = pt.params_of(model)
    spec = pt.infer(model, params, x)
    names = {name for axis in spec.axes.values() for name, _ in axis.producers}
    tensors = [params[name] for name in names]
    found = {}
    for p in (1, 2):
        took = fastest(
            {
                "lp_norm": lambda p=p: pt.lp_norm(params, spec, p=p),
                "vector_norm": lambda p=p: [torch.linalg.vector_norm(t, p) for t in tensors],
            },
            21,
        )
        found[f"lp_norm(p={p})"] = took["lp_norm"]
        found[f"vector_norm({p})"] = took["vector_norm"]
    return found


def measured(model: nn.Module, x: torch.Tensor, batches: int) -> dict[str, float]:
    """`measure` beside plain forwards of as many batches."""
    params = pt.params_of(model)
    spec = pt.infer(model, params, x[:1])

    def plain() -> None:
        with torch.inference_mode():
            for _ in range(batches):
                model(x)

    return fastest(
        {"measure": lambda: pt.measure(model, params, spec, [x] * batches), "forward": plain}, 3
    )


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = []
    for name in ("vit_b_16", "resnet50"):
        model = torchvision.models.get_model(name).eval()
        took = norms(model, torch.rand(1, 3, 224, 224))
        for p in (1, 2):
            ours, limit = took[f"lp_norm(p={p})"], took[f"vector_norm({p})"]
            rows.append((f"lp_norm(p={p})", name, ours, limit))
        took = measured(model, torch.rand(2, 3, 224, 224), 2)
        rows.append(("measure", name, took["measure"], took["forward"]))
    shown = [
        (what, name, f"{1000 * ours:.0f} ms", f"{1000 * limit:.0f} ms", f"{ours / limit:.2f}")
        for what, name, ours, limit in rows
    ]
    print(Table(("", "network", "purethin", "the limit", "ratio"), shown, numbers=(2, 3, 4)))


if __name__ == "__main__":
    main()
