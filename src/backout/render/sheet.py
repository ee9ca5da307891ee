"""The hand-over sheet: what has happened, what holds, and the plain commands that finish or undo by hand.

For the hour in which backout itself is the problem: psql alone is enough, and no secret is in it.
"""

# ruff: noqa: S608 - the SQL below is printed for people and never executed from here

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from datetime import datetime

from backout.model.execution import KeptColumn, Outcome
from backout.model.plan import Budgets, Finish, Keep, KeepWay, ToolVerb
from backout.render import sheet_halfway, words
from backout.render.known import Known
from backout.render.layout import Place, Style, facts, hanging, page


def sheet(known: Known, *, style: Style, now: datetime) -> str:
    """The sheet for strategies A and F. Prose is wrapped; commands are printed whole, however long."""
    incident = known.incident
    identity = known.triage.identity if known.triage else None
    place = Place(
        incident.target,
        incident.environment,
        identity.target if identity else None,
        None if identity is None else not identity.in_recovery,
    )
    lines = hanging("", f"HAND-OVER SHEET  {incident.id}  written {words.clock(now)}", style)
    lines += hanging("", str(place), style)
    lines += hanging(
        "", "psql is enough; backout is not needed. Connect as a role that owns the tables.", style
    )
    lines += ["", "WHAT HAS HAPPENED", *facts(_happened(known), style)]
    lines += ["", "WHAT HOLDS", *facts(_holds(known), style)]
    lines += ["", "BY HAND, IN THIS ORDER"]
    for number, (title, body) in enumerate(_steps(known), start=1):
        lines += hanging(f"{number}. ", title, style)
        # Flush left: the end of a here-document counts only at the beginning of a line.
        lines += [words.clean(line).rstrip() for line in body]
    return page(lines, f"do what step 2 says, then: backout status {incident.id}", style)


def _happened(known: Known) -> list[tuple[str, str]]:
    incident, done = known.incident, known.execution
    people = ", ".join(f"{a.person} as {a.role.value}" for a in known.approvals)
    return [
        ("opened", f"{words.when(incident.opened_at)} by {incident.opened_by}: {incident.symptom}"),
        ("migration", ", ".join(_migrations(known)) or "not known"),
        ("snapshot", _snapshot(known)),
        ("approved", people or "by nobody"),
        ("end" if _way_out(known) else "down", _down(known) if done is None else _ended(known)),
    ]


def _migrations(known: Known) -> tuple[str, ...]:
    return known.triage.offending if known.triage else ()


def _snapshot(known: Known) -> str:
    taken = known.fresh or known.snapshot
    if taken is None:
        return "none"
    where = f", a pg_dump directory in {taken.directory}" if taken.directory else ""
    return f"{taken.id} of {words.when(taken.taken_at)}{where}"


def _down(known: Known) -> str:
    return "no result is recorded; it may have begun, step 2 tells" if known.approvals else "not begun"


def _ended(known: Known) -> str:
    done = known.execution
    assert done is not None
    ended = "done" if _way_out(known) else "committed"
    return {
        Outcome.BACKED_OUT: f"{ended} {words.when(done.committed_at)}; kept {done.values_kept:,} "
        f"of {done.values_destroyed:,} destroyed values",
        Outcome.UNTOUCHED: "failed; history and schema were as before",
        Outcome.IN_DOUBT: "in doubt; step 2 tells",
    }[done.outcome]


def _holds(known: Known) -> list[tuple[str, str]]:
    kept = sorted({column.kept_in for column in known.execution.kept}) if known.execution else []
    jobs = ", ".join(known.contained)
    return [
        ("locks", "none, once the sessions of step 1 are gone"),
        ("kept", f"{', '.join(kept)}: do not drop" if kept else "no table is recorded; step 4 looks"),
        ("contained", f"{jobs}: start again by hand when you are done" if jobs else "nothing"),
        ("copies", "databases backout_* on the scratch server; none on this one"),
    ]


Steps = Sequence[tuple[str, Sequence[str]]]


def _steps(known: Known) -> Steps:
    return [
        _sessions(known),
        _look(known),
        _finish(known),
        _list_kept(known),
        *_put_back(known),
        _verify(known),
        _restore(known),
    ]


def _psql(known: Known, statements: Sequence[str]) -> list[str]:
    target = known.triage.identity.target if known.triage else None
    at = (
        f" -h {shlex.quote(target.host)} -p {target.port} -d {shlex.quote(target.database)}" if target else ""
    )
    return [f"psql -X -v ON_ERROR_STOP=1{at} <<'BY_HAND'", *statements, "BY_HAND"]


def _sessions(known: Known) -> tuple[str, Sequence[str]]:
    like = literal(f"backout/{known.incident.id}/%")
    return (
        "End what is left of this incident's sessions; an open transaction is rolled back with them.",
        _psql(
            known,
            [
                "SELECT pid, application_name, state, pg_terminate_backend(pid) AS ended",
                f"FROM pg_stat_activity WHERE application_name LIKE {like} AND pid <> pg_backend_pid();",
            ],
        ),
    )


def _look(known: Known) -> tuple[str, Sequence[str]]:
    table = known.triage.history.table if known.triage else ""
    names = ", ".join(_migrations(known))
    plan = _way_out(known)
    if plan is not None:
        title, queries = sheet_halfway.look(plan, names, table)
        return title, _psql(known, queries)
    title = f"Did the down commit? It did when the history no longer names {names or 'the migration'}."
    query = f"SELECT * FROM {table};" if table else "-- the tool keeps no history table: compare the schema"
    return f"{title} If it did, leave out step 3.", _psql(known, [query])


def _way_out(known: Known) -> Finish | None:
    """The plan of a half-applied migration; one that the tool's down ends is finished like any down."""
    plan = known.rehearsal.finish if known.rehearsal else None
    return plan if plan is not None and plan.verb is not ToolVerb.DOWN else None


def _finish(known: Known) -> tuple[str, Sequence[str]]:
    plan = _way_out(known)
    if plan is not None:
        told, lines = sheet_halfway.finish(plan, _by_hand_keeps(known))
        return told, _psql(known, lines)
    title = "To finish the down by hand, only with those who approved it: values first, then the statements."
    statements = _statements(known)
    if not statements:
        return "The down cannot be finished by hand from here: no captured statement is recorded.", []
    if not _in_one_transaction(known):
        return (
            "To finish the down by hand, one statement after the other; they cannot share a transaction. "
            "Look after each of them.",
            _psql(known, [*_by_hand_keeps(known), *statements, *_history(known, statements)]),
        )
    budgets = known.proposal.budgets if known.proposal else Budgets()
    return title, _psql(
        known,
        [
            "BEGIN;",
            f"SET LOCAL lock_timeout = '{budgets.lock_timeout * 1000:.0f}ms';",
            *_by_hand_keeps(known),
            *statements,
            *_history(known, statements),
            "COMMIT;",
        ],
    )


def _statements(known: Known) -> list[str]:
    rehearsal = known.rehearsal
    if rehearsal is None:
        return []
    texts = [s.text for s in rehearsal.statements if s.writes]
    return [line for text in texts for line in f"{text.rstrip().rstrip(';')};".expandtabs(4).splitlines()]


def _in_one_transaction(known: Known) -> bool:
    rehearsal = known.rehearsal
    return rehearsal is not None and rehearsal.transactions == 1 and not rehearsal.non_transactional


def _by_hand_keeps(known: Known) -> list[str]:
    """Locks and copies what the down destroys, so that no write slips in between."""
    lines: list[str] = []
    keeps = known.rehearsal.keeps if known.rehearsal else ()
    if keeps:
        lines.append("CREATE SCHEMA IF NOT EXISTS backout_kept;")
    for keep in keeps:
        if _in_one_transaction(known):
            lines.append(f"LOCK TABLE {keep.table} IN ACCESS EXCLUSIVE MODE;")
        if keep.way is KeepWay.PRE_COPY:
            lines.append("-- a large table: by hand its lock is held for as long as this copy takes")
        columns = ", ".join(map(identifier, dict.fromkeys((*keep.key, *keep.columns)))) or "*"
        lines.append(f"CREATE TABLE {_by_hand(known, keep)} AS SELECT {columns} FROM {keep.table};")
    return lines


def _by_hand(known: Known, keep: Keep) -> str:
    plain = re.sub(r"[^a-z0-9]+", "_", known.incident.id.lower())
    return f"backout_kept.by_hand_{plain}_{keep.oid_on_target}"


def _history(known: Known, statements: Sequence[str]) -> list[str]:
    """The history row, unless the captured statements remove it already."""
    history = known.triage.history if known.triage else None
    if history is None or not history.table:
        return []
    bare = history.table.rpartition(".")[2].strip('"')
    if any(bare in line for line in statements):
        return []
    if history.tool.startswith("node-pg-migrate"):
        names = ", ".join(map(literal, _migrations(known)))
        return [f"DELETE FROM {history.table} WHERE name IN ({names});"]
    return [
        f"-- take the row of {', '.join(_migrations(known))} out of {history.table}, as {history.tool} does"
    ]


def _list_kept(known: Known) -> tuple[str, Sequence[str]]:
    return (
        "What is kept, and where; a missing table means that nothing was kept.",
        _psql(
            known,
            [
                "SELECT relation, columns, rows, kept_values, lsn, 'backout_kept.' || kept_table AS kept_in",
                f"FROM backout_kept.manifest WHERE incident = {literal(known.incident.id)} ORDER BY seq;",
            ],
        ),
    )


def _put_back(known: Known) -> list[tuple[str, Sequence[str]]]:
    columns = [k for k in (known.execution.kept if known.execution else ()) if k.column and k.key]
    if not columns:
        return []
    title = "To put kept values back, once the column is there again. A live value is never overwritten."
    return [(title, _psql(known, [line for column in columns for line in _update(column)]))]


def _update(kept: KeptColumn) -> list[str]:
    name = identifier(kept.column)
    join = " AND ".join(f"t.{identifier(key)} = k.{identifier(key)}" for key in kept.key)
    return [
        f"UPDATE {kept.object} t SET {name} = k.{name} FROM {kept.kept_in} k",
        f"WHERE {join} AND t.{name} IS NULL AND k.{name} IS NOT NULL;",
    ]


def _verify(known: Known) -> tuple[str, Sequence[str]]:
    tables = [touched.table for touched in known.triage.touched] if known.triage else []
    statements = [f"SELECT to_regclass({literal(table)}) AS there;" for table in tables]
    statements += [f"SELECT count(*) FROM {table};" for table in tables]
    history = known.triage.history.table if known.triage else ""
    statements += [f"SELECT * FROM {history};"] if history else []
    return "Verify: tables, counts, history; then the application's health and its jobs.", _psql(
        known, statements
    )


def _restore(known: Known) -> tuple[str, Sequence[str]]:
    taken = known.fresh or known.snapshot
    if taken is None or not taken.directory:
        return (
            "If the state cannot be recovered, restore a backup to a NEW instance; never over this one.",
            [],
        )
    return (
        "If the state cannot be recovered, restore to a NEW instance; never over this one.",
        [f"pg_restore -d NEW_DATABASE -j 2 {shlex.quote(taken.directory)}"],
    )


def identifier(name: str) -> str:
    """A column name as SQL text; always quoted, because some words cannot stand bare."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL literal (standard_conforming_strings is on by default since 9.1)."""
    return "'" + text.replace("'", "''") + "'"
