"""Rows of a test's table: `case(name, *given).says(*words)` reads as a sentence."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from _pytest.mark import ParameterSet


@dataclass(frozen=True)
class Case:
    """A row's name and what the test is given; what it must find is still to be said."""

    name: str
    given: tuple[object, ...]

    def says(self, *words: str) -> ParameterSet:
        """The test's last argument is a list of words that a message must have."""
        return self.gives(list(words))

    def gives(self, *expected: object) -> ParameterSet:
        return pytest.param(*self.given, *expected, id=self.name)


def case(name: str, *given: object) -> Case:
    return Case(name, given)
