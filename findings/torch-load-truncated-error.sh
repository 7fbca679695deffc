#!/usr/bin/env bash
# torch 2.14.1: the class of error for a truncated checkpoint depends on the file's size.
#
# `torch.load` of a file of `torch.save` whose last byte is missing raises a RuntimeError ("failed
# finding central directory") where the file is below 4 KB or large, and in between an OSError, "[Errno 22]
# Invalid argument", without a file name: the zip reader seeks to before the file's beginning. So code that
# catches RuntimeError for damaged checkpoints, and OSError for files that cannot be opened, takes a
# damaged one for an unreadable one.
#
# Seen (torch 2.14.1, CPython 3.11, Linux x86_64):
#     1,946 bytes: RuntimeError
#     9,498 bytes: OSError, errno 22, filename None
#    81,498 bytes: RuntimeError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install torch==2.14.1 numpy
cd "$work"
"$work/venv/bin/python" - <<'PY'
import sys
from pathlib import Path

import torch


def error(numbers):
    torch.save({"a": torch.ones(numbers)}, "whole.pt")
    Path("cut.pt").write_bytes(Path("whole.pt").read_bytes()[:-1])
    size = Path("cut.pt").stat().st_size
    try:
        torch.load("cut.pt", weights_only=True)
    except (RuntimeError, OSError) as found:
        more = f", errno {found.errno}, filename {found.filename}" if isinstance(found, OSError) else ""
        print(f"{size:>8,} bytes: {type(found).__name__}{more}")
        return type(found)


small, middle, large = error(100), error(2000), error(20000)
sys.exit(0 if (small, middle, large) == (RuntimeError, OSError, RuntimeError) else 1)
PY
