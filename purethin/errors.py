"""What purethin raises: one family, so that one `except` catches it; each message says what, where,
and what to write instead.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class PurethinError(Exception):
    """The base of every error that purethin raises about its inputs."""


class SpecError(PurethinError):
    """A layout, a spec, a model or parameters that do not fit each other."""


class MaskError(PurethinError):
    """A mask, scores or a sparsity that do not fit the spec's axes."""


class RecipeError(PurethinError):
    """A recipe that cannot be read, or that asks for what would be wrong."""


class CheckpointError(PurethinError):
    """A saved network that is damaged or belongs to another model."""


class OptionError(PurethinError, ValueError):
    """An argument of another type, or with a value that is not allowed."""


def nearest(name: str, allowed: Iterable[str], *, shown: int = 6) -> str:
    """The tail of an "unknown name" message: the allowed names, the most similar first.

    >>> nearest("conv", ["fc", "conv1"])
    "did you mean 'conv1'? Known: conv1, fc"
    """
    known = sorted(set(allowed))
    if not known:
        return "there are none"
    likeness = {k: difflib.SequenceMatcher(None, name, k).ratio() for k in known}
    known.sort(key=lambda k: -likeness[k])
    listed = ", ".join(known[:shown]) + (f", … ({len(known)} in all)" if len(known) > shown else "")
    hint = f"did you mean {known[0]!r}? " if likeness[known[0]] > 0.5 else ""
    return f"{hint}Known: {listed}"


def listed(lines: Sequence[str], *, shown: int = 5) -> str:
    """The tail of a message with several differences, one a line; "" if there are none.

    >>> print(listed(["no a", "no b"], shown=1))
    2 differences
      no a
      and 1 more
    """
    if not lines:
        return ""
    count = f"{len(lines)} difference{'s' * (len(lines) > 1)}"
    more = [f"and {len(lines) - shown} more"] if len(lines) > shown else []
    return "\n  ".join([count, *lines[:shown], *more])
