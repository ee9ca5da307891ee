"""Read what the decision to cut over needs; nothing is changed, and nothing is held."""

from __future__ import annotations

import time

from backout.phases.cutover.facts import Facts, LagSample
from backout.phases.cutover.ground import Ground, Sessions
from backout.postgres import fence, sides, witness

_EVERY = 0.25


def gather(ground: Ground, opened: Sessions, *, watch_seconds: float = 5.0) -> Facts:
    """Everything that `decide.ready` asks about; the lag is watched for `watch_seconds`."""
    database = opened.old.info.dbname
    longest = _longest_transaction(opened, database, ground.drain.spare())
    return Facts(
        limit=fence.limit_of(opened.fence, database),
        target_limit=fence.limit_of(opened.new, opened.new.info.dbname),
        prepared_transactions=sides.prepared_transactions(opened.fence, database),
        longest_transaction=longest[0],
        longest_who=longest[1],
        superusers=_superusers(opened, database, ground.drain.spare()),
        application_is_superuser=sides.is_superuser(ground.logins.old_application),
        application_enters_new=sides.refusal_of(ground.logins.new_application),
        canary=sides.refusal_of(ground.logins.canary),
        fence_rights=sides.rights_missing(opened.fence, database),
        new_settings=sides.lasting_settings(opened.new),
        unanalyzed=sides.unanalyzed(opened.new),
        missing_sequences=sides.missing_sequences(opened.old, opened.new),
        blind=tuple(f"{s}.{t}" for s, t, whole in witness.tables(opened.old) if not whole),
        lever=ground.traffic.checks(),
        drain=ground.drain.checks(),
        lag=_watch_lag(ground, watch_seconds),
    )


def _watch_lag(ground: Ground, seconds: float) -> tuple[LagSample, ...]:
    begun = time.monotonic()
    samples: list[LagSample] = []
    while not samples or samples[-1].at - begun < seconds:
        lag = ground.drain.lag()
        samples.append(LagSample(time.monotonic(), lag.seconds, lag.bytes))
        time.sleep(_EVERY)
    return tuple(samples)


def _longest_transaction(opened: Sessions, database: str, spare: tuple[int, ...]) -> tuple[float, str]:
    found = fence.inside(opened.fence, database, (*opened.ours_on_old, *spare))
    longest = max(found, key=lambda one: one.transaction_seconds, default=None)
    return (longest.transaction_seconds, str(longest)) if longest else (0.0, "")


def _superusers(opened: Sessions, database: str, spare: tuple[int, ...]) -> tuple[str, ...]:
    found = fence.inside(opened.fence, database, (*opened.ours_on_old, *spare))
    return tuple(str(one) for one in found if one.superuser)
