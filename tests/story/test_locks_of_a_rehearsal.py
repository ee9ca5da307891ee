"""The locks that a rehearsal shows are those that the tool's sessions held, on what, how and how long."""

from __future__ import annotations

from backout.app import incidents
from backout.model.plan import LockSeen, Verdict
from tests.story.harness import World, names_world

UP = """
ALTER TABLE users ADD COLUMN source text;
ALTER TABLE orders ADD CONSTRAINT orders_user FOREIGN KEY (user_id) REFERENCES users (id);
DROP INDEX visits_at;
"""


def _orders_world(heroes: World, down: str) -> None:
    names_world(heroes)
    with heroes.connect() as session:
        session.execute("CREATE TABLE orders (id int PRIMARY KEY, user_id bigint)")
        session.execute("CREATE TABLE visits (id int PRIMARY KEY, at timestamptz)")
        session.execute("CREATE TABLE unconcerned (id int PRIMARY KEY)")
        session.execute("CREATE INDEX visits_at ON visits (at)")
    heroes.migration("20240201000000_first_name", UP, down)
    heroes.applied("20240201000000", UP)
    with heroes.connect() as session:
        session.execute("UPDATE users SET source = 'web' WHERE id <= 10")


def test_tables_that_are_locked_without_a_keep_are_shown_with_their_modes(heroes: World):
    down = """
ALTER TABLE orders DROP CONSTRAINT orders_user;
SELECT pg_sleep(0.2);
CREATE INDEX visits_at ON visits (at);
SELECT pg_sleep(0.1);
ALTER TABLE users DROP COLUMN source;
CREATE TABLE made_by_the_down (id int);
"""
    _orders_world(heroes, down)
    (rehearsed,) = incidents.propose(heroes.desk(), heroes.open()).rehearsals
    seen = {lock.table: lock for lock in rehearsed.locks}
    assert {name: lock.mode for name, lock in seen.items()} == {
        "public.users": "ACCESS EXCLUSIVE",
        "public.orders": "ACCESS EXCLUSIVE",
        "public.visits": "SHARE",
    }
    assert seen["public.orders"].seconds >= 0.3
    assert rehearsed.locked_seconds == max(lock.seconds for lock in rehearsed.locks)


def test_a_lock_without_a_keep_counts_against_the_budget(heroes16: World):
    down = """
ALTER TABLE orders DROP CONSTRAINT orders_user;
SELECT pg_sleep(1.1);
"""
    _orders_world(heroes16, down)
    proposed = incidents.propose(heroes16.desk(), heroes16.open())
    (rehearsed,) = proposed.rehearsals
    assert rehearsed.keeps == ()
    assert {(lock.table, lock.mode) for lock in rehearsed.locks} == {
        ("public.orders", "ACCESS EXCLUSIVE"),
        ("public.users", "ACCESS EXCLUSIVE"),
    }
    option = proposed.proposals.options[0]
    assert option.verdict is Verdict.REFUSED, option
    assert "the budget is 1 s" in option.reason


def test_what_a_rolled_back_savepoint_locked_is_not_shown(heroes16: World):
    down = """
SAVEPOINT tried;
LOCK TABLE unconcerned IN EXCLUSIVE MODE;
ALTER TABLE orders ADD COLUMN dry int;
ROLLBACK TO SAVEPOINT tried;
ALTER TABLE visits ADD COLUMN wet int;
"""
    _orders_world(heroes16, down)
    (rehearsed,) = incidents.propose(heroes16.desk(), heroes16.open()).rehearsals
    (lock,) = rehearsed.locks
    assert lock == LockSeen("public.visits", "ACCESS EXCLUSIVE", lock.seconds)
