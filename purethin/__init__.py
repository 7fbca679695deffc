"""purethin: prune whole filters, channels, heads and neurons of PyTorch networks, physically, with
pure functions.

The public names, each imported when it is first used.
"""

from typing import TYPE_CHECKING

from purethin.lazy import attach

__version__ = "0.1.0"

if TYPE_CHECKING:
    from purethin import criteria as criteria
    from purethin import plot as plot
    from purethin.branches import drop as drop
    from purethin.branches import leave_branch_out as leave_branch_out
    from purethin.branches import whole_branches as whole_branches
    from purethin.budgets.latency import LatencyTable as LatencyTable
    from purethin.budgets.multiples import Needs as Needs
    from purethin.budgets.multiples import round_for as round_for
    from purethin.budgets.polynomial import Amounts as Amounts
    from purethin.budgets.polynomial import CostFunction as CostFunction
    from purethin.budgets.polynomial import cost_function as cost_function
    from purethin.budgets.sensitivity import Profile as Profile
    from purethin.budgets.sensitivity import sensitivity as sensitivity
    from purethin.budgets.solve import Options as Options
    from purethin.budgets.solve import Solution as Solution
    from purethin.budgets.solve import solution as solution
    from purethin.budgets.solve import solve as solve
    from purethin.budgets.timing import latency_table as latency_table
    from purethin.budgets.worth import Worth as Worth
    from purethin.budgets.worth import worth as worth
    from purethin.comparison import Report as Report
    from purethin.comparison import check as check
    from purethin.comparison import check_dense as check_dense
    from purethin.costs import Cost as Cost
    from purethin.costs import cost as cost
    from purethin.criteria import activation_mean as activation_mean
    from purethin.criteria import apoz as apoz
    from purethin.criteria import fisher as fisher
    from purethin.criteria import lp_norm as lp_norm
    from purethin.criteria import output_taylor as output_taylor
    from purethin.criteria import random_scores as random_scores
    from purethin.criteria import taylor as taylor
    from purethin.criteria import wanda as wanda
    from purethin.deploying.configs import ConfigReport as ConfigReport
    from purethin.deploying.configs import sync_config as sync_config
    from purethin.errors import CheckpointError as CheckpointError
    from purethin.errors import MaskError as MaskError
    from purethin.errors import OptionError as OptionError
    from purethin.errors import PurethinError as PurethinError
    from purethin.errors import RecipeError as RecipeError
    from purethin.errors import SpecError as SpecError
    from purethin.finding import find as find
    from purethin.finding import role as role
    from purethin.inference.infer import infer as infer
    from purethin.inference.rules import laws as laws
    from purethin.inference.rules import rule as rule
    from purethin.inference.rules.call import Call as Call
    from purethin.influence import block_influence as block_influence
    from purethin.loops.along import narrow_along as narrow_along
    from purethin.loops.narrow import narrow as narrow
    from purethin.loops.narrow import thin_module as thin_module
    from purethin.loops.steps import lr_factors as lr_factors
    from purethin.measuring.measure import measure as measure
    from purethin.measuring.stats import Features as Features
    from purethin.measuring.stats import Gradients as Gradients
    from purethin.measuring.stats import Gram as Gram
    from purethin.measuring.stats import Stats as Stats
    from purethin.modules import params_of as params_of
    from purethin.modules import rebuild as rebuild
    from purethin.modules import split as split
    from purethin.optimizers.slots import check_optimizer as check_optimizer
    from purethin.optimizers.slots import thin_state as thin_state
    from purethin.oracle import leave_one_out as leave_one_out
    from purethin.oracle import leave_out as leave_out
    from purethin.oracle import subsets as subsets
    from purethin.recipes import curves as curves
    from purethin.recipes.curves import agp as agp
    from purethin.recipes.plan import Plan as Plan
    from purethin.recipes.plan import plan as plan
    from purethin.recipes.pruning import Pruning as Pruning
    from purethin.recipes.recipe import Recipe as Recipe
    from purethin.recipes.recipe import load_recipe as load_recipe
    from purethin.recipes.scheduling import schedule as schedule
    from purethin.recipes.writing import recipe_for as recipe_for
    from purethin.records import Axis as Axis
    from purethin.records import Norm as Norm
    from purethin.records import Site as Site
    from purethin.repairing.constants import fold as fold
    from purethin.repairing.least_squares import repair as repair
    from purethin.repairing.statistics import fresh_statistics as fresh_statistics
    from purethin.selection import select as select
    from purethin.spec import Masks as Masks
    from purethin.spec import Scores as Scores
    from purethin.spec import Spec as Spec
    from purethin.storage import load as load
    from purethin.storage import save as save
    from purethin.thinning import expand as expand
    from purethin.thinning import mask as mask
    from purethin.thinning import thin as thin
    from purethin.thinning import thin_spec as thin_spec
    from purethin.thinning import thin_tree as thin_tree
    from purethin.training.core import Change as Change
    from purethin.training.core import State as State
    from purethin.training.core import advance as advance
    from purethin.training.core import begin as begin
    from purethin.training.core import finish as finish
    from purethin.training.distributed import ddp as ddp
    from purethin.training.events import Moment as Moment
    from purethin.training.events import Record as Record
    from purethin.training.follow import json_lines as json_lines
    from purethin.training.follow import tensorboard as tensorboard
    from purethin.training.progress import progress as progress
    from purethin.training.sharded import fully_sharded as fully_sharded
    from purethin.training.train import Trainer as Trainer
    from purethin.training.update import Update as Update
else:  # type checkers then see a name that does not exist
    __getattr__, __dir__ = attach(__name__)
