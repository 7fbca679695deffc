"""Saliency criteria: one number for each unit of each axis, the higher the more worth keeping. All
pure; each family is a file. docs/criteria.md has them in one table.
"""

from purethin.criteria.activations import activation_mean as activation_mean
from purethin.criteria.activations import activation_norm as activation_norm
from purethin.criteria.activations import apoz as apoz
from purethin.criteria.chance import random_scores as random_scores
from purethin.criteria.first_order import gate as gate
from purethin.criteria.first_order import output_taylor as output_taylor
from purethin.criteria.first_order import snip as snip
from purethin.criteria.first_order import taylor as taylor
from purethin.criteria.geometry import geometric_median as geometric_median
from purethin.criteria.greedy import thinet as thinet
from purethin.criteria.greedy import ziplm as ziplm
from purethin.criteria.magnitude import batch_norm_scale as batch_norm_scale
from purethin.criteria.magnitude import lamp as lamp
from purethin.criteria.magnitude import lp_norm as lp_norm
from purethin.criteria.ranks import hrank as hrank
from purethin.criteria.readers import flap as flap
from purethin.criteria.readers import wanda as wanda
from purethin.criteria.reconstruction import obs as obs
from purethin.criteria.reconstruction import obs_update as obs_update
from purethin.criteria.second_order import fisher as fisher
from purethin.criteria.second_order import hessian_diagonal as hessian_diagonal
from purethin.criteria.second_order import obd as obd
from purethin.criteria.second_order import sampled_labels as sampled_labels
from purethin.criteria.shared import Reduce as Reduce
