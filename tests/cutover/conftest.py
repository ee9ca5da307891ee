"""Pairs of servers for the cutover, stopped at the end of the session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cutover import operating
from tests.cutover.sides import Sides, sides, stop_pairs


@pytest.fixture(scope="session", autouse=True)
def _stop_pairs_at_the_end() -> Iterator[None]:
    yield
    stop_pairs()


@pytest.fixture(autouse=True)
def _no_operator_is_left() -> Iterator[None]:
    yield
    operating.end_all()


@pytest.fixture(params=[15, 16, 18], ids=["pg15", "pg16", "pg18"])
def each_pair(request: pytest.FixtureRequest) -> Iterator[Sides]:
    with sides(request.param) as made:
        yield made


@pytest.fixture
def pair() -> Iterator[Sides]:
    with sides(16) as made:
        yield made
