"""Whole branches: an axis may lose all its units where something else goes around it; what is left
is what the masked network computes.
"""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import branched as b
import pytest
import torch
from branched import Applied, conv, normed
from hypothesis import given, settings
from networks import assert_thinned_equals_masked, emptied_masks, randomise
from random_nets import networks
from survey import allowed
from test_costs import assert_same_cost, measured
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

import purethin as pt

IMAGE, TOKENS = (2, 3, 6, 6), (2, 5, 3)


@dataclass(frozen=True)
class Case:
    """A network, what may go whole in it with what, and why other axes may not."""

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    branches: Mapping[str, tuple[str, ...]]
    needed: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


NO_WAY = "no other way goes around it"
CASES = (
    Case(
        "a residual block of one convolution inside",
        lambda: Applied(
            b.residual, stem=conv(3, 8), inner=normed(8, 6, 3), up=conv(6, 8), head=nn.Linear(8, 4)
        ),
        IMAGE,
        {"at.inner.0": ()},
        {"at.stem": NO_WAY},
    ),
    Case(
        "a bottleneck: the outer of two inner axes takes the other with it",
        lambda: Applied(
            b.residual,
            stem=conv(3, 8),
            inner=nn.Sequential(normed(8, 6), normed(6, 4, 3)),
            up=nn.Sequential(nn.Conv2d(4, 8, 1, bias=False), nn.BatchNorm2d(8)),
            head=nn.Linear(8, 4),
        ),
        IMAGE,
        {"at.inner.0.0": (), "at.inner.1.0": ("at.inner.0.0",)},
        {"at.stem": NO_WAY},
    ),
    Case(
        "a norm with a forward of its own, pooling, upsampling",
        lambda: Applied(
            b.residual,
            stem=conv(3, 8),
            inner=nn.Sequential(conv(8, 6, 3), b.Named(6), nn.MaxPool2d(2), nn.Upsample(None, 2)),
            up=conv(6, 8, 3),
            head=nn.Linear(8, 4),
        ),
        IMAGE,
        {"at.inner.0": ()},
        {"at.stem": NO_WAY},
    ),
    Case(
        "attention of grouped queries, a feed-forward",
        lambda: Applied(
            b.transformer,
            stem=nn.Linear(3, 8),
            norm1=nn.LayerNorm(8),
            attention=b.Attention(8),
            norm2=nn.LayerNorm(8),
            up=nn.Linear(8, 12),
            down=nn.Linear(12, 8),
            head=nn.Linear(8, 4),
        ),
        TOKENS,
        {
            "at.attention.q.0": ("at.attention.q.1", "at.attention.head_dim"),
            "at.attention.q.1": ("at.attention.q.0", "at.attention.head_dim"),
            "at.attention.head_dim": ("at.attention.q.0", "at.attention.q.1"),
            "at.up": (),
        },
    ),
    Case(
        "torch's own attention",
        lambda: Applied(
            b.packed,
            stem=nn.Linear(3, 8),
            norm=nn.LayerNorm(8),
            attention=nn.MultiheadAttention(8, 4, batch_first=True),
            head=nn.Linear(8, 4),
        ),
        TOKENS,
        {
            "at.attention.num_heads": ("at.attention.head_dim", "at.attention.value_dim"),
            "at.attention.head_dim": (),
            "at.attention.value_dim": ("at.attention.num_heads", "at.attention.head_dim"),
        },
    ),
    Case(
        "branches of a concatenation, of which one must stay",
        lambda: Applied(
            b.inception,
            stem=conv(3, 8),
            one=normed(8, 5),
            reduce=normed(8, 4),
            three=normed(4, 6, 3),
            pool=nn.Sequential(nn.MaxPool2d(3, 1, 1), normed(8, 3)),
            head=nn.Linear(14, 4),
        ),
        IMAGE,
        {
            "at.one.0": (),
            "at.reduce.0": (),
            "at.three.0": ("at.reduce.0",),
            "at.pool.1.0": (),
        },
        {"at.stem": NO_WAY, "(at.one.0 + at.three.0 + at.pool.1.0)": NO_WAY},
    ),
    Case(
        "experts",
        lambda: Applied(
            b.experts,
            router=nn.Linear(8, 2),
            **{f"up{i}": nn.Linear(8, 6) for i in range(2)},
            **{f"down{i}": nn.Linear(6, 8) for i in range(2)},
            head=nn.Linear(8, 4),
        ),
        (3, 8),
        {"at.up0": (), "at.up1": ()},
        {"at.down0": NO_WAY},
    ),
    Case(
        "a squeezed gate",
        lambda: Applied(
            b.squeezed,
            stem=conv(3, 8),
            reduce=conv(8, 4),
            expand=conv(4, 8),
            head=nn.Linear(8, 4),
        ),
        IMAGE,
        {"at.reduce": ()},
        {"at.stem": NO_WAY},
    ),
    Case(
        "an hourglass: transposed, strided and depthwise convolutions",
        lambda: Applied(
            b.hourglass,
            stem=conv(3, 8),
            halve=nn.Conv2d(8, 6, 3, stride=2, padding=1),
            deep=nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=6),
            shrink=nn.Conv2d(6, 4, 1, bias=False),
            grow=nn.ConvTranspose2d(4, 5, 2, stride=2),
            head=nn.Linear(13, 4),
        ),
        IMAGE,
        {
            "at.halve": (),
            "at.shrink": ("at.halve",),
            "at.grow": ("at.halve", "at.shrink"),
        },
        {"at.stem": NO_WAY},
    ),
    Case(
        "a recurrent layer of nothing, which torch has not",
        lambda: Applied(
            b.recurrent,
            stem=nn.Linear(3, 8),
            gru=nn.GRU(8, 6, batch_first=True),
            out=nn.Linear(6, 8),
            head=nn.Linear(8, 4),
        ),
        TOKENS,
        {},
        {"at.gru": "gru of nothing, which torch has not"},
    ),
    Case(
        "a weight norm over nothing",
        lambda: Applied(
            b.beside(lambda at, x: at["down"](at["up"](x).relu())),
            stem=nn.Linear(3, 8),
            up=nn.Linear(8, 6),
            down=weight_norm(nn.Linear(6, 8)),
            head=nn.Linear(8, 4),
        ),
        TOKENS,
        {},
        {"at.up": "weight_norm"},
    ),
    Case(
        "a division by a sum of nothing",
        lambda: Applied(
            b.beside(b.divided),
            stem=nn.Linear(3, 8),
            up=nn.Linear(8, 6),
            down=nn.Linear(6, 8),
            head=nn.Linear(8, 4),
        ),
        TOKENS,
        {},
        {"at.up": "of the zeros that are left, not finite"},
    ),
    Case(
        "a comparison that would come out otherwise",
        lambda: Applied(
            b.beside(b.compared),
            stem=nn.Linear(3, 8),
            up=nn.Linear(8, 6),
            down=nn.Linear(6, 8),
            head=nn.Linear(8, 4),
        ),
        TOKENS,
        {},
        {"at.up": "compares 'at.up > 2'"},
    ),
    Case(
        "a reshape that leaves a size open",
        lambda: Applied(
            b.beside(lambda at, x: b.ambiguous(at, x).view(x.shape)),
            stem=nn.Linear(3, 8),
            up=nn.Linear(8, 6),
            down=nn.Linear(6, 8),
            head=nn.Linear(8, 4),
        ),
        TOKENS,
        {},
        {"at.up": "cannot reshape tensor of 0 elements"},
    ),
    Case(
        "a convolution that is called as a function",
        lambda: Applied(
            b.beside(b.functional),
            stem=conv(3, 8),
            up=conv(8, 6),
            down=conv(6, 8, 3),
            head=conv(8, 4),
        ),
        IMAGE,
        {},
        {"at.up": "conv2d of nothing, which torch has not"},
    ),
)


def known(case: Case) -> tuple[nn.Module, dict[str, Tensor], pt.Spec, Tensor]:
    torch.manual_seed(0)
    model = randomise(case.build())
    params, x = pt.params_of(model), torch.randn(case.shape, dtype=torch.float64)
    return model, params, pt.infer(model, params, x, branches=True), x


def none_of(spec: pt.Spec, *names: str) -> dict[str, Tensor]:
    return {n: torch.zeros(spec.sizes[n], dtype=torch.bool) for n in names}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_branches_are_as_the_table_says_and_without_them_masked_equals_thinned(case: Case) -> None:
    model, params, spec, x = known(case)
    assert dict(spec.branches) == dict(case.branches), spec.needed
    for what, why in case.needed.items():
        assert what not in spec.axes or not spec.axes[what].exact or why in spec.needed[what]
    for name, others in spec.branches.items():
        assert_thinned_equals_masked(model, params, spec, none_of(spec, name), x)
        masks = none_of(spec, name, *others)
        assert_thinned_equals_masked(model, params, spec, masks, x)
        assert_same_cost(spec, masks)
        small = pt.rebuild(model, *pt.thin(params, spec, masks))
        assert measured(small, x) == pt.cost(spec, masks).macs
    if spec.branches:
        assert_thinned_equals_masked(model, params, spec, emptied_masks(spec), x)


@given(networks(most=10))
@settings(max_examples=15, deadline=None)
def test_random_networks_without_branches_are_the_masked_ones(
    drawn: tuple[nn.Module, tuple[Tensor, ...]],
) -> None:
    model, args = drawn
    randomise(model)
    params = pt.params_of(model)
    spec = pt.infer(model, params, *args, branches=True)
    for seed, share in enumerate((1.0, 0.5)):
        masks = allowed(spec, emptied_masks(spec, share, seed=seed))
        assert_thinned_equals_masked(model, params, spec, masks, *args)


BOTTLENECK = next(c for c in CASES if c.name.startswith("a bottleneck"))
JOINED = next(c for c in CASES if c.name.startswith("branches of"))


def test_a_spec_with_branches_is_yaml_and_prints_them() -> None:
    spec = known(BOTTLENECK)[2]
    assert pt.Spec.from_yaml(spec.to_yaml()) == spec
    assert "2 branches that may go whole" in str(spec)
    assert "at.inner.1.0  with at.inner.0.0" in str(spec)


def test_a_network_without_a_branch_is_saved_copied_and_pickled(tmp_path: Any) -> None:
    model, params, spec, x = known(BOTTLENECK)
    thinned, config = pt.thin(params, spec, none_of(spec, *spec.branches))
    small = pt.rebuild(model, thinned, config)
    want = small(x)
    pt.save(tmp_path / "small.safetensors", thinned, config)
    file = io.BytesIO()
    torch.save(small, file)
    file.seek(0)
    for other in (
        copy.deepcopy(small),
        pickle.loads(pickle.dumps(small)),
        torch.load(file, weights_only=False),
        pt.rebuild(model, *pt.load(tmp_path / "small.safetensors")),
        pt.rebuild(small, thinned, config),
    ):
        assert torch.equal(other(x), want)
    assert isinstance(small.get_submodule("at.up.0"), nn.Conv2d)
    assert small.state_dict().keys() == model.state_dict().keys()


def test_the_gradients_are_those_of_the_masked_network() -> None:
    model, params, spec, x = known(BOTTLENECK)
    masks = none_of(spec, *spec.branches)
    small = pt.rebuild(model, *pt.thin(params, spec, masks))
    masked = pt.rebuild(model, pt.mask(params, spec, masks), {})
    for net in (small, masked):
        net.train()(x).square().sum().backward()
    want = {n: p.grad for n, p in masked.named_parameters()}
    taken = pt.thin_tree(want, spec, masks)
    for name, p in small.named_parameters():
        got = torch.zeros_like(p) if p.grad is None else p.grad
        torch.testing.assert_close(got, taken[name], rtol=1e-9, atol=1e-12)


def test_units_then_the_branch_is_the_branch_at_once() -> None:
    model, params, spec, x = known(BOTTLENECK)
    first = {n: torch.arange(spec.sizes[n]) < 2 for n in spec.branches}
    some, _ = pt.thin(params, spec, first)
    left = pt.thin_spec(spec, first)
    twice, _ = pt.thin(some, left, none_of(left, *left.branches))
    masks = none_of(spec, *spec.branches)
    once, config = pt.thin(params, spec, masks)
    assert all(torch.equal(twice[n], once[n]) for n in once)
    done = pt.thin_spec(spec, masks)
    assert not done.branches
    assert pt.thin(once, done, {n: torch.ones(0, dtype=torch.bool) for n in masks})[1] == {}
    back = pt.expand(once, spec, masks)
    torch.testing.assert_close(pt.rebuild(model, back, {})(x), pt.rebuild(model, once, config)(x))


def test_what_is_left_can_be_inferred_again() -> None:
    model, params, spec, x = known(BOTTLENECK)
    small = pt.rebuild(model, *pt.thin(params, spec, none_of(spec, "at.inner.1.0")))
    again = pt.infer(small, pt.params_of(small), x, branches=True)
    assert again.sizes == {"at.stem": 8, "at.inner.0.0": 6}
    assert [*again.branches] == ["at.inner.0.0"]


def test_all_branches_of_a_concatenation_are_refused_with_what_to_keep() -> None:
    _, params, spec, _ = known(JOINED)
    masks = none_of(spec, "at.one.0", "at.three.0", "at.pool.1.0")
    with pytest.raises(pt.MaskError, match=r"keep a unit of one of at\.one\.0, at\.three\.0"):
        pt.thin(params, spec, masks)


def test_an_axis_that_must_stay_is_refused_with_the_reason() -> None:
    model, params, spec, x = known(BOTTLENECK)
    with pytest.raises(pt.MaskError, match=f"all 8 units: keep at least one; {NO_WAY}"):
        pt.thin(params, spec, none_of(spec, "at.stem"))
    untried = pt.infer(model, params, x)
    assert not untried.branches and not untried.empty_layers
    with pytest.raises(pt.MaskError, match=r"keep at least one; .* pt.infer\(…, branches=True\)"):
        pt.cost(untried, none_of(spec, "at.inner.0.0"))
    with pytest.raises(pt.MaskError, match=r"is no branch: .* pt.infer\(…, branches=True\)"):
        pt.drop(untried, "at.inner.0.0")
    with pytest.raises(pt.MaskError, match=r"no branch: give one of pt.infer\(…, branches=True\)"):
        pt.leave_branch_out(lambda p, x: x.sum(), params, untried, [x])


def test_a_config_of_another_class_is_refused() -> None:
    model, params, spec, _ = known(BOTTLENECK)
    thinned, config = pt.thin(params, spec, none_of(spec, *spec.branches))
    config["at.up.0"] = {**config["at.up.0"], "class": "purethin.empty.Conv1d"}
    with pytest.raises(pt.SpecError, match=r"lets purethin.empty.Conv1d stand in for 'at.up.0'"):
        pt.rebuild(model, thinned, config)


def test_select_empties_branches_only_where_it_is_told_to() -> None:
    _, params, spec, _ = known(BOTTLENECK)
    scores = pt.lp_norm(params, spec)
    all_gone = pt.select(scores, 1.0, spec=spec, min_keep=0)
    assert {n: int(m.sum()) for n, m in all_gone.items()} == {
        "at.stem": 1,
        "at.inner.0.0": 0,
        "at.inner.1.0": 0,
    }
    pt.thin(params, spec, all_gone)
    assert all(int(m.sum()) == 1 for m in pt.select(scores, 1.0, spec=spec).values())
    together = pt.select(
        scores, 0.9, scope="global", normalize="mean", max_sparsity=1.0, spec=spec, min_keep=0
    )
    assert [n for n, m in together.items() if not m.any()]
    assert together["at.stem"].any()


@pytest.mark.parametrize("normalize", ["share", None])
@pytest.mark.parametrize("case", [BOTTLENECK, JOINED], ids=str)
def test_solve_empties_branches_where_nothing_else_is_left(case: Case, normalize: Any) -> None:
    model, params, spec, x = known(case)
    scores = {n: s.double() for n, s in pt.lp_norm(params, spec).items()}
    options = pt.Options(axes=[*spec.branches], min_keep=0, normalize=normalize)
    least = pt.cost(spec, emptied_masks(spec)).macs
    for macs in (least * 2, pt.cost(spec).macs // 2):
        found = pt.solution(scores, spec, options, {"macs": macs})
        assert found.cost.macs <= macs
        assert_thinned_equals_masked(model, params, spec, found.masks, x)
        for name, m in found.masks.items():
            others = [found.masks.get(o) for o in spec.branches[name]]
            assert m.any() or not any(o is None or o.any() for o in others)
    with pytest.raises(pt.MaskError, match="it keeps at least so many"):
        pt.solve(scores, spec, axes=[*spec.branches], macs=least)


def test_solve_leaves_the_branch_of_least_loss_out() -> None:
    spec = known(BOTTLENECK)[2]
    scores = {n: torch.full((size,), 1e-3) for n, size in spec.sizes.items()}
    scores["at.stem"] += 1
    found = pt.solve(scores, spec, macs=0.14, min_keep=0, normalize=None)
    assert {n for n, m in found.items() if not m.any()} == {"at.inner.0.0", "at.inner.1.0"}


def test_each_branch_is_worth_what_the_loss_grows_by_without_it() -> None:
    model, params, spec, x = known(BOTTLENECK)
    want = model(x).detach()

    def loss(params: dict[str, Tensor]) -> Tensor:
        return (torch.func.functional_call(model, params, (x,)) - want).square().mean()

    found = pt.leave_branch_out(loss, params, spec, [()])
    assert [*found] == ["at.inner.1.0"] == [*pt.whole_branches(spec)]
    masks = pt.drop(spec, "at.inner.1.0")
    assert {*masks} == {"at.inner.1.0", "at.inner.0.0"}
    grown = float(loss(pt.mask(params, spec, masks)))
    assert found["at.inner.1.0"] == pytest.approx(grown, rel=1e-9)
    with pytest.raises(pt.MaskError, match=f"'at.stem' is no branch: {NO_WAY}"):
        pt.drop(spec, "at.stem")


RECIPE = """\
version: 1
pruners:
  whole:
    class: L1RankedStructureParameterPruner_AGP
    group_type: Filters
    initial_sparsity: 0.3
    final_sparsity: 1.0
    weights: [at.inner.0.0.weight, at.inner.1.0.weight]
extensions:
  thinner: {class: FilterRemover, thinning_func_str: remove_filters, arch: any, dataset: cifar10}
policies:
  - pruner: {instance_name: whole}
    starting_epoch: 0
    ending_epoch: 3
    frequency: 1
  - extension: {instance_name: thinner}
    epochs: [3]
"""


@pytest.mark.parametrize("thin", ["end", "now"])
def test_a_schedule_may_end_without_the_branch(thin: Any) -> None:
    model, params, spec, x = known(BOTTLENECK)
    recipe = pt.load_recipe(RECIPE)
    untried = pt.infer(model, params, x)
    left = {n: int(m.sum()) for n, m in pt.plan(recipe, params, untried).masks.items()}
    assert left == {"at.inner.0.0": 1, "at.inner.1.0": 1}
    assert not any(m.any() for m in pt.plan(recipe, params, spec).masks.values())
    step = pt.Update(lambda out, batch: (out - batch[1]).square().mean())
    sgd = partial(torch.optim.SGD, lr=1e-3, momentum=0.9)
    trainer = pt.Trainer(model, spec, recipe, sgd, step, thin=thin)
    trainer.fit([(x, torch.randn(2, 4, dtype=torch.float64))], 5)
    small = trainer.model().eval()
    assert small.get_submodule("at.up.0").in_channels == 0
    masked = pt.expand(trainer.params, spec, none_of(spec, *spec.branches))
    torch.testing.assert_close(small(x), pt.rebuild(model, masked, {})(x))


@pytest.mark.survey
@pytest.mark.parametrize("named", ["a bottleneck", "attention of grouped"])
def test_an_onnx_file_has_nothing_of_a_branch_that_is_gone(named: str, tmp_path: Any) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    model, params, spec, x = known(next(c for c in CASES if c.name.startswith(named)))
    small = pt.rebuild(model, *pt.thin(params, spec, none_of(spec, *spec.branches)))
    path = str(tmp_path / "small.onnx")
    torch.onnx.export(small.float(), (x.float(),), path, dynamo=True, verbose=False)
    graph = onnx.load(path).graph
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("Conv") == (1 if named == "a bottleneck" else 0)
    assert not {"Softmax", "LayerNormalization"} & {*kinds}
    assert all(0 not in tensor.dims for tensor in graph.initializer)
    assert len(kinds) < (8 if named == "a bottleneck" else 12), kinds
