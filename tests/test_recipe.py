"""Recipes: what Distiller's YAML means here, and for each mistake one error with its line and
column.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from pages import blocks
from small import AGP, BASE, MODEL, PARAMS, SPEC, edited, kept, planned, pruning, refused
from tables import case
from torch import Tensor, nn

import purethin as pt
from purethin.recipes.schedulers import Scheduler, build_schedulers

# ---- mistakes; § marks the place that the error must name

LOW, POLICY = "  low:\n", "  - pruner:\n      instance_name: low\n    epochs: [0]"
READING = [
    # what Distiller takes in silence
    case("a sparsity in percent", "sparsity: 0.5", "sparsity: §50").says(
        "desired_sparsity is 50", "from 0 to 1", "0.5 for half"
    ),
    case("a negative sparsity", "sparsity: 0.5", "sparsity: §-0.1").says(
        "desired_sparsity is -0.1"
    ),
    case(
        "an unknown class",
        "class: L1RankedStructureParameterPruner",
        "class: §L1RankedStructureParameterPrune",
    ).says("'L1RankedStructureParameterPrune'", "did you mean 'L1RankedStructureParameterPruner'?"),
    case("an unknown argument", "    group_type", "    §reg_type: x\n    group_type").says(
        "has no argument 'reg_type'", "group_type", "Known"
    ),
    case("epochs and a range", "epochs: [0]", "epochs: [0]\n    §starting_epoch: 0").says(
        "`epochs` or a range, not both", "starting_epoch"
    ),
    case("a policy without its instance", "instance_name: low", "instance_name: §lov").says(
        "no pruner is named 'lov'", "did you mean 'low'?"
    ),
    case("a policy of another kind's instance", "instance_name: low", "instance_name: §decay").says(
        "no pruner is named 'decay'"
    ),
    case("an instance twice", LOW, "  low: {}\n  §low:\n").says(
        "'low' stands twice in pruners", "line 3"
    ),
    case("a key twice", "    group_type", "    group_type: Channels\n    §group_type").says(
        "'group_type' stands twice in pruner 'low'", "line 5"
    ),
    case("a weight twice", "[module.conv3.weight]", "[module.conv3.weight, §conv3.weight]").says(
        "'conv3.weight' is listed twice"
    ),
    # not YAML, not plain
    case(
        "broken YAML", "[module.conv3.weight]\nextensions:", "[module.conv3.weight\nextensions§:"
    ).says("not YAML"),
    case("another indentation", "    group_type: Filters", "   §group_type: Filters").says(
        "not YAML", "entries of one mapping begin in one column"
    ),
    case("an object", "sparsity: 0.5", "sparsity: §!!python/name:os.getcwd").says(
        "python/name:os.getcwd", "would make an object"
    ),
    case("an object as a list", "weights: [", "weights: §!!python/tuple [").says(
        "python/tuple", "plain values only"
    ),
    case("an object as a mapping", "  - pruner:\n", "  - pruner: §!!python/object:os.X\n").says(
        "python/object:os.X"
    ),
    case("a tag of one's own", "sparsity: 0.5", "sparsity: §!half x").says("the tag !half"),
    case("a name without end", "instance_name: low", f"instance_name: §{'low' * 1000}").says(
        "lowlow...", "has 3,000 characters"
    ),
    case("no number under a number's tag", "sparsity: 0.5", "sparsity: §!!float half").says(
        "'half' is not a plain value"
    ),
    # sections
    case("an unknown section", "extensions:", "§extension:").says(
        "no section is named 'extension'", "did you mean 'extensions'?"
    ),
    case("quantizers", "extensions:", "§quantizers:\n  q: {class: Q}\nextensions:").says(
        "does not quantize"
    ),
    case("another version", "version: 1", "version: §2").says(
        "version 2 is not known", "`version: 1`"
    ),
    case(
        "a section that is a list",
        BASE[BASE.index("pruners:") : BASE.index("extensions:")],
        "pruners: §[1]\n",
    ).says("pruners is a mapping", "not a list"),
    case("a name that is a list", LOW, "  §[a, b]: {}\n  low:\n").says(
        "a name in pruners is one word, not a list"
    ),
    case("no policies and no pruners", BASE[BASE.index("pruners:") :], "lr_schedulers:\n").says(
        "no policies", "write `policies:`"
    ),
    # pruners
    case("a pruner that is a word", "  low:\n    class", "  other: §word\n  low:\n    class").says(
        "pruner 'other' is a mapping", "not 'word'"
    ),
    case("a pruner without class", LOW, "  §high: {group_type: Filters}\n  low:\n").says(
        "'high' lacks its class", "`class:`"
    ),
    case("a pruner without weights", "    weights: [module.conv3.weight]\n", "").says(
        "pruner 'low' lacks 'weights'", "`weights: […]`"
    ),
    case("a pruner without sparsity", "    desired_sparsity: 0.5\n", "").says(
        "'low' lacks 'desired_sparsity'", "`desired_sparsity: 0.5`"
    ),
    case("a pruner without group_type", "    group_type: Filters\n", "").says(
        "'low' lacks 'group_type'", "`group_type: Filters`"
    ),
    case("weights that are a mapping", "[module.conv3.weight]", "§{conv3.weight: 1}").says(
        "weights is a list, not a mapping", "[a, b]"
    ),
    case("no weights", "[module.conv3.weight]", "§[]").says("'low' lists no weights"),
    case("a weight that is a mapping", "[module.conv3.weight]", "[§{a: b}]").says(
        "a number or a word is expected, not a mapping"
    ),
    case("a sparsity that is a word", "sparsity: 0.5", "sparsity: §half").says(
        "desired_sparsity is half"
    ),
    case("a sparsity that is a truth value", "sparsity: 0.5", "sparsity: §true").says(
        "desired_sparsity is True"
    ),
    case("a sparsity that is nan", "sparsity: 0.5", "sparsity: §.nan").says(
        "desired_sparsity is nan"
    ),
    case("an unknown group_type", "group_type: Filters", "group_type: §Filter").says(
        "no group_type is named 'Filter'", "did you mean 'Filters'?"
    ),
    case("kernels", "group_type: Filters", "group_type: §2D").says(
        "group_type 2D removes kernels", "use Filters or Channels"
    ),
    case("blocks", "group_type: Filters", "group_type: §Blocks").says(
        "blocks", "use Filters or Channels"
    ),
    case(
        "an unknown dependency", "    weights", "    group_dependency: §Follower\n    weights"
    ).says("no group_dependency is named 'Follower'", "Leader, Auto"),
    case(
        "a filter pruner of channels",
        "L1RankedStructureParameterPruner\n    group_type: Filters",
        "L1RankedFilterPruner\n    group_type: §Channels",
    ).says(
        "L1RankedFilterPruner prunes Filters",
        "for Channels write `class: L1RankedStructureParameterPruner`",
    ),
    case(
        "a group type of single weights",
        "L1RankedStructureParameterPruner\n    group_type: Filters\n    desired_sparsity: 0.5",
        "AutomatedGradualPruner\n    §group_type: Filters\n    initial_sparsity: 0\n    "
        "final_sparsity: 0.5",
    ).says("AutomatedGradualPruner has no argument 'group_type'", "weights"),
    case(
        "a desired sparsity of single weights",
        "L1RankedStructureParameterPruner\n    group_type: Filters\n    desired",
        "AutomatedGradualPruner\n    §desired",
    ).says("AutomatedGradualPruner has no argument 'desired_sparsity'", "final_sparsity"),
    case(
        "an AGP form of an unsupported one",
        "L1RankedStructureParameterPruner",
        "§BernoulliFilterPruner_AGP",
    ).says("BernoulliFilterPruner_AGP is not supported"),
    # extensions and schedulers
    case(
        "an unknown extension", "class: FilterRemover", "class: §KnowledgeDistillationPolicy"
    ).says("KnowledgeDistillationPolicy is not supported", "the trainer's loss function"),
    case("an extension that nobody knows", "class: FilterRemover", "class: §FilterRemove").says(
        "no class is named 'FilterRemove'", "did you mean 'FilterRemover'?"
    ),
    case("an older thinning function", "remove_filters", "§resnet_cifar_remove_filters").says(
        "no thinning_func_str is named 'resnet_cifar_remove_filters'",
        "did you mean 'remove_filters'?",
    ),
    case("an extension's unknown argument", "    arch: small", "    §archs: small").says(
        "no argument 'archs'", "did you mean 'arch'?"
    ),
    case("an unknown scheduler", "ExponentialLR", "§ExponentLR").says(
        "no class is named 'ExponentLR'", "did you mean 'ExponentialLR'?"
    ),
    case("a scheduler of Distiller's own", "ExponentialLR", "§MultiStepMultiGammaLR").says(
        "is not supported", "MultiStepLR"
    ),
    case("a scheduler that needs a metric", "ExponentialLR", "§ReduceLROnPlateau").says(
        "is not supported", "metric"
    ),
    case(
        "a scheduler's unknown argument", "    gamma: 0.95", "    gamma: 0.95\n    §gama: 0.9"
    ).says("no argument 'gama'", "did you mean 'gamma'?"),
    case("a scheduler that lacks an argument", "    gamma: 0.95\n", "").says(
        "'decay' of ExponentialLR lacks 'gamma'"
    ),
    case(
        "arguments that torch refuses",
        "class: ExponentialLR\n    gamma: 0.95",
        "class: §CosineAnnealingWarmRestarts\n    T_0: 0",
    ).says("torch refuses", "T_0"),
    case(
        "a step of no epochs",
        "class: ExponentialLR\n    gamma: 0.95",
        "class: §StepLR\n    step_size: 0",
    ).says("torch refuses", "StepLR"),
    case(
        "a cosine of no epochs",
        "class: ExponentialLR\n    gamma: 0.95",
        "class: §CosineAnnealingLR\n    T_max: 0",
    ).says("torch refuses"),
    case(
        "a milestone that is a word",
        "class: ExponentialLR\n    gamma: 0.95",
        "class: MultiStepLR\n    milestones: [30, §late]",
    ).says("a milestone is late", "whole number"),
    case("a rate that is nan", "gamma: 0.95", "gamma: §.nan").says("nan is not a finite number"),
    case(
        "a rate that is a word",
        "class: ExponentialLR\n    gamma: 0.95",
        "class: §ExponentialLR\n    gamma: slow",
    ).says("torch refuses", "ExponentialLR"),
    # policies
    case("policies that are no list", BASE[BASE.index("policies:") :], "policies: §none").says(
        "policies is a list, not 'none'"
    ),
    case("a policy that is a word", POLICY, "  - §low").says("a policy is a mapping", "not 'low'"),
    case("a policy's unknown key", "    epochs: [0]", "    §epoch: [0]").says(
        "a policy has no 'epoch'", "did you mean 'epochs'?"
    ),
    case("a policy of nothing", POLICY, "  - §epochs: [0]").says(
        "exactly one of pruner, regularizer, extension, lr_scheduler", "none"
    ),
    case(
        "a policy of two",
        "    epochs: [0]",
        "    extension:\n      instance_name: thinner\n    epochs: [0]",
    ).says("exactly one of", "this has pruner, extension"),
    case("a policy without instance_name", "      instance_name: low\n", "      §{}\n").says(
        "`instance_name:`", "low"
    ),
    case(
        "a policy's unknown argument",
        "instance_name: low\n",
        "instance_name: low\n      args: {§keep_masks: True}\n",
    ).says("a policy's pruner has no argument 'keep_masks'", "did you mean 'keep_mask'?"),
    case(
        "a frequency of batches that is not a number",
        "instance_name: low\n",
        "instance_name: low\n      args: {mini_batch_pruning_frequency: §often}\n",
    ).says("mini_batch_pruning_frequency is often", "whole number from 0"),
    case(
        "a mask kept perhaps",
        "instance_name: low\n",
        "instance_name: low\n      args: {keep_mask: §maybe}\n",
    ).says("keep_mask is maybe", "true or false"),
    case(
        "an extension's argument",
        "instance_name: thinner\n",
        "instance_name: thinner\n      args: {§keep_mask: True}\n",
    ).says("a policy's extension has no argument 'keep_mask'"),
    case(
        "arguments that are a list",
        "instance_name: low\n",
        "instance_name: low\n      args: §[levels]\n",
    ).says("args is a mapping", "not a list"),
    case(
        "a policy's other key", "instance_name: low\n", "instance_name: low\n      §name: low\n"
    ).says("'name' of a policy's pruner", "only instance_name and args are"),
    case(
        "a regularizer's policy", POLICY, "  - regularizer: {instance_name: §low}\n    epochs: [0]"
    ).says("no regularizer is named 'low'"),
    case(
        "a quantizer's policy", POLICY, "  - §quantizer: {instance_name: low}\n    epochs: [0]"
    ).says("a policy of a quantizer", "does not quantize"),
    case("epochs that are a number", "epochs: [0]", "epochs: §0").says("epochs is a list, not '0'"),
    case("no epochs", "epochs: [0]", "epochs: §[]").says("`epochs` is empty", "never act"),
    case("a negative epoch", "epochs: [0]", "epochs: [3, §-1]").says("an epoch is -1", "from 0"),
    case("half an epoch", "epochs: [0]", "epochs: [§0.5]").says("an epoch is 0.5", "whole number"),
    case("no time at all", POLICY, "  - §pruner:\n      instance_name: low").says(
        "lacks 'starting_epoch'", "epochs: […]"
    ),
    case("a range without end", "    ending_epoch: 9\n", "").says("lacks 'ending_epoch'"),
    case("a range that ends at its start", "ending_epoch: 9", "ending_epoch: §0").says(
        "ending_epoch 0 (exclusive) is not after starting_epoch 0"
    ),
    case("a frequency of 0", "frequency: 1", "frequency: §0").says("frequency is 0", "from 1"),
]
# where the mistake is that something is missing, the error names the entry that lacks it
MISSING = {
    "a pruner without weights": LOW,
    "a pruner without sparsity": LOW,
    "a pruner without group_type": LOW,
    "a scheduler that lacks an argument": "  decay:",
    "no policies and no pruners": "version",
    "a range without end": "  - lr_scheduler",
    "a policy of two": "  - pruner",
}


@pytest.mark.parametrize(("old", "new", "words"), READING)
def test_a_mistake_in_a_recipe_is_one_error_with_line_column_and_remedy(
    old: str, new: str, words: list[str], request: pytest.FixtureRequest
) -> None:
    text = BASE.replace(old, new, 1)
    if (name := request.node.callspec.id) in MISSING:
        entry = MISSING[name]
        text = text.replace(entry, re.sub(r"\w", lambda m: f"§{m[0]}", entry, count=1), 1)
    assert text.count("§") == 1
    refused(text, words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\n", ["recipe: empty", "pruners"]),
        ("# nothing\n", ["recipe: empty"]),
        ("- a\n- b", ["recipe:1:1", "the recipe is a mapping", "a list"]),
        ("policies: &a\n  [*a]", ["recipe:1:11", "a policy is a mapping"]),
        (
            "policies: []\nlr_schedulers:\n  s: {class: StepLR, step_size: &a [*a]}",
            ["recipe:3:33", "not a list"],
        ),
        ("a: " + "[" * 1000 + "\n", ["nested too deeply"]),
        ("a: 1\n--- \nb: 2", ["recipe:2:1", "not YAML"]),
    ],
)
def test_what_is_no_recipe_at_all_is_said_to_be_none(text: str, words: list[str]) -> None:
    refused(text, words)


@pytest.mark.parametrize("path", ["\0", "no such file", "a" * 5000, "", " "])
def test_a_file_that_cannot_be_read_is_an_error_that_fits_a_screen(path: str) -> None:
    with pytest.raises(
        pt.RecipeError, match=r"cannot be read: .*; give a path, or the YAML text itself"
    ) as caught:
        pt.load_recipe(path)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("key", ["initial_sparsity", "final_sparsity", "desired_sparsity"])
def test_the_argument_of_the_other_form_is_refused_with_the_form_to_use(key: str) -> None:
    text, other = (edited(*AGP), "Pruner;") if key == "desired_sparsity" else (BASE, "Pruner_AGP;")
    with pytest.raises(
        pt.RecipeError,
        match=f"has no argument '{key}'; that is of L1RankedStructureParameter{other}",
    ):
        pt.load_recipe(text.replace("    weights", f"    {key}: 0.5\n    weights"))


def test_an_agp_pruner_that_would_give_back_is_refused() -> None:
    with pytest.raises(
        pt.RecipeError,
        match=r"recipe:7:21: final_sparsity 0.5 is below initial_sparsity 0.6: what is removed",
    ):
        pt.load_recipe(edited(*AGP).replace("initial_sparsity: 0.1", "initial_sparsity: 0.6"))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"version: 1 # \xff")
    with pytest.raises(pt.RecipeError, match=r"a\.yaml: is not text in UTF-8: .* at byte 13"):
        pt.load_recipe(tmp_path / "a.yaml")


def test_an_agp_pruner_by_epochs_is_refused_with_the_range_to_write() -> None:
    with pytest.raises(
        pt.RecipeError, match=r"recipe:22:5: an _AGP pruner needs a range: write starting_epoch"
    ):
        pt.load_recipe(edited(*AGP[:2]))


def test_a_file_is_named_in_its_errors(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(edited(("version: 1", "version: 7")))
    with pytest.raises(pt.RecipeError, match=r"mine\.yaml:1:10: version 7"):
        pt.load_recipe(file)


# ---- mistakes that only the network shows

FITTING = [
    case(
        "a weight that matches nothing", "[conv3.weight, §module.conv33.weight]", "Filters", {}
    ).says("no parameter is named 'module.conv33.weight'", "did you mean 'conv3.weight'?"),
    case("a module in place of its weight", "[§module.conv3]", "Filters", {}).says(
        "no parameter is named 'module.conv3'", "conv3.weight"
    ),
    case("a pattern", "[§module.*.weight]", "Filters", {}).says(
        "'module.*.weight' is a pattern", "patterns of axes stand in `axes:`"
    ),
    case("a bias", "[§conv3.bias]", "Filters", {}).says(
        "conv3.bias has 1 dimensions and no Filters", "convolution or linear weight"
    ),
    case("the network's output", "[§fc2.weight]", "Rows", {}).says(
        "fc2.weight cannot be pruned by Rows", "dim 0 is frozen", "output"
    ),
    case("the network's input", "[§conv1.weight]", "Channels", {}).says(
        "conv1.weight cannot be pruned by Channels", "dim 1 is frozen", "input"
    ),
    case("a depthwise convolution's channels", "[§depthwise.weight]", "Channels", {}).says(
        "dim 1 is frozen", "remove it from the list"
    ),
    case("rows of a convolution", "[§conv3.weight]", "Rows", {}).says(
        "4 dimensions", "Rows are of matrices", "`group_type: Filters`"
    ),
    case("columns of a convolution", "[§conv3.weight]", "Cols", {}).says(
        "Cols are of matrices", "`group_type: Channels`"
    ),
    case(
        "a residual group without Leader",
        "[conv3.weight, conv1.weight, §conv2.weight]",
        "Filters",
        {},
    ).says(
        "pruner 'low' lists 2 weights",
        "the axis 'conv1' (16 units)",
        "conv1.weight, conv2.weight",
        "add at small.py",
        "group_dependency: Leader",
        "group_dependency: Auto",
        "in the pruner at recipe:3:3",
    ),
    case(
        "two readers of one tensor without Leader", "[conv2.weight, §conv3.weight]", "Channels", {}
    ).says(
        "2 weights that share the axis 'conv1'",
        "conv2.weight, conv3.weight",
        "group_dependency: Leader",
    ),
    case(
        "a Leader of another size",
        "[conv1.weight, §conv3.weight]",
        "Filters",
        {"group_dependency": "Leader"},
    ).says(
        "conv3.weight has 6 units ('conv3')",
        "the Leader conv1.weight ranks 16 ('conv1')",
        "`group_dependency: Auto`",
    ),
    case(
        "a Leader of several axes",
        "[depthwise.weight, §up.weight]",
        "Filters",
        {"group_dependency": "Leader"},
    ).says(
        "the axis 'up', which the Leader depthwise.weight lacks",
        "(conv1, conv3)",
        "`group_dependency: Auto`",
    ),
]


@pytest.mark.parametrize(("weights", "group_type", "more", "words"), FITTING)
def test_a_recipe_that_does_not_fit_the_network_is_refused_at_the_weights_place(
    weights: str, group_type: str, more: dict[str, str], words: list[str]
) -> None:
    before = (text := pruning(weights, group_type, **more))[: text.index("§")]
    with pytest.raises(pt.RecipeError) as caught:
        planned(text.replace("§", ""))
    said = str(caught.value)
    assert said.startswith(
        f"recipe:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}: "
    ), said
    for word in words:
        assert word in said, said


MORE = """\
  more:
    class: L1RankedStructureParameterPruner
    group_type: Channels
    desired_sparsity: {}
    weights: [conv3.weight]
extensions:"""


def twice(sparsity: float, epoch: int) -> str:
    """Half of conv1's filters at epoch 0, and by another pruner, the channels of conv3, which are
    the same axis.
    """
    return edited(
        ("[module.conv3.weight]", "[conv1.weight]"),
        ("extensions:", MORE.format(sparsity)),
        (
            "policies:\n",
            f"policies:\n  - pruner:\n      instance_name: more\n    epochs: [{epoch}]\n",
        ),
    )


def test_two_pruners_of_one_axis_in_one_epoch_are_refused() -> None:
    with pytest.raises(pt.RecipeError) as caught:
        planned(twice(0.5, epoch=0))
    for word in (
        "recipe:3:3: ",
        "'more' (by conv3.weight) and 'low' (by conv1.weight)",
        "the axis 'conv1' (16 units)",
        "add at small.py",
        "`group_dependency: Auto`",
        "different epochs",
    ):
        assert word in str(caught.value), str(caught.value)


def test_a_product_of_axes_is_refused_with_the_way_to_name_one() -> None:
    params = {
        "qkv.weight": torch.ones(12, 5),
        "q.weight": torch.ones(3, 7),
        "k.weight": torch.ones(4, 7),
    }
    spec = pt.Spec.from_layout(
        {"qkv.weight": "(heads dim) 5", "q.weight": "heads 7", "k.weight": "dim 7"}, params
    )
    with pytest.raises(
        pt.RecipeError,
        match=r"recipe:7:15: .*'\(heads dim\)', a product"
        r".*`axes: \{heads: 0\.5, dim",
    ):
        pt.plan(pt.load_recipe(pruning("[qkv.weight]", "Rows")), params, spec)


def test_a_weight_that_holds_nan_ranks_nothing() -> None:
    params = PARAMS | {"conv3.weight": PARAMS["conv3.weight"] * float("nan")}
    with pytest.raises(pt.MaskError, match=r"6 units of 'conv3'.*nan in conv3\.weight"):
        pt.plan(pt.load_recipe(BASE), params, SPEC)


# ---- what a recipe means


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrapped", [False, True])
def test_weights_are_named_with_or_without_module(prefix: str, wrapped: bool) -> None:
    """Of a plain model, and of one that `DataParallel` wraps."""
    model = nn.Sequential()
    model.add_module("module", MODEL)
    params = pt.params_of(model) if wrapped else PARAMS
    spec = pt.infer(model, params, torch.zeros(1, 3, 4, 4)) if wrapped else SPEC
    plan = pt.plan(pt.load_recipe(pruning(f"[{prefix}conv3.weight]")), params, spec)
    assert kept(plan.masks) == {"module.conv3" if wrapped else "conv3": 3}


MEANINGS = [
    case("filters of a convolution", "[conv3.weight]", "Filters", "").gives({"conv3": 3}),
    case("3D is Distiller's older name of filters", "[conv3.weight]", "3D", "").gives({"conv3": 3}),
    case("filters of a transposed convolution are its dim 1", "[up.weight]", "Filters", "").gives(
        {"up": 5}
    ),
    case("channels of a transposed convolution are its dim 0", "[up.weight]", "Channels", "").gives(
        {"conv1": 8, "conv3": 3}
    ),
    case("channels are the filters of what is read", "[conv3.weight]", "Channels", "").gives(
        {"conv1": 8}
    ),
    case("channels of a linear layer", "[fc1.weight]", "Channels", "").gives({"up": 5}),
    case("rows of a matrix", "[fc1.weight]", "Rows", "").gives({"fc1": 6}),
    case("columns of a matrix", "[fc2.weight]", "Cols", "").gives({"fc1": 6}),
    case(
        "filters of a depthwise convolution over a concatenation",
        "[depthwise.weight]",
        "Filters",
        "",
    ).gives({"conv1": 8, "conv3": 3}),
    case("several weights that share nothing", "[conv3.weight, up.weight]", "Filters", "").gives(
        {"conv3": 3, "up": 5}
    ),
    case("a Leader", "[conv2.weight, conv1.weight]", "Filters", "Leader").gives({"conv1": 8}),
    case(
        "groups found by Auto",
        "[conv1.weight, conv3.weight, conv2.weight, up.weight]",
        "Filters",
        "Auto",
    ).gives({"conv1": 8, "conv3": 3, "up": 5}),
    case(
        "readers grouped by Auto", "[conv2.weight, conv3.weight, fc1.weight]", "Channels", "Auto"
    ).gives({"conv1": 8, "up": 5}),
]


@pytest.mark.parametrize(("weights", "group_type", "dependency", "left"), MEANINGS)
def test_a_weight_and_a_group_type_pick_the_axes(
    weights: str, group_type: str, dependency: str, left: dict[str, int]
) -> None:
    more = {"group_dependency": dependency} if dependency else {}
    assert kept(planned(pruning(weights, group_type, **more)).masks) == left


@pytest.mark.parametrize(
    ("weights", "group_type", "dependency", "leader", "others"),
    [
        ("[conv1.weight, conv2.weight]", "Filters", "Leader", "conv1.weight", (1, 2, 3)),
        ("[conv2.weight, conv1.weight]", "Filters", "Leader", "conv2.weight", (1, 2, 3)),
        ("[conv2.weight, conv1.weight]", "Filters", "Auto", "conv2.weight", (1, 2, 3)),
        ("[conv3.weight, conv2.weight]", "Channels", "Leader", "conv3.weight", (0, 2, 3)),
    ],
)
@pytest.mark.parametrize("power", [1, 2])
def test_the_first_listed_weight_ranks_its_group(
    weights: str, group_type: str, dependency: str, leader: str, others: tuple[int, ...], power: int
) -> None:
    text = pruning(weights, group_type, group_dependency=dependency).replace(
        "L1Ranked", f"L{power}Ranked"
    )
    masks = planned(text).masks
    lowest = (PARAMS[leader].abs() ** power).sum(others).argsort()[:8]
    assert set((~masks["conv1"]).nonzero()[:, 0].tolist()) == set(lowest.tolist())


def test_l1_and_l2_rank_differently() -> None:
    weight = torch.ones(6, 16, 1, 1)
    weight[:3] = 0
    weight[:3, :2] = 6.0  # Σ|w| is 12 against 16, Σw² is 72 against 16
    params = PARAMS | {"conv3.weight": weight}
    kept_by = [
        pt.plan(pt.load_recipe(BASE.replace("L1Ranked", ranked)), params, SPEC)
        .masks["conv3"]
        .tolist()
        for ranked in ("L1Ranked", "L2Ranked")
    ]
    assert kept_by == [[False] * 3 + [True] * 3, [True] * 3 + [False] * 3]


def test_one_leader_ranks_several_axes_of_one_size_alike() -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    params = pt.params_of(model)
    spec = pt.infer(model, params, torch.zeros(1, 3))
    first, second = spec.axes
    masks = pt.plan(
        pt.load_recipe(pruning("[2.weight, 0.weight]", "Rows", group_dependency="Leader")),
        params,
        spec,
    ).masks
    assert torch.equal(masks[first], masks[second])
    assert set((~masks[first]).nonzero()[:, 0].tolist()) == set(
        params["2.weight"].abs().sum(1).argsort()[:4].tolist()
    )


# ---- by epoch


def test_half_and_half_again_of_16_leaves_8() -> None:
    once = kept(
        planned(
            pruning("[conv3.weight, fc2.weight, conv2.weight]", "Channels", group_dependency="Auto")
        ).masks
    )
    again = edited(
        ("[module.conv3.weight]", "[conv1.weight]"),
        ("Filters", "Filters\n    group_dependency: Leader"),
        ("epochs: [0]", "epochs: [0, 1, 5]"),
    )
    assert once["conv1"] == 8
    assert kept(planned(again).masks) == {"conv1": 8}


def test_what_is_removed_stays_removed_whatever_the_weights_become() -> None:
    recipe = pt.load_recipe(edited(*AGP))
    first = recipe.on(SPEC).masks_at(4, PARAMS, {})
    flipped = PARAMS | {"conv3.weight": 1 / PARAMS["conv3.weight"]}
    second = recipe.on(SPEC).masks_at(7, flipped, first)
    assert 0 < int((~first["conv3"]).sum()) < int((~second["conv3"]).sum())
    assert not (second["conv3"] & ~first["conv3"]).any()


@pytest.mark.parametrize(("sparsity", "left"), [(0.25, 8), (0.5, 8), (0.75, 4)])
def test_another_pruner_of_the_axis_adds_to_what_is_removed_and_never_gives_back(
    sparsity: float, left: int
) -> None:
    recipe = pt.load_recipe(twice(sparsity, epoch=3))
    first = recipe.on(SPEC).masks_at(0, PARAMS, {})
    both = recipe.on(SPEC).masks_at(3, PARAMS, first)
    assert (kept(first), kept(both)) == ({"conv1": 8}, {"conv1": left})
    assert not (both["conv1"] & ~first["conv1"]).any()


@pytest.mark.parametrize(
    ("sparsity", "left"), [(0, 6), (0.0, 6), (0.16, 6), (0.17, 5), (1, 1), (1.0, 1)]
)
def test_of_6_filters_the_floor_goes_and_never_the_last(sparsity: float, left: int) -> None:
    assert kept(planned(pruning("[conv3.weight]", desired_sparsity=sparsity)).masks) == {
        "conv3": left
    }


def test_29_percent_of_100_units_are_29() -> None:
    params = {"w": torch.rand(100, 3)}
    spec = pt.Spec.from_layout({"w": "units 3"}, params)
    assert kept(
        pt.plan(pt.load_recipe(pruning("[w]", "Rows", desired_sparsity=0.29)), params, spec).masks
    ) == {"units": 71}


def test_among_equal_filters_the_first_go_and_no_more_than_asked() -> None:
    params = PARAMS | {"conv3.weight": torch.ones_like(PARAMS["conv3.weight"])}
    assert (
        pt.plan(pt.load_recipe(BASE), params, SPEC).masks["conv3"].tolist()
        == [False] * 3 + [True] * 3
    )


def test_an_agp_pruner_follows_the_formula_on_its_own_epochs() -> None:
    recipe = pt.load_recipe(
        edited(*AGP, ("[module.conv3.weight]", "[fc1.weight]"), ("Filters", "Rows"))
    )
    rows = pt.plan(recipe, PARAMS, SPEC).rows
    assert [r.epoch for r in rows] == [1, 4, 7]
    want = [
        int(12 * pt.agp(r.epoch, initial=0.1, final=0.5, begin=1, end=8, frequency=3)) for r in rows
    ]
    assert [r.removed for r in rows] == want == [1, 5, 6]


@pytest.mark.parametrize("edits", [[], AGP], ids=["one shot", "AGP"])
def test_the_plans_masks_are_those_of_the_epochs_one_by_one(edits: list[tuple[str, str]]) -> None:
    recipe = pt.load_recipe(edited(*edits))
    masks: dict[str, Tensor] = {}
    for epoch in range(recipe.last_epoch + 1):
        masks = recipe.on(SPEC).masks_at(epoch, pt.mask(PARAMS, SPEC, masks), masks)
    plan = pt.plan(recipe, PARAMS, SPEC)
    assert plan.masks.keys() == masks.keys() == {"conv3"}
    assert torch.equal(plan.masks["conv3"], masks["conv3"])
    assert plan.after == pt.cost(SPEC, masks) and plan.before == pt.cost(SPEC)


def test_thinning_and_schedulers_happen_at_their_epochs() -> None:
    recipe = pt.load_recipe(BASE)
    assert [e for e in range(12) if recipe.thins_at(e)] == [2]
    assert [e for e in range(12) if recipe.at(e, Scheduler)] == [*range(9)]
    assert recipe.last_epoch == 8
    optimizer = torch.optim.SGD(MODEL.parameters(), lr=1.0)
    scheduler = build_schedulers(recipe.schedulers.values(), optimizer)["decay"]
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.95)


@pytest.mark.parametrize(
    ("scheduler", "arguments"),
    [
        (
            "{class: MultiStepLR, milestones: [30, 60], gamma: 0.2}",
            {"milestones": [30, 60], "gamma": 0.2},
        ),
        ("{class: CosineAnnealingLR, T_max: 9}", {"T_max": 9}),
        ("{class: StepLR, step_size: 3, gamma: 1e-1}", {"step_size": 3, "gamma": 0.1}),
        ("{class: CosineAnnealingWarmRestarts, T_0: 4}", {"T_0": 4}),
    ],
)
def test_schedulers_are_torchs_own_with_their_arguments(
    scheduler: str, arguments: dict[str, object]
) -> None:
    recipe = pt.load_recipe(
        edited(("\n    class: ExponentialLR\n    gamma: 0.95", f" {scheduler}"))
    )
    assert recipe.schedulers["decay"].arguments == arguments
    made = build_schedulers(
        recipe.schedulers.values(), torch.optim.SGD(MODEL.parameters(), lr=0.1)
    )["decay"]
    assert type(made).__name__ == recipe.schedulers["decay"].kind


def test_empty_sections_and_anchors_are_read() -> None:
    text = edited(
        ("extensions:\n  thinner:", "regularizers:\nquantizers: {}\nextensions:\n  thinner:"),
        ("[module.conv3.weight]", "&listed [module.conv3.weight]"),
    )
    pruner = pt.load_recipe(text).pruners["low"]
    assert (pruner.weights, pruner.places) == (("module.conv3.weight",), ("recipe:7:23",))


# ---- as Distiller's own files have it

REFUSED = {  # class: what the answer must offer
    **dict.fromkeys(
        [
            "MagnitudeParameterPruner",
            "SparsityLevelParameterPruner",
            "SensitivityPruner",
            "SplicingPruner",
            "BaiduRNNPruner",
        ],
        "AutomatedGradualPruner",
    ),
    **dict.fromkeys(
        [
            "BernoulliFilterPruner",
            "BernoulliFilterPruner_AGP",
            "RandomLevelStructureParameterPruner",
            "StructuredAGP",
            "StructureParameterPruner",
            "FMReconstructionChannelPruner",
            "LpRankedStructureParameterPruner",
        ],
        "L1RankedStructureParameterPruner",
    ),
    "ActivationRankedFilterPruner": "ActivationAPoZRankedFilterPruner",
}


@pytest.mark.parametrize(("kind", "instead"), REFUSED.items(), ids=list(REFUSED))
def test_a_pruner_of_distillers_that_is_not_done_is_refused_by_its_name_with_what_to_use(
    kind: str, instead: str
) -> None:
    with pytest.raises(pt.RecipeError, match=rf"recipe:4:12: {kind} is not supported: .*{instead}"):
        pt.load_recipe(edited(("L1RankedStructureParameterPruner", kind)))


@pytest.mark.parametrize("kind", ["2D", "4D", "Blocks", "Channels2D", "Rows+Cols", "Channels+4D"])
def test_a_group_type_that_leaves_no_smaller_network_is_refused_by_its_name(kind: str) -> None:
    with pytest.raises(
        pt.RecipeError,
        match=rf"recipe:5:17: group_type {re.escape(kind)} removes .*use Filters or Channels",
    ):
        pt.load_recipe(edited(("group_type: Filters", f"group_type: {kind}")))


@pytest.mark.parametrize(
    "argument",
    [
        "kwargs: {block_shape: [1, 8, 1, 1]}",
        "group_size: 4",
        "rounding_fn: ceil",
        "noise: 0.1",
        "magnitude_fn: l1_norm",
        "reg_regims: {conv3.weight: [0.5, 3D]}",
    ],
)
def test_an_argument_of_a_pruner_that_is_not_done_is_refused_by_its_name(argument: str) -> None:
    with pytest.raises(
        pt.RecipeError,
        match=rf"recipe:7:5: '{argument.split(':')[0]}' is not supported: .*; remove it",
    ):
        pt.load_recipe(edited(("    weights", f"    {argument}\n    weights")))


SWITCHES = [
    "mask_on_forward_only",
    "mask_gradients",
    "use_double_copies",
    "discard_masks_at_minibatch_end",
    "skip_first_minibatch",
    "fold_batchnorm",
]


@pytest.mark.parametrize(
    "argument", [*(f"{switch}: True" for switch in SWITCHES), "levels: {conv3.weight: 0.5}"]
)
def test_an_argument_of_a_policy_that_is_not_done_is_refused_by_its_name(argument: str) -> None:
    text = edited(("instance_name: low\n", f"instance_name: low\n      args: {{{argument}}}\n"))
    with pytest.raises(
        pt.RecipeError,
        match=rf"recipe:21:14: '{argument.split(':')[0]}' is not supported: .*; remove it",
    ):
        pt.load_recipe(text)


def test_what_a_policy_switches_off_is_off_here_too() -> None:
    off = ", ".join(f"{switch}: False" for switch in SWITCHES)
    text = edited(
        (
            "instance_name: low\n",
            f"instance_name: low\n      args: {{{off}, keep_mask: True, levels: }}\n",
        )
    )
    assert pt.load_recipe(text) == pt.load_recipe(BASE)


def test_one_weight_may_stand_without_brackets() -> None:
    assert pt.load_recipe(
        edited(("[module.conv3.weight]", "module.conv3.weight"))
    ) == pt.load_recipe(BASE)


def test_a_parallel_wrapper_within_a_name_may_be_there_or_not() -> None:
    model = nn.Sequential()
    model.add_module("features", nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)))
    params = pt.params_of(model)
    spec = pt.infer(model, params, torch.zeros(1, 3))
    plan = pt.plan(pt.load_recipe(pruning("[features.module.0.weight]", "Rows")), params, spec)
    assert kept(plan.masks) == {"features.0": 4}


@pytest.mark.parametrize("form", ["StructureParameterPruner", "FilterPruner"])
@pytest.mark.parametrize(
    ("first", "criterion"),
    [
        ("L1Ranked", "l1"),
        ("L2Ranked", "l2"),
        ("ActivationAPoZRanked", "apoz"),
        ("ActivationMeanRanked", "activation_mean"),
        ("GradientRanked", "gradient"),
        ("RandomRanked", "random"),
    ],
)
def test_a_class_names_its_criterion_in_both_forms_and_gradually(
    first: str, criterion: str, form: str
) -> None:
    once = pt.load_recipe(edited(("L1RankedStructureParameterPruner", first + form)))
    text = edited(*AGP).replace("L1RankedStructureParameterPruner", first + form)
    slowly = pt.load_recipe(text).pruners["low"]
    assert once.pruners["low"].criterion == slowly.criterion == criterion
    assert (once.pruners["low"].gradual, slowly.gradual, slowly.initial) == (False, True, 0.1)


def test_a_filter_pruner_needs_no_group_type() -> None:
    text = edited(
        ("L1RankedStructureParameterPruner\n    group_type: Filters", "L1RankedFilterPruner")
    )
    assert pt.load_recipe(text) == pt.load_recipe(BASE)


# ---- pruners alone

ALONE = BASE[: BASE.index("lr_schedulers:")]


def test_a_recipe_of_pruners_alone_is_planned_as_its_end_with_one_note() -> None:
    for text in (ALONE, edited(*AGP[:2])[: edited(*AGP[:2]).index("lr_schedulers:")]):
        plan = planned(text)
        assert kept(plan.masks) == {"conv3": 3}
        assert [(r.epoch, r.sparsity) for r in plan.rows] == [(0, 0.5)]
        (note,) = plan.notes
        assert note.startswith("no policy says when") and "`policies`" in note
        masks = pt.load_recipe(text).on(SPEC).masks_at(0, PARAMS, {})
        assert torch.equal(masks["conv3"], plan.masks["conv3"])


@pytest.mark.parametrize("edits", [[], AGP[:2]], ids=["one shot", "AGP"])
def test_a_trainer_asks_for_policies_with_the_lines_to_add(edits: list[tuple[str, str]]) -> None:
    text = edited(*edits)
    text = text[: text.index("lr_schedulers:")]
    with pytest.raises(pt.RecipeError, match=r"recipe:1:1: no policies: .* Add") as caught:
        pt.load_recipe(text).require_policies()
    lines = str(caught.value).partition("Add\n")[2]
    recipe = pt.Recipe.from_yaml(text + lines)
    recipe.require_policies()
    plan = pt.plan(recipe, PARAMS, SPEC)
    assert plan.notes == () and torch.equal(plan.masks["conv3"], planned(text).masks["conv3"])


# ---- equality, anchors and merge keys


def test_recipes_are_equal_that_say_the_same_wherever_it_stands(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "# elsewhere\n\n" + BASE.replace("[module.conv3.weight]", "\n    - module.conv3.weight")
    )
    other = pt.load_recipe(tmp_path / "a.yaml")
    assert other == pt.load_recipe(BASE)
    assert other != pt.load_recipe(edited(("0.5", "0.6")))
    assert other != pt.load_recipe(edited(("epochs: [0]", "epochs: [1]")))


MERGED = (
    BASE.replace(
        "extensions:",
        "  high: {<<: *low, desired_sparsity: 0.25, weights: [conv1.weight]}\n"
        "  alike: {<<: [*own, *low]}\nextensions:",
    )
    .replace("  low:\n", "  low: &low\n")
    .replace(
        "pruners:\n",
        "pruners:\n  own: &own {class: L2RankedFilterPruner, desired_sparsity: 0.1, "
        "weights: [conv3.weight]}\n",
    )
)


def test_a_merge_key_gives_what_its_mapping_does_not_say_and_the_first_of_several_counts() -> None:
    pruners = pt.load_recipe(MERGED).pruners
    low, high, alike = pruners["low"], pruners["high"], pruners["alike"]
    assert (high.criterion, high.final, high.weights) == (low.criterion, 0.25, ("conv1.weight",))
    assert (alike.criterion, alike.final, alike.weights) == ("l2", 0.1, ("conv3.weight",))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("policies: []\npruners: &a\n  <<: *a\n  p: {class: X}", ["recipe:4:14", "'X'"]),
        (
            "policies: []\npruners:\n  p: {<<: 1}",
            ["recipe:3:11", "pruner 'p' is a mapping", "not '1'"],
        ),
        (
            "policies: []\npruners:\n  p: {<<: [[a]]}",
            ["recipe:3:12", "pruner 'p' is a mapping", "not a list"],
        ),
        ("policies: []\npruners:\n  p: {<<: {a: 1, a: 2}}", ["recipe:3:18", "'a' stands twice"]),
        ("policies: []\npruners:\n  p: {<<: {}, <<: {}}", ["recipe:3:15", "'<<' stands twice"]),
    ],
)
def test_a_merge_key_that_merges_no_mapping_is_an_error_at_its_place(
    text: str, words: list[str]
) -> None:
    refused(text, words)


def test_merges_of_merges_take_no_time() -> None:
    """Each line doubles what naive copying would read."""
    lines = [
        "  p0: &p0 {class: L1RankedFilterPruner, desired_sparsity: 0.5, weights: [conv3.weight]}"
    ]
    lines += [f"  p{i}: &p{i} {{<<: [*p{i - 1}, *p{i - 1}]}}" for i in range(1, 200)]
    recipe = pt.load_recipe("policies: []\npruners:\n" + "\n".join(lines))
    assert len(recipe.pruners) == 200 and recipe.pruners["p199"].final == 0.5


def test_the_schedule_that_the_page_shows_is_read() -> None:
    page = Path(__file__).parent.parent / "docs" / "distiller.md"
    text, ours, by_axis = blocks(page.read_text(encoding="utf-8"), "yaml")
    (heads,) = pt.load_recipe(by_axis).pruners.values()
    assert heads.by_axis is not None and heads.criterion == "taylor"
    assert pt.load_recipe(text).last_epoch == 49
    assert pt.load_recipe(ours).pruners["all"].target == {"macs": 0.5}
