"""The work list of parked rows: families, another try, a decision; each row exactly once."""

from __future__ import annotations

import pytest

from backout.errors import Refused
from backout.model.fates import Fate
from backout.phases.lost_writes import parking
from backout.postgres import parked
from backout.postgres.repair.rights import foreign_keys
from tests.lost_writes.test_in_place import ORDERS
from tests.lost_writes.worlds import INCIDENT, World, world

pytestmark = pytest.mark.slow

WRITES = """
    INSERT INTO customers VALUES (1, 'somebody@else');
    INSERT INTO customers VALUES (900, '2@x')"""


def waiting(w: World) -> dict[tuple[str, str], parked.Entry]:
    found = parked.entries(w.live, INCIDENT)
    return {(e.relation, ", ".join(e.key)): e for e in found if parking.is_open(e)}


def test_a_parked_parent_parks_its_children_as_one_family(server):
    with world(server, ORDERS, "TRUNCATE customers CASCADE", "", WRITES) as w:
        w.repair()
        entries = parked.entries(w.live, INCIDENT)
        keys = [key for table in w.plan.tables for key in foreign_keys(w.live, table)]
        roots = parking.families(entries, keys)
        parent = waiting(w)["public.customers", "2"]
        family = [e for e in entries if roots[e.number] == parent.number]
        assert {e.relation for e in family} == {"public.customers", "public.orders", "public.lines"}
        assert roots[waiting(w)["public.customers", "1"].number] != parent.number


def test_when_the_parent_is_resolved_another_try_brings_the_children_in(server):
    with world(server, ORDERS, "TRUNCATE customers CASCADE", "", WRITES) as w:
        w.repair()
        writer, entry = w.writer(), waiting(w)["public.customers", "2"]
        parking.set_value(writer, w.table("public.customers"), entry, "mara", "email", "two@x")
        assert w.rows("SELECT email FROM customers WHERE id = 2") == [("two@x",)]
        assert parking.retry(writer, w.table("public.orders")) == 5
        assert parking.retry(writer, w.table("public.lines")) == 15
        assert w.rows("SELECT count(*) FROM lines") == [(3000,)]
        assert set(waiting(w)) == {("public.customers", "1")}


def test_resolving_twice_does_nothing_twice(server):
    with world(server, ORDERS, "TRUNCATE customers CASCADE", "", WRITES) as w:
        w.repair()
        writer, entry = w.writer(), waiting(w)["public.customers", "1"]
        parking.take_before(writer, w.table("public.customers"), entry, "mara")
        assert w.rows("SELECT email FROM customers WHERE id = 1") == [("1@x",)]
        w.live.execute("UPDATE customers SET email = 'later' WHERE id = 1")
        with pytest.raises(Refused, match="was resolved before"):
            parking.take_before(writer, w.table("public.customers"), entry, "mara")
        assert w.rows("SELECT email FROM customers WHERE id = 1") == [("later",)]
        told = next(e for e in parked.entries(w.live, INCIDENT) if e.number == entry.number)
        assert (told.resolution, told.now) == (parking.BEFORE, {"id": "1", "email": "somebody@else"})


def test_a_decision_that_the_database_refuses_leaves_the_entry_open(server):
    with world(server, ORDERS, "TRUNCATE customers CASCADE", "", WRITES) as w:
        w.repair()
        entry = waiting(w)["public.customers", "2"]
        with pytest.raises(Refused, match="another row holds"):
            parking.take_before(w.writer(), w.table("public.customers"), entry, "mara")
        assert ("public.customers", "2") in waiting(w)
        with pytest.raises(Refused, match="has no column"):
            parking.set_value(w.writer(), w.table("public.customers"), entry, "mara", "nope", "x")


def test_leaving_the_live_row_closes_the_entry_and_writes_nothing(server):
    with world(server, ORDERS, "TRUNCATE customers CASCADE", "", WRITES) as w:
        w.repair()
        entry = waiting(w)["public.customers", "1"]
        parking.leave(w.writer(), entry, "mara")
        assert ("public.customers", "1") not in waiting(w)
        assert w.rows("SELECT email FROM customers WHERE id = 1") == [("somebody@else",)]
        assert entry.fate is Fate.PARKED
