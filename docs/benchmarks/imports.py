"""What `import purethin` adds to `import torch`, and what the first use of its names adds later.

    python docs/benchmarks/imports.py [--rounds 7]

Each line is timed in a process of its own, after `import torch` in the same process; all lines in
turn, and the minimum of the rounds is kept. Processor time.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

LINES = {
    "import torch": "import torch",
    "import purethin": "import purethin",
    "and infer": "import purethin as pt; pt.infer",
    "and infer, select, thin, rebuild, check": (
        "import purethin as pt; pt.infer, pt.lp_norm, pt.select, pt.thin, pt.rebuild, pt.check"
    ),
    "and the Trainer": "import purethin as pt; pt.Trainer, pt.infer, pt.load_recipe",
    "and every public name": "import purethin as pt; [getattr(pt, name) for name in dir(pt)]",
}


def seconds(line: str) -> float:
    """Processor time of one line in a fresh process, torch imported before unless it is torch."""
    before = "" if line == LINES["import torch"] else "import torch; "
    code = f"import time; {before}t = time.process_time(); {line}; print(time.process_time() - t)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    found: dict[str, list[float]] = {name: [] for name in LINES}
    for _ in range(rounds):
        for name, line in LINES.items():
            found[name].append(seconds(line))
    for name, times in found.items():
        print(f"{name:42} {min(times):6.3f} s")


if __name__ == "__main__":
    main()
