"""Which column is which: by attnum on physical siblings, by name on others, never by position."""

from __future__ import annotations

from backout.merge.schema_map import Shape, by_identity, by_name, remade
from backout.model.mapping import Mapping

ID = Shape("id", 1, "integer")


def told(pairs):
    return {pair.name: (pair.after.name if pair.after else None, pair.mapping) for pair in pairs}


def test_a_rename_and_a_swap_are_followed_on_physical_siblings():
    before = (ID, Shape("a", 2, "text"), Shape("b", 3, "text"))
    after = (ID, Shape("b", 2, "text"), Shape("a", 3, "text"))
    assert told(by_identity(before, after)) == {
        "id": ("id", Mapping.SAME),
        "a": ("b", Mapping.SAME),
        "b": ("a", Mapping.SAME),
    }


def test_by_name_the_order_of_columns_does_not_matter():
    before = (ID, Shape("a", 2, "text"))
    after = (Shape("a", 1, "text"), Shape("id", 2, "integer"))
    assert all(pair.mapping is Mapping.SAME for pair in by_name(before, after))


def test_dropped_added_and_converted_columns():
    before = (ID, Shape("full_name", 2, "text", needs_value=True), Shape("at", 3, "timestamp"))
    after = (ID, Shape("at", 3, "date"), Shape("first_name", 4, "text"))
    assert told(by_name(before, after)) == {
        "id": ("id", Mapping.SAME),
        "full_name": (None, Mapping.DROPPED),
        "at": ("at", Mapping.UNPROVED),
        "first_name": ("first_name", Mapping.ADDED),
    }


def test_a_column_that_was_dropped_and_made_again_has_another_attnum():
    before, after = (ID, Shape("name", 2, "text")), (ID, Shape("name", 3, "text"))
    assert told(by_identity(before, after))["name"] == ("name", Mapping.ADDED)
    assert told(remade(by_name(before, after), ["name"]))["name"] == ("name", Mapping.REMADE)
