"""A spec as a YAML document: expressions as their texts, records as rows of their fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import yaml

from purethin.axes import Axes, layout_text
from purethin.errors import SpecError
from purethin.notation import parse, parse_layout
from purethin.records import Activation, Axis, Condition, Frozen, Norm, Site, placed

_TERMS = ("macs", "activation_bytes")


def written(spec: Mapping[str, Any]) -> str:
    """The fields of a spec as text, which `read` gives back equal."""
    data = {
        "version": 1,
        "layout": {name: layout_text(dims) for name, dims in spec["layout"].items()},
        "axes": {axis.name: _axis_data(axis) for axis in spec["axes"].values()},
        "buffers": sorted(spec["buffers"]),
        **{n: [[k, layout_text(dims)] for k, dims in spec[n]] for n in _TERMS},
        "batch": None if spec["batch"] == 1 else spec["batch"],
    }
    data = {name: data[name] if name in data else _plain(spec[name]) for name in ["version", *spec]}
    said = {k: v for k, v in data.items() if v or v == 0}
    return yaml.safe_dump(said, sort_keys=False, width=1000, allow_unicode=True)


def read(text: str) -> dict[str, Any]:
    """The fields of a spec.

    Raises:
        SpecError: the text is not a document that `written` gave.
    """
    try:
        data = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        layout = {name: parse_layout(dims) for name, dims in data["layout"].items()}
        return {
            "layout": layout,
            "axes": placed(layout, {n: _axis(n, row) for n, row in data.get("axes", {}).items()}),
            "frozen": tuple(Frozen(*row) for row in data.get("frozen", ())),
            "dtypes": data.get("dtypes", {}),
            "buffers": frozenset(data.get("buffers", ())),
            "attributes": {
                module: {name: _measured(value) for name, value in row.items()}
                for module, row in data.get("attributes", {}).items()
            },
            "stand_ins": data.get("stand_ins", {}),
            "caches": {module: tuple(names) for module, names in data.get("caches", {}).items()},
            "activations": tuple(
                Activation(name, dim, role, module, argument, at, parse(channels))
                for name, dim, role, module, argument, at, channels in data.get("activations", ())
            ),
            "sites": tuple(map(_site, data.get("sites", ()))),
            "positions": {n: parse(e) for n, e in data.get("positions", {}).items()},
            "conditions": tuple(
                Condition(parse(left), relation, parse(right), held, place)
                for left, relation, right, held, place in data.get("conditions", ())
            ),
            **{n: tuple((k, parse_layout(dims)) for k, dims in data.get(n, ())) for n in _TERMS},
            "batch": data.get("batch", 1),
            "ties": {name: tuple(places) for name, places in data.get("ties", {}).items()},
            "branches": {name: tuple(o) for name, o in data.get("branches", {}).items()},
            "needed": data.get("needed", {}),
            "empty_layers": {
                module: (name, tuple(map(parse, row)))
                for module, (name, row) in data.get("empty_layers", {}).items()
            },
            "notes": tuple(data.get("notes", ())),
        }
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise SpecError(f"not a spec that Spec.to_yaml wrote: {error}") from error


def _plain(value: Any) -> Any:
    match value:
        case Mapping():
            return {key: _plain(inner) for key, inner in value.items()}
        case tuple():
            return [_plain(inner) for inner in value]
        case Frozen() | Activation() | Site() | Norm() | Condition():
            return [_plain(getattr(value, field.name)) for field in fields(value)]
        case None | bool() | int() | str():
            return value
    return str(value)


def _axis_data(axis: Axis) -> dict[str, Any]:
    data: dict[str, Any] = {"size": axis.size, "producers": [list(p) for p in axis.producers]}
    data |= {} if axis.exact else {"inexact": axis.reason}
    data |= {"spared": [list(p) for p in axis.spared]} if axis.spared else {}
    data |= {"gates": [list(p) for p in axis.gates]} if axis.gates else {}
    return data if axis.finite else data | {"finite": False}


def _axis(name: str, row: Mapping[str, Any]) -> Axis:
    return Axis(
        name,
        row["size"],
        "inexact" not in row,
        row.get("inexact"),
        producers=tuple((p, d) for p, d in row["producers"]),
        spared=tuple((p, d) for p, d in row.get("spared", ())),
        finite=row.get("finite", True),
        gates=tuple((p, d) for p, d in row.get("gates", ())),
    )


def _site(row: list[Any]) -> Site:
    role, call, operand, at, channels, axes, weights, norm = row
    places = tuple((parameter, dim) for parameter, dim in weights)
    after = None if norm is None else Norm(*norm)
    return Site(role, call, operand, at, parse(channels), tuple(axes), places, after)


def _measured(value: str | list[str]) -> Axes | tuple[Axes, ...]:
    return tuple(map(parse, value)) if isinstance(value, list) else parse(value)
