"""What Distiller's schedules may ask for and purethin does not do: by name, why, and what to write
instead.

Every feature of Distiller's is either carried out or refused with a reason.
"""

from __future__ import annotations

from collections.abc import Collection

import yaml

from purethin.errors import nearest
from purethin.recipes import nodes
from purethin.recipes.nodes import Fields

_AGP = "L1RankedStructureParameterPruner_AGP"
_RANKED = f"use L1RankedStructureParameterPruner or {_AGP}"
_REASONS = {
    "MagnitudeParameterPruner SparsityLevelParameterPruner SensitivityPruner SplicingPruner "
    "BaiduRNNPruner": "it zeroes single weights by a rule of its own; use AutomatedGradualPruner, "
    "or to thin, L1RankedStructureParameterPruner",
    "RandomLevelStructureParameterPruner BernoulliFilterPruner": "it drops other filters at every "
    f"batch and removes none; {_RANKED}",
    "StructuredAGP": f"name its ranking: {_AGP}",
    "StructuredAutomatedGradualPruner": f"it is an older name; use {_AGP}",
    "LpRankedStructureParameterPruner": f"name its power; {_RANKED}",
    "StructureParameterPruner": "it prunes below a fixed threshold; use "
    "L1RankedStructureParameterPruner with desired_sparsity",
    "ActivationRankedFilterPruner": "name its statistic: ActivationAPoZRankedFilterPruner or "
    "ActivationMeanRankedFilterPruner",
    "FMReconstructionChannelPruner": "it solves for new weights from feature maps; "
    f"{_RANKED} with group_type: Channels",
    "L1RegularizedWeights": "use L1Regularizer",
    "L2Regularizer": "use the optimizer's weight_decay",
    "GroupVarianceRegularizer": "it leaves no group near zero; use GroupLassoRegularizer",
    "DistributionRegularizer PotentialWellLatticeRegularizer": "it pulls single weights, or "
    "blocks, and no unit becomes empty; use GroupLassoRegularizer",
    "ResnetCifarChannelRemover": "it is an older name; use ChannelRemover",
    "ResnetCifarFilterRemover": "it is an older name; use FilterRemover",
    "ResnetCifarLayerRemover ResnetLayerRemover": "whole layers stay; use FilterRemover",
    "LotteryTicket LotteryTicketExtension KnowledgeDistillationPolicy": "it belongs to the "
    "training script: put it into the trainer's loss function, and remove it here",
    "MultiStepMultiGammaLR": "it is Distiller's own; use torch's MultiStepLR",
    "LambdaLR MultiplicativeLR": "it needs a function, which YAML cannot hold; use ExponentialLR "
    "or MultiStepLR",
    "ReduceLROnPlateau": "it needs a metric at each step; use ExponentialLR or MultiStepLR",
    "ChainedScheduler SequentialLR": "it needs schedulers as arguments; list them under "
    "lr_schedulers, each with a policy",
}
CLASSES = {name: why for names, why in _REASONS.items() for name in names.split()}
"""Classes: pruners, regularizers, extensions, learning-rate schedulers."""
SECTIONS = {"quantizers": "purethin does not quantize; thin first, then quantize the result"}
"""Sections, and the policies of their instances."""
GROUPS = {
    "2D": "kernels",
    "4D": "whole layers",
    "Blocks": "blocks within a matrix",
    "Channels2D": "parts of channels",
    "Rows+Cols": "rows and columns at once",
    "Cols+Rows": "rows and columns at once",
    "Channels+4D": "channels and the whole layer at once",
    "4D+Channels": "channels and the whole layer at once",
}
"""Group types, and what they would remove."""
ARGUMENTS = {
    "reg_regims": (
        "it is an older form; a pruner has one `group_type`, one sparsity, and its weights under "
        "`weights`"
    ),
    "kwargs": "it holds the shape of blocks, and blocks leave no smaller network",
    "group_size": "units are removed one by one; pt.select(…, round_to=…) keeps multiples",
    "rounding_fn": "of n units floor(sparsity · n) are removed",
    "noise": "the ranking is repeatable; for a random one use RandomRankedStructureParameterPruner",
    "magnitude_fn": "the class names the norm: L1Ranked… or L2Ranked…",
    "sparsity_range": "write `desired_sparsity`",
    "threshold": "the ranking decides; write `desired_sparsity`",
    "levels": "one pruner has one sparsity: write a pruner for each level",
    "mask_on_forward_only": "what is removed is zero in the weights too",
    "mask_gradients": "the trainer does so in any case",
    "use_double_copies": "what is removed stays removed",
    "discard_masks_at_minibatch_end": "what is removed stays removed",
    "skip_first_minibatch": "masks change as epochs begin; let the policy start an epoch later",
    "fold_batchnorm": "filters are ranked by their own weights",
}
"""Arguments of its pruners, and of the `args` of their policies."""


def class_of(
    name: str, at: yaml.Node, entries: Fields, known: Collection[str]
) -> tuple[str, Fields]:
    """The class that an instance names, one of those known, and its other entries.

    Raises:
        RecipeError: it names none, one that is refused (with why), or one that nobody knows.
    """
    if "class" not in entries:
        nodes.fail(at, f"'{name}' lacks its class; write `class:` and one of {', '.join(known)}")
    kind = str(nodes.value(node := entries["class"][1]))
    if refused := CLASSES.get(kind) or CLASSES.get(kind.removesuffix("_AGP")):
        nodes.fail(node, f"{kind} is not supported: {refused}")
    if kind not in known:
        nodes.fail(node, f"no class is named '{kind}' here; {nearest(kind, known)}")
    return kind, {key: entry for key, entry in entries.items() if key != "class"}


def off(name: str, at: yaml.Node, entry: yaml.Node) -> bool:
    """Whether an entry is an argument that purethin does not do, switched off, which is Distiller's
    default.

    Raises:
        RecipeError: it is one, and is not switched off.
    """
    if name not in ARGUMENTS:
        return False
    if not (
        nodes.empty(entry) or (isinstance(entry, yaml.ScalarNode) and nodes.value(entry) is False)
    ):
        nodes.fail(at, f"'{name}' is not supported: {ARGUMENTS[name]}; remove it")
    return True
