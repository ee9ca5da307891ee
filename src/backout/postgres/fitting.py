"""Does a scratch server fit a source, told for one target; all that it lacks, with what mends it."""

from __future__ import annotations

from dataclasses import replace

from backout.errors import Refused
from backout.model.check import Check, CheckState
from backout.ports.servers import Servers, SourceFacts


def checks(servers: Servers, source: SourceFacts, need_bytes: int, target: str) -> tuple[Check, ...]:
    """The checks of the servers; what mends them names the target, which servers do not know."""
    found = servers.fit(source, need_bytes)
    return tuple(replace(c, mend=c.mend.replace("[target.NAME.", f"[target.{target}.")) for c in found)


def require(servers: Servers, source: SourceFacts, need_bytes: int, target: str) -> None:
    """Raises `Refused` with every item that does not fit; `next` is the first thing to do."""
    bad = [c for c in checks(servers, source, need_bytes, target) if c.state is CheckState.FAIL]
    if bad:
        raise Refused(
            f"no scratch server fits: {'; '.join(f'{c.name}: {c.detail}' for c in bad)}",
            where=target,
            intact="everything; production was only read",
            next=next((c.mend for c in bad if c.mend), "backout doctor"),
        )
