"""purethin: prune whole filters, channels, heads and neurons of PyTorch networks, physically, with pure functions."""

from purethin.check import Report, check
from purethin.cost import Cost, cost
from purethin.errors import CheckpointError, MaskError, PurethinError, RecipeError, SpecError
from purethin.infer import infer
from purethin.modules import params_of, rebuild
from purethin.rules import rule
from purethin.spec import Axis, Spec
from purethin.thin import expand, mask, thin, thin_spec, thin_tree
