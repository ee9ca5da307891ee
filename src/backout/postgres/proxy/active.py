"""A session whose writes are marked, kept and gated (not built yet: such a policy opens no session)."""

from __future__ import annotations

from collections.abc import Callable

from backout.postgres.proxy.policy import Policy
from backout.postgres.proxy.relay import Relay
from backout.postgres.proxy.seen import Log, Recorder
from backout.postgres.proxy.wire import Hangup

WHOLE_UP_TO = 16 * 1024 * 1024


class ActiveSession:
    """Hangs up at once."""

    def __init__(
        self, relay: Relay, recorder: Recorder, policy: Policy, log: Log, cancel: Callable[[], None]
    ) -> None:
        self._relay = relay

    def serve(self) -> None:
        raise Hangup
