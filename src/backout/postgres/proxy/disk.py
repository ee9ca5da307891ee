"""What kept tables take on the target's disk, against the budget, from inside the tool's transaction."""

from __future__ import annotations

from backout.model.plan import disk_need
from backout.postgres.kept import SIZE
from backout.postgres.names import kept_prefix
from backout.postgres.proxy.pipe import Pipe
from backout.postgres.proxy.policy import Policy
from backout.postgres.proxy.transaction import DISK, NotLet


def check(pipe: Pipe, policy: Policy) -> None:
    """Raises `NotLet` when the kept tables of the incident need more than the budget; what this
    transaction kept goes with its rollback."""
    limit = policy.budgets.disk_bytes
    if limit is None or policy.keep is None:
        return
    rows = pipe.rows(SIZE.format(prefix="$1"), kept_prefix(policy.keep.incident))
    size = int(rows[0][0] or 0)
    if policy.budgets.too_much(size):
        need = f"keeping needs {disk_need(size):,} bytes on this disk, WAL included"
        raise NotLet("disk", DISK, f"{need}; budgets.disk is {limit:,}")
