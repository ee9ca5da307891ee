"""All hazard rules: one file each, with the problem, the solution, and the test for it."""

from __future__ import annotations

from backout.model.statement import Statement
from backout.sql.facts import Reading
from backout.sql.reading import readings
from backout.sql.rule import Rule
from backout.sql.rules import (
    add_check_validated,
    add_enum_value,
    add_foreign_key,
    add_not_null_without_default,
    alter_system,
    cascade,
    concurrent_index,
    copy_program,
    create_extension,
    delete_without_where,
    drop_column,
    drop_table,
    dynamic_sql,
    narrowing_type,
    not_understood,
    outside_transaction,
    psql_meta_command,
    reaches_out,
    rename,
    security_definer,
    set_not_null,
    triggers_off,
    truncate,
    update_without_where,
)

__all__ = ["RULES", "Rule", "hazards", "hazards_of", "rule_named"]

RULES: tuple[Rule, ...] = (
    drop_table.RULE,
    drop_column.RULE,
    truncate.RULE,
    delete_without_where.RULE,
    update_without_where.RULE,
    add_not_null_without_default.RULE,
    narrowing_type.RULE,
    set_not_null.RULE,
    add_foreign_key.RULE,
    add_check_validated.RULE,
    add_enum_value.RULE,
    concurrent_index.RULE,
    outside_transaction.RULE,
    copy_program.RULE,
    reaches_out.RULE,
    alter_system.RULE,
    create_extension.RULE,
    security_definer.RULE,
    cascade.RULE,
    dynamic_sql.RULE,
    triggers_off.RULE,
    rename.RULE,
    psql_meta_command.RULE,
    not_understood.RULE,
)


def hazards_of(reading: Reading) -> tuple[str, ...]:
    """Names of the rules that one statement meets, in the order of `RULES`."""
    return tuple(rule.name for rule in RULES if rule.meets(reading))


def hazards(statement: Statement) -> tuple[str, ...]:
    """Names of the rules that a statement's text meets, in the order of `RULES`."""
    met = {name for reading in readings(statement.text) for name in hazards_of(reading)}
    return tuple(rule.name for rule in RULES if rule.name in met)


def rule_named(name: str) -> Rule | None:
    """The rule of this name, or None."""
    return next((rule for rule in RULES if rule.name == name), None)
