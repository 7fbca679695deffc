"""One thread in each test process: xdist runs a process per core, and threads beyond that only wait
for each other.
"""

import torch

torch.set_num_threads(1)

collect_ignore = ["libraries"]  # builders, which import what may not be installed
