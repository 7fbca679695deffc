"""The command line: what it prints and writes, and what it says when something is wrong."""

from __future__ import annotations

import inspect
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from pages import VARYING, blocks
from torch import nn

import purethin as pt
from purethin import criteria
from purethin.__main__ import main
from purethin.cli.arguments import CRITERIA, parse
from purethin.cli.given import parse_model
from purethin.cli.imported import make
from purethin.comparison import Output
from purethin.table import Table

ROOT = Path(__file__).parents[1]
CODE = '''
import torch
from torch import nn

class Net(nn.Module):
    """A small network with a tied pair, a buffer that is not saved, and an argument that
    would fetch weights.
    """
    def __init__(self, width=12, pretrained=True):
        super().__init__()
        assert not pretrained, "weights would be fetched"
        self.a, self.b, self.c = nn.Linear(6, width), nn.Linear(width, width), nn.Linear(width, 4)
        self.norm = nn.BatchNorm1d(width)
        self.d = nn.Linear(width, 4)
        self.d.weight = self.c.weight
        self.register_buffer("scale", torch.ones(width), persistent=False)
    def forward(self, x):
        h = self.norm(self.a(x)).relu() * self.scale
        h = self.b(h).relu()
        return self.c(h) + self.d(h.tanh())

class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.up, self.down = nn.Embedding(9, 8), nn.Linear(8, 16), nn.Linear(16, 2)
    def forward(self, ids, mask=None):
        h = self.up(self.embed(ids)).relu()
        return self.down(h if mask is None else h * mask[..., None])

class Deep(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.up, self.down = nn.Linear(6, 8), nn.Linear(8, 5), nn.Linear(5, 8)
    def forward(self, x):
        h = self.stem(x)
        return (h + self.down(self.up(h).relu())).sum(-1)

def fails():
    raise RuntimeError("no such thing\\nsecond line")

def leaves():
    raise SystemExit(3)

number = 3
ready = Words()
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with net.py and weights.safetensors."""
    (tmp_path / "net.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    model, _, _ = make(parse_model("net.py:Net"))
    model.load_state_dict(
        {
            k: torch.randn(v.shape).abs() if v.is_floating_point() else v
            for k, v in model.state_dict().items()
        }
    )
    safetensors.torch.save_model(model, "weights.safetensors")
    return tmp_path


def ran(capsys: pytest.CaptureFixture[str], *argv: str, status: int = 0) -> str:
    """What a command printed; its error output where it is to fail, which is no traceback."""
    assert main(argv) == status
    out, error = capsys.readouterr()
    assert not (error if status == 0 else out)
    assert "Traceback" not in error
    return out if status == 0 else error


NET = ("net.py:Net", "--input", "3,6")
THIN = ("thin", *NET, "--weights", "weights.safetensors", "--out", "out")


# ---- show


def test_show_prints_every_layout_axis_and_frozen_reason_and_the_cost(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = ran(capsys, "show", *NET)
    model, _, _ = make(parse_model("net.py:Net"))
    spec = pt.infer(model, pt.params_of(model), torch.zeros(3, 6))
    lines = [line.split() for line in printed.splitlines()]
    for name, dims in spec.layout.items():
        assert [name, *" ".join(map(str, dims)).split()] in lines
    for axis in spec.axes.values():
        assert [axis.name, str(axis.size), str(len(axis.places)), "exact"] in lines
    assert all(f.reason in printed for f in spec.frozen)
    now = pt.cost(spec)
    assert f"{now.parameters:,} parameters, {now.macs:,} MACs, {now.bytes:,} bytes" in printed


def test_inputs_have_types_and_names_and_arguments_reach_the_callable(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("show", "net.py:Words", "--input", "2,5:long")
    assert "up  " in ran(capsys, *words)
    assert "up  " in ran(capsys, *words, "--input", "mask=2,5:bool")
    assert "up  " in ran(capsys, "show", "net.py:ready", "--input", "ids=2,5:int64")
    assert "20" in ran(capsys, "show", *NET, "--arg", "width=20").split()
    assert "24" in ran(capsys, "show", *NET, "--arg", "width=20", "--arg", "width=24").split()


def test_a_file_imports_the_modules_beside_it_as_a_script_does(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("far").mkdir()
    Path("far/beside.py").write_text(CODE)
    Path("far/other.py").write_text("from beside import Net")
    assert "a.weight" in ran(capsys, "show", "far/other.py:Net", *NET[1:])


def test_a_model_of_an_installed_package_is_shown_without_fetching_weights(
    capsys: pytest.CaptureFixture[str],
) -> None:
    printed = ran(
        capsys,
        "show",
        "torchvision.models:get_model",
        "--arg",
        "name=squeezenet1_1",
        "--input",
        "1,3,64,64",
    )
    assert "features.0.weight" in printed
    maker = parse_model("torchvision.models.segmentation:fcn_resnet50")
    _, statement, expression = make(maker)  # its backbone's weights are fetched by default
    assert (statement, expression) == (
        "from torchvision.models.segmentation import fcn_resnet50",
        "fcn_resnet50(weights_backbone=None)",
    )


def test_tables_are_plain_and_whole_where_no_terminal_is(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "x" * 300
    assert str(Table(("axis", "n"), [(name, "1"), ("y", "22")], numbers=(1,))).splitlines() == [
        f"axis{' ' * 296}   n",
        f"{name}   1",
        f"y{' ' * 299}  22",
    ]
    assert "\x1b" not in ran(capsys, "show", *NET)


# ---- recipe and plan


def test_a_recipe_is_printed_or_written_and_plans(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ("recipe", *NET, "--sparsity", "a=0.25", "--sparsity", "0.5", "--end", "8")
    text = ran(capsys, *argv)
    assert ran(capsys, *argv, "-o", "r.yaml") == "wrote r.yaml\n"
    assert Path("r.yaml").read_text() == text
    assert {p.final for p in pt.load_recipe(Path("r.yaml")).pruners.values()} == {0.25, 0.5}
    printed = ran(capsys, "plan", "r.yaml", *NET, "--by-axis")
    model, _, _ = make(parse_model("net.py:Net"))
    params = pt.params_of(model)
    plan = pt.plan(
        pt.load_recipe(Path("r.yaml")), params, pt.infer(model, params, torch.zeros(3, 6))
    )
    assert printed == f"{plan.by_axis()}\n{plan.outcome}\n"
    assert int(plan.masks["a"].sum()) == 9
    assert ran(capsys, "plan", "r.yaml", *NET) == f"{plan.by_epoch()}\n{plan.outcome}\n"
    assert "the last of 5 epochs is 4: it never fires" in ran(
        capsys, "plan", "r.yaml", *NET, "--epochs", "5"
    )


def test_a_file_that_is_there_is_replaced_only_by_force(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("r.yaml").write_text("mine")
    assert "r.yaml exists" in ran(capsys, "recipe", *NET, "-o", "r.yaml", status=1)
    assert Path("r.yaml").read_text() == "mine"
    ran(capsys, "recipe", *NET, "-o", "r.yaml", "--force")
    assert Path("r.yaml").read_text().startswith("# ")


# ---- thin


def test_thin_writes_a_network_that_its_own_line_loads_and_that_equals_the_masked_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = ran(capsys, *THIN, "--sparsity", "0.5")
    assert sorted(p.name for p in Path("out").iterdir()) == [
        "report.txt",
        "spec.yaml",
        "thinned.safetensors",
    ]
    assert not list(Path().glob(".*"))
    line = next(line for line in printed.splitlines() if line.startswith("import purethin"))
    assert line in Path("out/report.txt").read_text()
    names: dict[str, Any] = {}
    Path("net.py").write_text(CODE.replace("pretrained=True", "pretrained=False"))
    exec(line, names)
    small, (dense, _, _) = names["model"].eval(), make(parse_model("net.py:Net"))
    safetensors.torch.load_model(dense, "weights.safetensors")
    params = pt.params_of(dense)
    spec, x = pt.infer(dense, params, torch.zeros(3, 6)), torch.randn(5, 6)
    masks = pt.select({n: s for n, s in pt.lp_norm(params, spec).items() if n in spec.exact}, 0.5)
    masked = pt.rebuild(dense, pt.mask(params, spec, masks), {}).eval()
    torch.testing.assert_close(small(x), masked(x))
    assert small.a.weight.shape == (6, 6)
    written = pt.Spec.from_yaml(Path("out/spec.yaml").read_text())
    assert all(
        tuple(t.shape) == written.shape(n) for n, t in pt.load("out/thinned.safetensors")[0].items()
    )
    assert f"{pt.cost(spec, masks).parameters:,}" in printed


def test_a_recipe_says_what_goes_in_place_of_a_sparsity(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran(capsys, "recipe", *NET, "--axes", "a", "--sparsity", "0.75", "-o", "r.yaml")
    ran(capsys, *THIN, "--recipe", "r.yaml")
    assert pt.load("out/thinned.safetensors")[0]["a.weight"].shape == (3, 6)


def test_a_budget_says_how_much_of_each_axis_goes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = ran(capsys, *THIN, "--macs", "0.5", "--parameters", "150")
    small = pt.Spec.from_yaml(Path("out/spec.yaml").read_text())
    dense, _, _ = make(parse_model("net.py:Net"))
    spec = pt.infer(dense, pt.params_of(dense), torch.zeros(3, 6))
    assert 0.4 * pt.cost(spec).macs < pt.cost(small).macs <= 0.5 * pt.cost(spec).macs
    assert pt.cost(small).parameters <= 150
    assert "of the scores stay" in printed
    too_little = ("--force", "--parameters", "5")
    assert "cannot be reached: the least is" in ran(capsys, *THIN, *too_little, status=1)


def test_with_branches_a_sparsity_a_budget_and_a_recipe_may_take_one_whole(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deep = ("net.py:Deep", "--input", "3,6")
    dense, _, _ = make(parse_model("net.py:Deep"))
    torch.save(dense.state_dict(), "deep.pth")
    shown = ran(capsys, "show", *deep, "--branches")
    assert re.search(r"^may go whole +and with it\nup *$", shown, re.MULTILINE)
    assert re.search(r"^stem +no other way goes around it", shown, re.MULTILINE)
    thin = ("thin", *deep, "--weights", "deep.pth", "--out", "out", "--force")
    written = ran(capsys, "recipe", *deep, "--axes", "up", "--sparsity", "1")
    Path("r.yaml").write_text(written)
    for amount in (
        ["--sparsity", "up=1"],
        ["--macs", "0.4", "--axes", "up"],
        ["--recipe", "r.yaml"],
    ):
        for more, left in (([], 1), (["--branches"], 0)):
            status = int("--macs" in amount and not more)  # one unit is too much
            printed = ran(capsys, *thin, *amount, *more, status=status)
            if status:
                assert "'up' keeps 1 of 5 units" in printed
                continue
            small = pt.rebuild(
                make(parse_model("net.py:Deep"))[0], *pt.load("out/thinned.safetensors")
            )
            assert small.get_submodule("up").weight.shape == (left, 8)
            assert small(torch.rand(3, 6)).shape == (3,)


def test_what_was_thinned_is_thinned_again_over_the_dense_class(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = ("thin", *NET, "--sparsity")
    ran(capsys, *again, "a=0.5", "--out", "one", "--weights", "weights.safetensors")
    ran(capsys, *again, "b=0.5", "--out", "two", "--weights", "one/thinned.safetensors")
    ran(capsys, *again, "a=0.5", "--out", "three", "--weights", "two/thinned.safetensors")
    params, config = pt.load("three/thinned.safetensors")
    dense, _, _ = make(parse_model("net.py:Net"))
    small = pt.rebuild(dense, params, config).eval()
    assert small(torch.zeros(2, 6)).shape == (2, 4)
    assert {path: vars(small.get_submodule(path))[key] for path, key in KEYS} == {
        "a": 3,
        "norm": 3,
        "c": 6,
    }


KEYS = (("a", "out_features"), ("norm", "num_features"), ("c", "in_features"))


def test_a_folder_with_files_is_refused_and_by_force_keeps_the_others(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("out").mkdir()
    ran(capsys, *THIN, "--sparsity", "0.5")  # an empty one is taken
    Path("out/mine").write_text("mine")
    assert "out is not empty" in ran(capsys, *THIN, "--sparsity", "0.25", status=1)
    assert pt.load("out/thinned.safetensors")[0]["a.weight"].shape[0] == 6
    ran(capsys, *THIN, "--sparsity", "0.25", "--force")
    assert Path("out/mine").read_text() == "mine"
    assert pt.load("out/thinned.safetensors")[0]["a.weight"].shape[0] == 9


def test_nothing_is_written_where_the_thinned_network_differs_or_writing_fails(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(Path().iterdir())
    bad = pt.Report((Output("output", (1,), 1.0, 1.0),), ("a",), {}, (), 1, 2)
    with monkeypatch.context() as patch:
        patch.setattr("purethin.check", lambda *args, **kwargs: bad)
        assert "differs from the masked one; nothing is written" in ran(
            capsys, *THIN, "--sparsity", "0.5", status=1
        )

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device", "thinned.safetensors")

    with monkeypatch.context() as patch:
        patch.setattr("purethin.save", full)
        assert "thinned.safetensors: No space left" in ran(
            capsys, *THIN, "--sparsity", "0.5", status=1
        )
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("a.weight"), "no a.weight"),
        (
            lambda d: d.update({"a.wieght": d["a.bias"].clone()}),
            "a.wieght, which the model lacks; did you mean 'a.weight'",
        ),
        (
            lambda d: d.update({"a.weight": torch.ones(7, 6)}),
            r"a.weight of shape \(7, 6\), which is \(12, 6\) in the model",
        ),
        (lambda d: [d.pop("c.weight", 0), d.pop("d.weight", 0)], "no c.weight"),
    ],
)
def test_weights_of_another_model_are_refused_by_their_names(
    folder: Path, capsys: pytest.CaptureFixture[str], change: Any, message: str
) -> None:
    given = safetensors.torch.load_file("weights.safetensors")
    change(given)
    safetensors.torch.save_file(given, "weights.safetensors")
    error = ran(capsys, *THIN, "--sparsity", "0.5", status=1)
    assert "weights.safetensors does not fit this Net" in error
    assert re.search(message, error)
    assert not Path("out").exists()


def test_batches_that_were_not_counted_and_half_precision_do_not_matter(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {
        name: t.half() if t.is_floating_point() else t
        for name, t in safetensors.torch.load_file("weights.safetensors").items()
        if "num_batches" not in name
    }
    safetensors.torch.save_file(given, "weights.safetensors")
    ran(capsys, *THIN, "--sparsity", "0.5")
    assert pt.load("out/thinned.safetensors")[0]["a.weight"].dtype == torch.float32


def test_pickles_and_damaged_files_are_refused_unread(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = Path("weights.safetensors").read_bytes()
    Path("weights.safetensors").write_bytes(whole[:-9])
    assert "damaged" in ran(capsys, *THIN, "--sparsity", "0.5", status=1)
    torch.save({"a": torch.ones(1)}, "weights.safetensors")
    assert "unpickling runs code: convert it" in ran(capsys, *THIN, "--sparsity", "0.5", status=1)
    Path("weights.safetensors").unlink()
    assert "cannot be read" in ran(capsys, *THIN, "--sparsity", "0.5", status=1)


# ---- what goes


def kept(spec: str = "out/spec.yaml") -> dict[str, int]:
    """The sizes of the axes in a folder that `thin` wrote."""
    return pt.Spec.from_yaml(Path(spec).read_text()).sizes


def by_hand() -> tuple[dict[str, torch.Tensor], pt.Spec]:
    """The parameters and the spec of the network in weights.safetensors."""
    model, _, _ = make(parse_model("net.py:Net"))
    safetensors.torch.load_model(model, "weights.safetensors")
    return pt.params_of(model), pt.infer(model, pt.params_of(model), torch.zeros(3, 6))


def test_the_criteria_offered_are_those_that_need_no_data() -> None:
    alone = {
        name
        for name, function in vars(criteria).items()
        if inspect.isfunction(function)
        and [
            p.name for p in inspect.signature(function).parameters.values() if p.default is p.empty
        ]
        == ["params", "spec"]
    }
    assert CRITERIA.keys() == alone


@pytest.mark.parametrize("name", CRITERIA)
def test_a_criterion_ranks_the_units_and_says_which_axes_it_ranks_none_of(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    torch.manual_seed(1)  # random_scores has no generator here
    printed = ran(capsys, *THIN, "--sparsity", "0.5", "--criterion", name)
    params, spec = by_hand()
    ranked = getattr(criteria, name)(params, spec).keys() & set(spec.exact)
    assert kept() == {n: s // 2 if n in ranked else s for n, s in spec.sizes.items()}
    assert (f"{name} ranks none of b: they stay whole" in printed) == (name == "batch_norm_scale")


def test_units_of_all_axes_rank_together_beside_their_axis_mean(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran(capsys, *THIN, "--sparsity", "0.5", "--global")
    params, spec = by_hand()
    scores = {n: s for n, s in pt.lp_norm(params, spec).items() if n in spec.exact}
    masks = pt.select(scores, 0.5, scope="global", normalize="mean")
    assert kept() == {**spec.sizes, **{n: int(m.sum()) for n, m in masks.items()}}


@pytest.mark.parametrize("amount", [("--sparsity", "0.4"), ("--macs", "0.8")])
def test_axes_that_are_to_stay_stay_and_the_others_keep_a_multiple(
    folder: Path, capsys: pytest.CaptureFixture[str], amount: tuple[str, str]
) -> None:
    ran(capsys, *THIN, *amount, "--keep", "a", "--round-to", "4")
    assert kept() == {"a": 12, "b": 8}


def test_a_runtime_says_which_multiples_are_kept(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran(capsys, *THIN, "--sparsity", "0.5", "--round-to", "gguf", "--arg", "width=12")
    assert kept() == {"a": 12, "b": 12}  # fewer than its 32: whole


# ---- checkpoints


def checkpoint(content: Any, name: str = "weights.pth") -> tuple[str, ...]:
    torch.save(content, name)
    return ("thin", *NET, "--weights", name, "--out", "out", "--sparsity", "0.5", "--force")


def test_weights_are_found_in_checkpoints_of_every_usual_form(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran(capsys, *THIN, "--sparsity", "0.5")
    want = pt.load("out/thinned.safetensors")[0]
    model, _, _ = make(parse_model("net.py:Net"))
    safetensors.torch.load_model(model, "weights.safetensors")
    plain = model.state_dict()
    wrapped = {f"module.{name}": tensor for name, tensor in plain.items()}
    average = {name: torch.zeros_like(tensor) for name, tensor in plain.items()}
    forms: dict[str, Any] = {
        "": plain,
        ", its 'state_dict'": {"epoch": 3, "state_dict": plain, "loss": torch.ones(())},
        ", its 'model' without 'module.'": {"ema": average, "model": wrapped, "optimizer": {}},
        " without 'module.'": wrapped,
        " without '_orig_mod.module.'": {f"_orig_mod.{n}": t for n, t in wrapped.items()},
        ", its 'other'": {"model": {"x": torch.ones(1)}, "other": plain},
    }
    for said, content in forms.items():
        printed = ran(capsys, *checkpoint(content))
        assert printed.startswith(f"net.py:Net with weights.pth{said}\n")
        torch.testing.assert_close(pt.load("out/thinned.safetensors")[0], want)


def test_a_checkpoint_that_would_run_code_or_is_no_state_dict_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, _, _ = make(parse_model("net.py:Net"))
    cases: list[tuple[Any, str]] = [
        (Runs(), "weights.pth holds more than tensors and plain values"),
        ({"epoch": 3}, "weights.pth holds no state dict"),
        ([torch.ones(1)], "weights.pth holds no state dict"),
        ({"model": {"x": torch.ones(1)}}, "weights.pth, its 'model' does not fit this Net"),
    ]
    for content, message in cases:
        assert message in ran(capsys, *checkpoint(content), status=1)
    assert not Path("ran").exists()
    checkpoint(model.state_dict())
    Path("weights.pth").write_bytes(Path("weights.pth").read_bytes()[:-99])
    command = ("thin", *NET, "--weights", "weights.pth", "--out", "out", "--sparsity", "0.5")
    assert "weights.pth is damaged" in ran(capsys, *command, status=1)


class Runs:
    """What writes a file as it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("ran"),)


def test_what_can_be_refused_without_the_model_is_refused_before_it_is_imported(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("net.py").write_text("raise SystemExit('imported')")
    Path("there.png").touch()
    thin = (*THIN, "--sparsity", "0.5")
    cases = {
        ("--weights", "none.pth"): "none.pth cannot be read: No such file",
        ("--weights", "."): ". cannot be read: it is a folder",
        ("--recipe", "none.yaml"): "none.yaml: cannot be read",
        ("--picture", "there.png"): "there.png exists",
        ("--picture", "layers.txt"): "layers.txt is not a picture's name",
        ("--onnx", "no/net.onnx"): "there is no folder no",
    }
    for options, message in cases.items():
        argv = (*THIN, *options) if "--recipe" in options else (*thin, *options)
        assert message in ran(capsys, *argv, status=1)


# ---- other files


def test_onnx_without_its_packages_is_an_error_that_says_what_to_install(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("purethin.cli.exported.find_spec", lambda name: None)
    error = ran(capsys, *THIN, "--sparsity", "0.5", "--onnx", "net.onnx", status=1)
    assert "--onnx needs onnx and onnxscript: pip install 'purethin[onnx]'" in error


@pytest.mark.survey
def test_the_thinned_model_is_exported_and_runs_as_it_does_in_torch(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    printed = ran(capsys, *THIN, "--sparsity", "0.5", "--onnx", "net.onnx")
    apart = re.search(r"wrote net.onnx, .* largest difference (\S+) of (\S+)", printed)
    assert apart is not None and float(apart[1]) < 1e-5 * float(apart[2])


def test_pictures_and_the_graph_are_written_and_never_replaced_unasked(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ("--picture", "worth.svg", "--graph", "axes.dot")
    assert ran(capsys, "show", *NET, *files).endswith("wrote worth.svg\nwrote axes.dot\n")
    assert "<svg" in Path("worth.svg").read_text()
    assert Path("axes.dot").read_text() == pt.plot.dot(by_hand()[1]) + "\n"
    assert "worth.svg exists" in ran(capsys, "show", *NET, *files, status=1)
    ran(capsys, *THIN, "--sparsity", "0.5", "--picture", "layers.png")
    assert Path("layers.png").read_bytes().startswith(b"\x89PNG")


def test_a_plan_by_epoch_has_a_short_line_for_each_epoch(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran(capsys, "recipe", *NET, "--sparsity", "0.5", "--end", "6", "-o", "r.yaml")
    lines = ran(capsys, "plan", "r.yaml", *NET).splitlines()
    assert [line.split()[0] for line in lines[1:-2]] == ["0", "2", "4"]
    assert max(map(len, lines)) <= 80
    params, spec = by_hand()
    after = pt.plan(pt.load_recipe(Path("r.yaml")), params, spec).after
    assert lines[-3].split()[2:5:2] == [f"{after.parameters:,}", f"{after.macs:,}"]


# ---- errors


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("show", "nothing.here:Net"), "importing nothing.here: ModuleNotFoundError"),
        (("show", "none.py:Net"), "there is no file none.py"),
        (("show", "net.py:Nett"), "net.py has no 'Nett'; did you mean 'Net'"),
        (("show", "net.py:number"), "TypeError: "),
        (("show", "net.py:fails"), "making net.py:fails: RuntimeError: no such thing\n"),
        (("show", "net.py:leaves"), "making net.py:leaves: SystemExit: 3"),
        (("show", "net.py:ready", "--arg", "a=1"), "is a model already"),
        (("show", "torch:zeros", "--arg", "size=[1]"), "made a Tensor"),
        (("show", "net.py:Net", "--input", "3,7"), "net.py:Net on --input 3,7: RuntimeError: "),
        (("show", "net.py:Net"), "net.py:Net on --input 1,3,224,224: "),
        (("show", "net.py:Net"), ". That input is the default: give the model's own by --input\n"),
        (("show", "torch.nn:Linear", "--arg", "in_features=3"), ": give --arg out_features=…\n"),
        (("show", "net.py:Net", "--arg", "wdth=3"), "unexpected keyword argument 'wdth'"),
        (("plan", "none.yaml", *NET), "none.yaml: cannot be read"),
        (("recipe", *NET, "--axes", "aa*"), "'aa*' matches no axis"),
        (("recipe", *NET, "--sparsity", "q=0.5"), "'q' matches no axis"),
        (("recipe", *NET, "--end", "0"), "no epoch is scheduled from 0 to 0"),
        (("recipe", *NET, "-o", "no/r.yaml"), "there is no folder no"),
        ((*THIN, "--axes", "zz", "--sparsity", "0.5"), "'zz' matches no axis"),
        ((*THIN, "--keep", "zz", "--sparsity", "0.5"), "'zz' matches no axis"),
        ((*THIN, "--keep", "all", "--sparsity", "0.5"), "no axis is left to prune"),
        ((*THIN, "--round-to", "onxruntime", "--macs", "0.5"), "did you mean 'onnxruntime'"),
    ],
)
def test_an_error_is_one_message_without_a_traceback(
    folder: Path, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], message: str
) -> None:
    error = ran(capsys, *argv, status=1)
    assert error.startswith("python -m purethin: error: ")
    assert message in error
    assert not Path("out").exists()


def test_debug_shows_the_traceback(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "net.py:fails", "--debug"]) == 1
    assert "Traceback" in (error := capsys.readouterr().err) and "second line" in error


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((), "required: COMMAND"),
        (("prune",), "invalid choice"),
        (("show",), "required: MODEL"),
        (("show", "net.py"), "'net.py' is not an import path: write module:callable"),
        (("show", "a b:c"), "not an import path"),
        (("show", *NET, "--input", "3x4"), "'3x4' is not an input: write its shape"),
        (("show", *NET, "--input", "3:flaot32"), "no dtype 'flaot32'; did you mean 'float32'"),
        (("show", *NET, "--arg", "width"), "write name=value"),
        (("show", *NET, "--arg", "width=["), "not YAML"),
        (("recipe", *NET, "--sparsity", "1.5"), "'1.5' is not a fraction from 0 to 1"),
        (("recipe", *NET, "--sparsity", "a=half"), "'half' is not a fraction"),
        (("recipe", *NET, "--sparsity", "nan"), "'nan' is not a fraction"),
        (THIN, "give --sparsity, as 0.5, a budget, as --macs 0.5, or --recipe"),
        ((*THIN, "--recipe", "r.yaml", "--axes", "a"), "leave out --sparsity, --axes and the"),
        ((*THIN, "--recipe", "r.yaml", "--macs", "0.5"), "leave out --sparsity, --axes and the"),
        ((*THIN, "--sparsity", "0.5", "--macs", "0.5"), "leave out --sparsity"),
        ((*THIN, "--macs", "half"), "'half' is not a part, as 0.5"),
        ((*THIN, "--macs", "0.5", "--global"), "leave out --global"),
        ((*THIN, "--sparsity", "a=0.5", "--global"), "give one --sparsity for all"),
        ((*THIN, "--recipe", "r.yaml", "--keep", "a"), "leave out --sparsity, --axes and the"),
        ((*THIN, "--sparsity", "0.5", "--criterion", "taylor"), "choose from 'lp_norm'"),
        ((*THIN, "--sparsity", "0.5", "--round-to", "0"), "'0' is not a number of units"),
        (("thin", *NET, "--sparsity", "0.5"), "required: --weights, --out"),
    ],
)
def test_what_is_no_command_line_exits_with_2(
    capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SystemExit) as error:
        main(argv)
    assert error.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", [(), ("show",), ("plan",), ("recipe",), ("thin",)])
def test_help_has_examples_that_the_parser_itself_takes(
    capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit) as error:
        main([*command, "--help"])
    assert error.value.code == 0
    shown = [
        line.partition("-m purethin ")[2]
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("  python")
    ]
    assert len(shown) >= 2
    for line in shown:
        parse(shlex.split(line.partition(" | ")[0]))


def test_versions_are_told_without_importing_torch(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(["--version"])
    assert error.value.code == 0
    assert capsys.readouterr().out.startswith(f"purethin {pt.__version__}, torch 2.")


def test_the_script_is_the_same_command_line_under_its_own_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 'purethin = "purethin.__main__:main"' in (ROOT / "pyproject.toml").read_text()
    monkeypatch.setattr(sys, "argv", ["/usr/bin/purethin"])
    assert ran(capsys, "show", "none.py:Net", status=1).startswith("purethin: error: ")


# ---- the real thing

PROCESS = [sys.executable, "-m", "purethin"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def test_a_reader_that_leaves_early_is_no_error(folder: Path) -> None:
    code = (
        f"{sys.executable} -m purethin show torchvision.models:resnet18 | head -n 1; exit "
        f"${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(
        ["bash", "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=False
    )
    assert done.stdout.startswith("parameter")
    assert done.returncode in (0, 141) and not done.stderr


def test_an_interrupt_ends_with_130_and_leaves_nothing(folder: Path) -> None:
    Path("slow.py").write_text(
        "import time\ndef net():\n    print('here', flush=True)\n    time.sleep(60)\n"
    )
    argv = [
        "thin",
        "slow.py:net",
        "--weights",
        "weights.safetensors",
        "--sparsity",
        "0.5",
        "--out",
        "out",
    ]
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": ENVIRONMENT}
    with subprocess.Popen([*PROCESS, *argv], **piped) as process:
        assert process.stdout is not None and process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error == "interrupted\n"
    assert not Path("out").exists()


def test_a_terminal_gets_tables_of_the_same_words(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rich")
    leader, follower = pty.openpty()
    environment = {**ENVIRONMENT, "TERM": "xterm-256color", "COLUMNS": "200"}
    process = subprocess.Popen([*PROCESS, "show", *NET], stdout=follower, env=environment)
    os.close(follower)
    shown = b""
    try:
        while piece := os.read(leader, 65536):
            shown += piece
    except OSError:  # the other end is closed
        pass
    os.close(leader)
    assert process.wait(timeout=60) == 0
    bold = re.findall(rb"\x1b\[1m([a-z]+)", shown)
    assert {b"parameter", b"layout", b"axis", b"units"} <= set(bold)
    words = re.sub(rb"\x1b\[[0-9;]*m", b"", shown).decode().split()
    assert main(["show", *NET]) == 0
    assert words == capsys.readouterr().out.split()


def test_the_networks_of_these_tests_are_as_they_say(folder: Path) -> None:
    model, statement, expression = make(parse_model("net.py:Net"))
    assert isinstance(model, nn.Module) and not model.training
    assert expression == "Net(pretrained=False)"
    assert statement == "import runpy; Net = runpy.run_path('net.py')['Net']"


def test_the_page_shows_what_its_commands_print(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["purethin"])
    Path("examples").symlink_to(ROOT / "examples")
    dense, _, _ = make(parse_model("examples/resnet_cifar.py:resnet20"))
    wrapped = {f"module.{name}": tensor for name, tensor in dense.state_dict().items()}
    torch.save({"state_dict": wrapped}, "resnet20.pth")
    shown = "".join(blocks((ROOT / "docs" / "command-line.md").read_text(), "console"))
    commands = [part.partition("\n") for part in re.split(r"^\$ ", shown, flags=re.MULTILINE)[1:]]
    assert len(commands) == 7
    for command, _, output in commands:
        if command.startswith("cat "):
            printed = Path(command.removeprefix("cat ")).read_text()
        else:
            status = main(shlex.split(command.removeprefix("purethin ")))
            printed = "".join(capsys.readouterr())
            assert status == int("error:" in output)
        pattern = ".*".join(map(re.escape, VARYING.sub("#", output.strip()).split("…")))
        assert re.fullmatch(pattern, VARYING.sub("#", printed.strip()), re.DOTALL), (
            f"{command}\n{printed}"
        )
