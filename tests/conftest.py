"""One thread in each test process: xdist runs a process per core, and threads beyond that only wait
for each other. And a busy machine fails no law: hypothesis has no deadline here.
"""

import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

collect_ignore = ["libraries"]  # builders, which import what may not be installed
