"""What a unit costs is what the network costs less without it; the layers cost what the whole
does.
"""

from __future__ import annotations

import pytest
import torch
from networks import built, random_masks
from patterns import PATTERNS, Pattern
from survey import allowed
from torch import nn

import purethin as pt


@pytest.mark.parametrize("pattern", PATTERNS[::11], ids=str)
def test_a_unit_costs_what_the_network_costs_less_without_it(pattern: Pattern) -> None:
    model, params = built(pattern)
    spec = pt.infer(model, params, *pattern.inputs(), **pattern.kwargs())
    masks = allowed(spec, random_masks(spec, fraction=0.2))
    now, worth, uneven = pt.cost(spec, masks), pt.worth(spec, masks), pt.cost_function(spec).uneven
    for unit in worth.axes:
        kept = masks.get(unit.axis, torch.ones(spec.sizes[unit.axis], dtype=torch.bool))
        assert unit.units == int(kept.sum())
        if unit.units > 1 and not any(unit.axis in take.axes for take in uneven):
            less = kept.clone()
            less[kept.nonzero()[0]] = False
            after = pt.cost(spec, {**masks, unit.axis: less})
            assert unit.macs == now.macs - after.macs
            assert unit.parameters == now.parameters - after.parameters
            assert unit.bytes == now.bytes - after.bytes
            assert unit.activation_bytes == now.activation_bytes - after.activation_bytes
    for kind in ("macs", "parameters", "bytes"):
        assert sum(getattr(layer, kind) for layer in worth.layers) == getattr(now, kind)


def test_the_tables_say_what_a_unit_and_a_layer_cost() -> None:
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    spec = pt.infer(net, pt.params_of(net), torch.rand(4, 3))
    assert str(pt.worth(spec)) == (
        "one unit of  units  MACs  parameters  bytes  activation bytes  share\n"
        "0.weight         8    44          12     48                16  84.6%\n"
        "2.weight         8    40          11     44                16  76.9%\n"
        "\n"
        "layer  widths  MACs  parameters  bytes  share\n"
        "0      8         96          32    128  23.1%\n"
        "2      8 × 8    256          72    288  61.5%\n"
        "4      8         64          18     72  15.4%\n"
        "\n"
        "MACs for a batch of 4"
    )


def test_a_mask_that_does_not_fit_is_refused() -> None:
    spec = pt.Spec.from_layout({"w": "h 3"}, {"w": torch.zeros(4, 3)})
    with pytest.raises(pt.MaskError, match="no axis is named"):
        pt.worth(spec, {"k": torch.ones(4, dtype=torch.bool)})


def test_where_a_branch_is_gone_no_unit_of_it_costs_anything() -> None:
    params = {"w": torch.ones(3, 4), "v": torch.ones(4, 3)}
    spec = pt.infer(lambda p, x: x + x @ p["w"] @ p["v"], params, torch.ones(1, 3), branches=True)
    [unit] = pt.worth(spec, pt.drop(spec, "w")).axes
    assert (unit.units, unit.macs, unit.parameters, unit.bytes, unit.share) == (0, 0, 0, 0, 0)
