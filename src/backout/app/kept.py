"""The verbs about kept values: list, show, export, put-back."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from backout.app import lock, private_files
from backout.app.containment import next_prefix
from backout.app.desk import Desk
from backout.app.keeping import age
from backout.app.results import KeptList, KeptRows, KeptShow, PutBack, Written
from backout.app.signing import How, one_signature
from backout.errors import ConfigurationError, Refused
from backout.model.execution import Execution, KeptColumn, Outcome
from backout.model.incident import Incident
from backout.phases.kept import act as kept_values
from backout.phases.kept.act import PutBackDone
from backout.postgres import kept
from backout.runbooks import put_back as story

NAME = "backout/kept"


def columns(desk: Desk, incident_id: str) -> KeptList:
    """Every kept column with its number of values and where it would go today."""
    incident = desk.incident(incident_id)
    with desk.app.world(incident.target).databases.operate(NAME) as session:
        found = kept_values.columns(session, incident.id)
    following = _following(incident.id, found)
    return KeptList(incident.id, found, following, age(desk, incident.id) if found else None)


def _following(incident_id: str, found: tuple[KeptColumn, ...]) -> str:
    """The way back of the first column that has one, else of whole rows; what has no key, or no table any
    more, can only be exported."""
    there = [column for column in found if column.key and column.place_today != kept_values.TABLE_GONE]
    keyed = [column for column in there if column.place_today != kept_values.WHOLE_ROWS]
    homeless = [column for column in keyed if column.place_today == "none"]
    for column in (*homeless, *keyed):
        several = sum(other.column == column.column for other in found) > 1
        name = f"{column.object}.{column.column}" if several else column.column
        return f"backout kept put-back {incident_id} --column {shlex.quote(f'{name}=NEW')}"
    for column in there:
        return f"backout kept put-back {incident_id} --rows {shlex.quote(column.object)}"
    return f"backout kept export {incident_id}" if found else "nothing"


def show(desk: Desk, incident_id: str, limit: int, *, reveal: bool) -> KeptShow:
    """Rows of every kept table. Without `reveal` values are described by type and length."""
    incident = desk.incident(incident_id)
    answers = []
    with desk.app.world(incident.target).databases.operate(NAME) as session:
        for table in kept.tables(session, incident.id):
            some = kept.sample(session, table, limit)
            shown = tuple(
                tuple(_cell(*cell, reveal=reveal) for cell in zip(row, some.types, strict=True))
                for row in some.rows
            )
            answers.append(KeptRows(f"backout_kept.{table.table}", some.names, shown))
    return KeptShow(incident.id, tuple(answers), f"backout kept export {incident.id}")


def _cell(value: object, type_name: str, *, reveal: bool) -> str:
    if value is None:
        return "NULL"
    return str(value) if reveal else f"({type_name}, {len(str(value))})"


def export(desk: Desk, incident_id: str, directory: Path) -> Written:
    """Write every kept table as CSV (mode 0600) into a folder of the incident (mode 0700) in `directory`;
    each file is read back."""
    incident = desk.incident(incident_id)
    folder = private_files.private_directory(directory / incident.id)
    paths = []
    with desk.app.world(incident.target).databases.operate(NAME) as session:
        for table in kept.tables(session, incident.id):
            path = folder / f"{table.table}.csv"
            private_files.write(path, kept.export_csv(session, table))
            paths.append(str(path))
    return Written(tuple(paths), f"backout kept list {incident.id}")


@dataclass(frozen=True, slots=True)
class PutBackAsked:
    """One `OLD=NEW` of the command line, with its forecast and the text to sign."""

    incident: Incident
    column: str
    into: str
    """Live column; empty when whole rows are put back."""
    overwrite: bool
    forecast: PutBack
    message: str


def ask(desk: Desk, incident_id: str, column: str, *, overwrite: bool) -> PutBackAsked:
    """The forecast of a put-back; only reads. `column` is `OLD=NEW`, or `NAME` for the same name."""
    incident = desk.incident(incident_id)
    _after_the_run(desk, incident)
    old, _, new = column.partition("=")
    into = new or old.rpartition(".")[2]
    if not old:
        raise ConfigurationError(
            "give --column OLD=NEW",
            where="the command line",
            intact="everything; nothing was written",
            next=f"backout kept list {incident.id}",
        )
    world = desk.app.world(incident.target)
    seen = kept_values.look(world, incident.id, old, into, overwrite=overwrite, name=NAME)
    again = f"backout kept put-back {incident.id} --column {shlex.quote(column)}"
    following = f"{again} --as NAME"
    if seen.already_there and not seen.written and not overwrite:
        forced = kept_values.look(world, incident.id, old, into, overwrite=True, name=NAME)
        following = f"{again} --overwrite" if forced.overwritten else following
    forecast = _figures(incident.id, seen, following)
    return PutBackAsked(incident, old, into, overwrite, forecast, _message(incident, forecast, overwrite))


def ask_rows(desk: Desk, incident_id: str, table: str) -> PutBackAsked:
    """The forecast for whole rows of one table; only reads."""
    incident = desk.incident(incident_id)
    _after_the_run(desk, incident)
    seen = kept_values.look_rows(desk.app.world(incident.target), incident.id, table, NAME)
    forecast = _figures(
        incident.id, seen, f"backout kept put-back {incident.id} --rows {shlex.quote(table)} --as NAME"
    )
    return PutBackAsked(incident, table, "", False, forecast, _message(incident, forecast, False))


def _after_the_run(desk: Desk, incident: Incident) -> None:
    done = desk.result(incident.id, "execution.down", Execution)
    if done is None or done.outcome is not Outcome.BACKED_OUT:
        raise Refused(
            "nothing was backed out yet",
            where=incident.target,
            intact="everything; nothing was written",
            next=f"backout status {incident.id}",
        )


def _figures(incident_id: str, seen: PutBackDone, following: str) -> PutBack:
    return PutBack(
        *(incident_id, seen.column, seen.into, seen.written, seen.row_gone),
        *(seen.already_there, seen.overwritten, following),
    )


def _message(incident: Incident, forecast: PutBack, overwrite: bool) -> str:
    """What a person signs: the write itself, not its figures (the application goes on writing)."""
    rule = "replaces live values" if overwrite else "never replaces a live value"
    return (
        f"You sign a put-back of kept values\n  incident {incident.id}\n  on {incident.target}\n"
        f"  {forecast.column} into {forecast.into}\n  {rule}\n"
    )


def put_back(desk: Desk, asked: PutBackAsked, person: str, how: How) -> PutBack:
    """Write the values back after one signature of an enrolled person."""
    key = one_signature(
        *(desk, asked.incident, asked.message, person, how),
        again=f"{asked.forecast.next.replace('NAME', person)} --key FILE",
    )
    with lock.worker(desk.app.state, "kept put-back", desk.actor):
        prefix = _unfinished(desk, asked) or next_prefix(desk, asked.incident.id, "putback")
        run = desk.story(asked.incident.id, prefix)
        run.decide("signed", {"person": person, "key": key, "column": f"{asked.column}={asked.into}"})
        world = desk.app.world(asked.incident.target)
        if asked.into:
            done = story.put_back(run, world, asked.column, asked.into, overwrite=asked.overwrite)
        else:
            done = story.put_rows_back(run, world, asked.column)
    return replace(_figures(asked.incident.id, done, ""), next=f"backout kept list {asked.incident.id}")


def _unfinished(desk: Desk, asked: PutBackAsked) -> str:
    """The prefix of a put-back of the same column that was stopped; empty when there is none."""
    for entry in reversed(desk.app.journal.read(asked.incident.id)):
        prefix, _, word = entry.key.rpartition(".")
        if word == "signed" and entry.body.get("column") == f"{asked.column}={asked.into}":
            done = desk.story(asked.incident.id, prefix).result("write", PutBackDone)
            return "" if done is not None else prefix
    return ""
