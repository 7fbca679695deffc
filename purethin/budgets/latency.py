"""Milliseconds: a table of the layers of a network, and what it says of other widths.

What layers do not account for grows and falls with them.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from purethin.budgets.layer_times import LayerTime, adder
from purethin.errors import SpecError, nearest
from purethin.spec import Spec


@dataclass(frozen=True)
class LatencyTable:
    """The times of a network's layers on one machine.

    Attributes:
        layers: each with its grid.
        dense: seconds of the whole dense network.
        machine: what it was timed on.
        whole: networks that were cut and timed whole, ascending: what their layers add up to, and
            what they took.
        sizes: the dense widths of the network, by axis.
    """

    layers: tuple[LayerTime, ...]
    dense: float
    machine: Mapping[str, str | int]
    whole: tuple[tuple[float, float], ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)

    def __repr__(self) -> str:
        """How much was timed, and on what."""
        what = ", ".join(f"{key} {value}" for key, value in self.machine.items() if value != "")
        many = f"{len(self.layers)} layers and {len(self.whole)} networks"
        return f"LatencyTable: {many} timed; dense {1e3 * self.dense:.4g} ms; {what}"

    def check_fits(self, spec: Spec) -> None:
        """That a spec is of the network that was timed.

        Raises:
            SpecError: its axes or their sizes are others.
        """
        here = spec.sizes if self.sizes else {}
        for name in {**self.sizes, **here}:
            mine, other = self.sizes.get(name, "no"), spec.sizes.get(name, "no")
            if mine != other:
                raise SpecError(
                    f"this table is of another network: its '{name}' has {mine} units, that of the "
                    f"spec has {other}; time this one, pt.latency_table(model, spec, example)"
                )

    def seconds(self, spec: Spec, widths: Mapping[str, Tensor | int]) -> Tensor:
        """What networks of these widths take: `DoubleTensor[…]`.

        Args:
            spec: the dense spec.
            widths: `{axis: Tensor[…]}`, the axes left out dense.

        Raises:
            SpecError: an axis is none of the spec's.
        """
        return self.function(spec)(widths)

    def function(self, spec: Spec) -> Callable[[Mapping[str, Tensor | int]], Tensor]:
        """`seconds` of many widths, as a function that is made once."""
        layers = adder(self.layers, spec.sizes)

        def seconds(widths: Mapping[str, Tensor | int]) -> Tensor:
            if (unknown := next((n for n in widths if n not in spec.sizes), None)) is not None:
                raise SpecError(f"no axis is named '{unknown}'; {nearest(unknown, spec.sizes)}")
            asked = {n: widths.get(n, size) for n, size in spec.sizes.items()}
            full = {n: torch.as_tensor(width, device="cpu").double() for n, width in asked.items()}
            full = dict(zip(full, torch.broadcast_tensors(*full.values()), strict=True))
            return self._of_whole(layers(full))

        return seconds

    def _of_whole(self, total: Tensor) -> Tensor:
        """From what layers add up to, to what their network takes: a line between those timed."""
        dense = sum(max(layer.seconds) for layer in self.layers)
        known = [(0.0, 0.0), *(p for p in self.whole if p[0] < dense), (dense, self.dense)]
        xs, ys = torch.tensor(known, dtype=torch.float64, device="cpu").t().contiguous()
        ys = ys.cummax(0).values.clamp(max=self.dense)
        low = (torch.searchsorted(xs, total.contiguous(), right=True) - 1).clamp(0, len(xs) - 2)
        slope = (ys[low + 1] - ys[low]) / (xs[low + 1] - xs[low])
        inside = ys[low] + (total - xs[low]) * slope
        return torch.where(total > dense, total * (self.dense / dense), inside)

    def save(self, file: str | Path) -> None:
        """Write it as JSON.

        Raises:
            SpecError: the file cannot be written.
        """
        try:
            Path(file).write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        except OSError as error:
            raise SpecError(f"{file} cannot be written: {error.strerror or error}") from error

    @staticmethod
    def load(file: str | Path) -> LatencyTable:
        """Read what `save` wrote.

        Raises:
            SpecError: it is no such file.
        """
        try:
            said = json.loads(Path(file).read_text(encoding="utf-8"))
            layers = tuple(
                LayerTime(
                    row["module"],
                    tuple(map(tuple, row["widths"])),
                    tuple(row["fractions"]),
                    tuple(row["seconds"]),
                    tuple(row["odd"]),
                )
                for row in said["layers"]
            )
            if not layers:
                raise ValueError("it has no layers")
            whole = tuple((float(a), float(b)) for a, b in said["whole"])
            return LatencyTable(layers, said["dense"], said["machine"], whole, said["sizes"])
        except OSError as error:
            raise SpecError(f"{file} cannot be read: {error.strerror or error}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise SpecError(f"{file} is no latency table: {error!r}") from error


def machine() -> dict[str, str | int]:
    """What identifies this machine, as far as times go."""
    return {
        "processor": platform.processor() or platform.machine(),
        "system": platform.system(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
    }
