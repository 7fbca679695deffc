"""Mutated recipes: each loads or is an error with its place, soon, and runs nothing; what loads is
planned or refused.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from mutants import CANARY, MILD, WHOLE, WHOLES, WILD, mutant
from resnet_cifar import resnet20
from torch import Tensor, nn

import purethin as pt
from purethin.recipes.schedulers import build_schedulers

SECONDS = 30.0
"""For one mutant, loaded, planned and applied. A usual one takes milliseconds, but the machine may
be busy.
"""


class Small(nn.Module):
    """Two convolutions that add up, one alone, two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.norm, self.conv3 = nn.BatchNorm2d(6), nn.Conv2d(6, 8, 3)
        self.fc1, self.fc2 = nn.Linear(8, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv1(x))
        x = torch.relu(self.conv3(torch.relu(self.norm(x + self.conv2(x)))))
        return self.fc2(torch.relu(self.fc1(x.mean((2, 3)))))


def inferred(model: nn.Module, image: int) -> tuple[dict[str, Tensor], pt.Spec]:
    params = pt.params_of(model)
    return params, pt.infer(model, params, torch.zeros(1, 3, image, image))


torch.manual_seed(0)
NETWORKS = [inferred(Small(), 6), inferred(resnet20(), 32)]


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in what takes longer, where the system can interrupt it."""

    def over(*_: object) -> None:
        raise TimeoutError(f"more than {seconds} s")

    if not hasattr(signal, "SIGALRM"):
        yield
        return
    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def apply(recipe: pt.Recipe, params: dict[str, Tensor], spec: pt.Spec) -> None:
    """All that a trainer asks of a recipe, over its first epochs and its last."""
    pruning = recipe.on(spec)
    if recipe.last_epoch <= 50:
        pt.plan(recipe, params, spec)
    masks, elements = dict[str, Tensor](), dict[str, Tensor]()
    state = torch.Generator().manual_seed(0)
    for epoch in sorted({0, 1, 2, recipe.last_epoch, recipe.last_epoch + 1} - {-1}):
        measures = pruning.measures_at(epoch)
        statistics = {m: torch.rand(spec.axes[m.axis].size, generator=state) for m in measures}
        for step in (0, 1, 2):
            if step == 0 or recipe.acts_within(epoch, step):
                masked, before = pt.mask(params, spec, masks, elements), (masks, elements)
                masks = pruning.masks_at(
                    epoch, masked, masks, step=step, statistics=statistics, seed=1
                )
                elements = pruning.elements_at(epoch, masked, masks, elements, step=step)
                for now, then in zip((masks, elements), before, strict=True):
                    assert all(
                        not bool((now[name] & ~kept).any()) for name, kept in then.items()
                    ), "what was removed came back"
        penalty = pruning.penalty_at(epoch, params)
        assert penalty is None or penalty.shape == ()
        recipe.thins_at(epoch)
    pt.thin(params, spec, masks)


def answer(text: str, path: Path | None = None) -> tuple[str, str]:
    """How a recipe ends, and the error's message: "refused" as it is read, "unfit" for the network,
    or "applied".
    """
    try:
        recipe = pt.load_recipe(text if path is None else path)
    except pt.RecipeError as error:
        return "refused", str(error)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1, momentum=0.9)
    try:
        build_schedulers(recipe.schedulers.values(), optimizer)
        apply(recipe, *NETWORKS["layer" in text])
    except pt.RecipeError as error:
        return "unfit", str(error)
    return "applied", ""


def judged(text: str, path: Path | None = None) -> tuple[str, str | None]:
    """The answer to a text, and what is wrong with it, None where nothing is."""
    try:
        with bounded(SECONDS):
            how, message = answer(text, path)
    except Exception as error:
        return "raised", f"{type(error).__name__}: {str(error)[:300]}"
    if CANARY.exists():
        return how, f"the recipe ran code: {CANARY} exists"
    return how, None if how == "applied" else fault_of_message(message, str(path or "recipe"))


def fault_of_message(message: str, title: str) -> str | None:
    """Every error has its line and column, but of a file that cannot be read or holds nothing; and
    is not longer than a page.
    """
    if len(message) > 3000:
        return f"a message of {len(message)} characters: {message[:200]}…"
    placed = (
        rf"{re.escape(title)}(:\d+:\d+: |: empty; |: is not text in UTF-8)|.*: cannot be read: "
    )
    return None if re.match(placed, message, re.DOTALL) else f"no place in: {message[:200]}"


def faults(seeds: range) -> list[str]:
    found = ((seed, judged(mutant(seed))[1]) for seed in seeds)
    return [f"mutant({seed}): {fault}" for seed, fault in found if fault is not None]


@pytest.mark.parametrize("start", range(0, 1000, 100))
def test_a_mutated_recipe_loads_or_is_an_error_with_its_place_and_what_loads_is_planned_or_refused(
    start: int,
) -> None:
    assert faults(range(start, start + 100)) == []


@pytest.mark.survey
@pytest.mark.parametrize("start", range(1000, 21_000, 1000))
def test_so_do_twenty_thousand(start: int) -> None:
    assert faults(range(start, start + 1000)) == []


IDLE = ("policies: []\n", "pruners: &p {<<: *p}\npolicies: []\n", "&p\n<<: *p\npolicies: []\n")


@pytest.mark.parametrize(
    "text",
    [*WHOLES, *(f"version: {s}\npolicies: {s}\n" for s in MILD + WILD)],
    ids=lambda t: repr(t[:20]),
)
def test_whatever_a_text_is_it_is_an_error_with_its_place_or_a_recipe_that_does_nothing(
    text: str,
) -> None:
    assert judged(text) == ("applied" if text in IDLE else "refused", None)


@pytest.mark.parametrize(
    "raw",
    [
        *(b"", b"\x00", b"\xff\xfe\x00", b"\x80abc\n", b"version: 1\n\xc3\x28\n"),
        *(b"a: \xed\xa0\x80\n", WHOLE.encode("utf-16"), WHOLE.encode("utf-32")),
    ],
    ids=lambda raw: repr(raw[:12]),
)
def test_bytes_that_are_not_a_text_are_an_error_that_says_so(raw: bytes, tmp_path: Path) -> None:
    (path := tmp_path / "bytes.yaml").write_bytes(raw)
    assert judged(raw.decode("latin-1"), path) == ("refused", None)


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"], ids=repr)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_and_any_line_ending_are_read(
    mark: bytes, ending: str, tmp_path: Path
) -> None:
    (path := tmp_path / "bytes.yaml").write_bytes(mark + WHOLE.replace("\n", ending).encode())
    assert pt.load_recipe(path) == pt.load_recipe(WHOLE)


def test_mutants_reach_all_that_comes_after_reading() -> None:
    """Else they would say nothing of it."""
    loaded = fitting = 0
    for seed in range(200):
        how, _ = answer(mutant(seed))
        loaded += how != "refused"
        fitting += how == "applied"
    assert 20 < loaded < 180
    assert fitting > 5
