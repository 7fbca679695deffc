"""The config from which a module was built, brought up to date with its thinned sizes.

Nothing goes by names. A value is tried: the module's class is built from the changed config on the
meta device, and its shapes are compared with the thinned module's. What no value says is listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from purethin.arguments import explained
from purethin.copying import copy_with
from purethin.deploying.trying import Builder, Search, entries_of, numbers_of, put, shapes_of
from purethin.errors import SpecError
from purethin.holders import holders
from purethin.modules import tensors_of
from purethin.outputs import results


@dataclass(frozen=True)
class ConfigReport:
    """What `sync_config` did.

    Attributes:
        changed: `{entry of the config: (old, new)}`.
        facts: how many integers of modules were brought up to date.
        left: what no value of the config says, a line each; empty where a module built from the
            config has the same shapes, and the same outputs where an example was given.
        difference: the largest difference of the outputs, relative to the largest, between the
            thinned module and one that its class built from the config; None without an example, or
            where the shapes differ.
    """

    changed: Mapping[str, tuple[int | None, int]]
    facts: int
    left: tuple[str, ...]
    difference: float | None = None

    @property
    def complete(self) -> bool:
        """Whether the config says all."""
        return not self.left

    def __str__(self) -> str:
        """What changed, and what is left."""
        lines = [f"{name}: {old} → {new}" for name, (old, new) in self.changed.items()]
        lines.append(f"{self.facts} integers of modules brought up to date")
        return "\n".join([*lines, *(f"left: {line}" for line in self.left)])


@explained
def sync_config(
    model: nn.Module, small: nn.Module, *args: Any, **kwargs: Any
) -> tuple[nn.Module, ConfigReport]:
    """A thinned module whose config and integers say its new sizes, as far as one value can.

    For modules that are built from one config object, `type(model)(model.config)`, as those of
    transformers: afterwards `save_pretrained` and `from_pretrained` give the same network, where
    the report is `complete`. Where it is not, keep the network with `pt.save`.

    Args:
        model: the dense module.
        small: the thinned one, from `rebuild`.
        args: an example input, with `kwargs`: a module built from the new config, with the thinned
            tensors, is then run beside the thinned one. Give one: shapes alone don't tell 6 heads
            of 8 from 8 of 6.
        kwargs: inputs by name.

    Returns:
        The module, a copy that shares its tensors with `small`, and what was done.

    Raises:
        SpecError: the module is not built from one config, or its class builds another network
            from it.
    """
    build = Builder.of(model)
    dense = build(build.config)
    if shapes_of(dense) != shapes_of(model):
        raise SpecError(
            f"a {type(model).__name__} that is built from its config has other parameters than "
            "this one: the config does not say what it is"
        )
    search = Search(build, shapes_of(small), numbers_of(small), numbers_of(dense))
    config, made = search.found(build.config)
    synced = copy_with(small, lambda tensor: tensor)
    before = dict(entries_of(build.config))
    changed = {n: (before.get(n), v) for n, v in entries_of(config) if v and v != before.get(n)}
    for name, (_, value) in changed.items():
        put(vars(synced)[build.name], name, value)
    stale, wrong = search.stale(made)
    for path, module in synced.named_modules():
        for prefix, holder in holders(module):
            for name in holder.values:
                if (path, prefix, name) in stale:
                    holder.put(name, stale[path, prefix, name])
    left = [*search.left(made), *wrong, *_refused(config)]
    difference = None
    if (args or kwargs) and not search.left(made):
        difference = _difference(small, _filled(made, small), args, kwargs)
        if not difference <= 1e-6:
            left.append(f"the outputs of one built from the config differ by {difference:.1e}")
    facts = sum(prefix.partition(".")[0] != build.name for _, prefix, _ in stale)
    return synced, ConfigReport(changed, facts, tuple(left), difference)


def _refused(config: Any) -> list[str]:
    """Why the config's own class refuses it when it is read from a file, if it does."""
    if not (hasattr(config, "to_dict") and hasattr(type(config), "from_dict")):
        return []
    try:
        type(config).from_dict(config.to_dict())
    except Exception as error:
        said = " ".join(str(error).split())
        return [f"{type(config).__name__} refuses what is true: {said}"]
    return []


def _filled(made: nn.Module, small: nn.Module) -> nn.Module:
    """The built module with the thinned one's tensors."""
    own, places = dict(tensors_of(small, duplicates=True)), dict(made.named_modules())
    for name in own:
        path, _, last = name.rpartition(".")
        module = places[path]
        rows = module._parameters if last in module._parameters else module._buffers
        rows[last] = own[name]  # type: ignore[assignment]
    return made


def _difference(small: nn.Module, made: nn.Module, args: Any, kwargs: Any) -> float:
    """The largest difference of the outputs, relative to the largest; infinite where one of them
    has other outputs.
    """
    found = []
    for module in (copy_with(small, lambda tensor: tensor).eval(), made.eval()):
        with torch.no_grad():
            out = module(*args, **kwargs)
        leaves = results(module.forward, args, kwargs, out)
        found.append({place: t for place, t in leaves if isinstance(t, Tensor)})
    one, other = found
    if {n: t.shape for n, t in one.items()} != {n: t.shape for n, t in other.items()}:
        return float("inf")
    far = [float((t.double() - other[n].double()).abs().max()) for n, t in one.items()]
    scale = max((float(t.double().abs().max()) for t in one.values()), default=1.0)
    return max(far, default=0.0) / max(scale, 1e-300)
