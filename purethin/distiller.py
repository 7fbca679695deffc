"""What Distiller's schedules may ask for and purethin does not do: by name, why, and what to write instead."""

_RANKED = "use L1RankedStructureParameterPruner (or its _AGP form)"
_SINGLE = f"it zeroes single weights and thins nothing; {_RANKED}"
_RANDOM = f"random ranking is not read from recipes yet (pt.random_scores has it); {_RANKED}"
_ACTIVATION = f"activation criteria are not read from recipes yet; {_RANKED}"
_FUNCTION = "it needs a function, which YAML cannot hold; use ExponentialLR or MultiStepLR"
_SCHEDULERS = "it needs schedulers as arguments; list them under lr_schedulers, each with a policy"
CLASSES = {
    "MagnitudeParameterPruner": _SINGLE,
    "SparsityLevelParameterPruner": _SINGLE,
    "SensitivityPruner": _SINGLE,
    "SplicingPruner": _SINGLE,
    "BaiduRNNPruner": _SINGLE,
    "AutomatedGradualPruner": "it zeroes single weights; for whole filters use L1RankedStructureParameterPruner_AGP",
    "StructuredAGP": "name its ranking: L1RankedStructureParameterPruner_AGP",
    "LpRankedStructureParameterPruner": f"name its power; {_RANKED}",
    "StructureParameterPruner": "it prunes below a fixed threshold; use L1RankedStructureParameterPruner with desired_sparsity",
    "ActivationRankedFilterPruner": _ACTIVATION,
    "ActivationAPoZRankedFilterPruner": _ACTIVATION,
    "ActivationMeanRankedFilterPruner": _ACTIVATION,
    "FMReconstructionChannelPruner": _ACTIVATION,
    "GradientRankedFilterPruner": f"gradient criteria are not read from recipes yet; {_RANKED}",
    "RandomRankedFilterPruner": _RANDOM,
    "RandomLevelStructureParameterPruner": _RANDOM,
    "BernoulliFilterPruner": _RANDOM,
    "L1RegularizedWeights": "regularizers are not read from recipes yet; remove the section",
    "GroupLassoRegularizer": "regularizers are not read from recipes yet; remove the section",
    "MultiStepMultiGammaLR": "it is Distiller's own; use torch's MultiStepLR",
    "LambdaLR": _FUNCTION,
    "MultiplicativeLR": _FUNCTION,
    "ReduceLROnPlateau": "it needs a metric at each step; use ExponentialLR or MultiStepLR",
    "ChainedScheduler": _SCHEDULERS,
    "SequentialLR": _SCHEDULERS,
}
"""Classes: pruners, regularizers, learning-rate schedulers."""
SECTIONS = {
    "regularizers": "regularizers are not supported yet",
    "quantizers": "purethin does not quantize; thin first, then quantize the result",
}
"""Sections, and the policies of their instances."""
GROUPS = {
    "2D": "kernels",
    "4D": "whole layers",
    "Blocks": "blocks within a matrix",
    "Channels2D": "parts of channels",
}
"""Group types, and what they would remove."""
ARGUMENTS = {
    "kwargs": "it holds the shape of blocks, and blocks leave no smaller network",
    "group_size": "units are removed one by one; for multiples use pt.select(scores, sparsity, round_to=…)",
    "rounding_fn": "of n units floor(sparsity · n) are removed",
    "noise": "the ranking is repeatable; for a random one use pt.random_scores",
    "magnitude_fn": "the class names the norm: L1Ranked… or L2Ranked…",
    "threshold": "the ranking decides; write `desired_sparsity`",
    "levels": "one pruner has one sparsity: write a pruner for each level",
    "mini_batch_pruning_frequency": "masks change as epochs begin",
    "mask_on_forward_only": "what is removed is zero in the weights too",
    "mask_gradients": "the trainer does so in any case",
    "use_double_copies": "what is removed stays removed",
    "keep_mask": "what is removed stays removed",
}
"""Arguments of its pruners, and of the `args` of their policies."""
