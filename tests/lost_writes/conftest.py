"""The servers of this room's tests: 16 and 18, and 15 where the machine has it."""

from __future__ import annotations

import pytest

from backout.testing.servers import RealServer, available_majors
from tests.conftest import server_of


@pytest.fixture(params=[15, 16, 18], ids=["pg15", "pg16", "pg18"])
def server(request: pytest.FixtureRequest) -> RealServer:
    if request.param not in available_majors():
        pytest.skip(f"PostgreSQL {request.param} is not on this machine")
    return server_of(request.param)
