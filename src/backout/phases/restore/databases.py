"""Sessions on the new side, through the private door of its instance."""

from __future__ import annotations

from dataclasses import dataclass, field

from backout.ports.world import Session
from backout.postgres.connect import as_role, open_session


@dataclass(frozen=True, slots=True)
class NewDatabases:
    """`ports.world.Databases` of a restored instance. `role` is the one that operates."""

    dsn: str = field(repr=False)
    role: str

    def observe(self, name: str) -> Session:
        session = open_session(self.dsn, name)
        session.execute("SET default_transaction_read_only = on")
        return session

    def operate(self, name: str) -> Session:
        return open_session(self.operate_dsn(), name)

    def operate_dsn(self) -> str:
        return as_role(self.dsn, self.role)

    def snapshot(self, name: str) -> Session:
        return open_session(self.dsn, name)

    def snapshot_dsn(self) -> str:
        return self.dsn
