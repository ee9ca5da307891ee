"""The rule for one row: absent or present in each state, against what the application really did."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from backout.merge.rows import Column, Judgement, Result, Row, Triple, judge
from backout.model.fates import Fate, Reason
from backout.model.mapping import Mapping

NAME = Column("name", Mapping.SAME)
COLUMNS = (Column("id", Mapping.SAME), NAME)


def row(name: str | None, **more: str | None) -> Row:
    return {"id": "1", "name": name, **more}


def merged(triple: Triple, judgement: Judgement) -> Row | None:
    """The row of the result, whatever it is written onto."""
    if judgement.result is Result.ROW:
        return {**(triple.now or {}), **judgement.values}
    return None if judgement.result is Result.ABSENT else triple.now


STATES = (None, row(None), row("a"), row("b"))


def test_every_presence_gives_what_would_stand_there_without_the_migration_or_is_told():
    """The application deletes, writes one of three names, or does nothing; the migration anything."""
    for before, migrated in product(STATES, STATES):
        for act, stored in (
            ("nothing", migrated),
            ("delete", None),
            *(("store", state) for state in STATES[1:]),
        ):
            now: Row | None = stored
            if before is None and migrated is None and now is None:
                continue
            wrote = act != "nothing" and not (act == "delete" and migrated is None)
            judgement = judge(Triple(before, migrated, now, wrote), COLUMNS)
            oracle = before if not wrote else now
            told = judgement.fate in (Fate.LISTED, Fate.PARKED)
            assert merged(Triple(before, migrated, now), judgement) == oracle or told, (before, migrated, act)
            assert wrote or judgement.fate is None


def test_rows_that_the_migration_deleted_come_back_whole():
    before = row("a", full_name="Ann")
    judgement = judge(Triple(before, None, None), (*COLUMNS, Column("full_name", Mapping.DROPPED)))
    assert judgement == Judgement(Result.ROW, before)


def test_a_key_that_was_used_again_is_parked_and_never_overlaid():
    judgement = judge(Triple(row("a"), None, row("b"), True), COLUMNS)
    assert (judgement.result, judgement.fate, judgement.reason) == (
        Result.STAY,
        Fate.PARKED,
        Reason.KEY_REUSED,
    )
    assert judgement.values == {}


def test_the_same_row_stored_again_gets_what_the_down_made_again_back():
    columns = (*COLUMNS, Column("full_name", Mapping.REMADE))
    again = judge(Triple(row("a", full_name="Ann"), None, row("a", full_name=None), True), columns)
    assert (again.result, again.values["full_name"], again.fate) == (Result.ROW, "Ann", Fate.LISTED)
    other = judge(Triple(row("a", full_name="Ann"), None, row("a", full_name="Bea"), True), columns)
    assert other.fate is Fate.PARKED


def test_rows_made_by_the_migration_go_and_those_that_the_application_changed_are_parked():
    assert judge(Triple(None, row("m"), row("m"), False), COLUMNS) == Judgement(Result.ABSENT, {})
    assert judge(Triple(None, row("m"), None), COLUMNS).fate is Fate.CARRIED
    changed = judge(Triple(None, row("m"), row("n"), True), COLUMNS)
    assert (changed.result, changed.reason) == (Result.STAY, Reason.MIGRATION_ROW_CHANGED)


def test_a_row_deleted_by_the_application_takes_no_destroyed_value_with_it_unseen():
    """A changed key looks like a deletion: the value that the migration dropped has no row to go back to."""
    columns = (*COLUMNS, Column("full_name", Mapping.REMADE))
    triple = Triple(row("a", full_name="Ann"), row("a", full_name=None), None)
    judgement = judge(triple, columns)
    assert (judgement.result, judgement.fate, judgement.listed) == (
        Result.ABSENT,
        Fate.LISTED,
        ("full_name",),
    )
    assert judge(Triple(row("a"), row("a"), None), COLUMNS).fate is Fate.CARRIED


def test_a_new_row_goes_over_with_what_the_old_schema_has_a_place_for():
    columns = (
        *COLUMNS,
        Column("source", Mapping.ADDED),
        Column("note", Mapping.DROPPED),
        Column("weight", Mapping.REMADE),
    )
    judgement = judge(Triple(None, None, row("a", source="api", weight="5")), columns)
    assert judgement.values == {"id": "1", "name": "a", "weight": "5"}
    assert (judgement.fate, judgement.archived) == (Fate.ARCHIVED, ("source",))


def test_a_new_row_without_a_value_that_must_be_there_is_parked():
    must = Column("full_name", Mapping.DROPPED, needs_value=True)
    assert judge(Triple(None, None, row("a")), (*COLUMNS, must)).reason is Reason.NO_DEFAULT
    converted = Column("name", Mapping.UNPROVED)
    assert judge(Triple(None, None, row("a")), (converted,)).reason is Reason.NOT_CONVERTIBLE


def test_a_row_has_the_gravest_fate_and_its_other_cells_are_merged_all_the_same():
    columns = (*COLUMNS, Column("day", Mapping.UNPROVED), Column("source", Mapping.ADDED))
    judgement = judge(
        Triple(
            row("a", day="noon"),
            row("a", day="d1", source=None),
            row("b", day="d2", source="api"),
            True,
        ),
        columns,
    )
    assert judgement.fate is Fate.PARKED
    assert (judgement.parked, judgement.archived) == (("day",), ("source",))
    assert judgement.values == {"id": "1", "name": "b"}


texts = st.sampled_from([None, "", "a", "b"])
rows = st.one_of(st.none(), st.fixed_dictionaries({"id": st.just("1"), "name": texts, "note": texts}))
mappings = st.sampled_from([Mapping.SAME, Mapping.REMADE, Mapping.DROPPED, Mapping.ADDED, Mapping.UNPROVED])


@given(rows, rows, rows, st.sampled_from([None, True, False]), mappings, mappings)
def test_whatever_the_states_no_value_is_invented_and_parked_rows_are_left_alone(
    before, migrated, now, touched, name, note
):
    if before is None and migrated is None and now is None:
        return
    columns = (Column("id", Mapping.SAME), Column("name", name), Column("note", note))
    judgement = judge(Triple(before, migrated, now, touched), columns)
    for column, value in judgement.values.items():
        assert value in [state[column] for state in (before, now) if state is not None]
    if judgement.result is Result.STAY:
        assert (judgement.fate, judgement.values) == (Fate.PARKED, {})
    assert (judgement.reason is not None) == (judgement.fate in (Fate.LISTED, Fate.PARKED))
