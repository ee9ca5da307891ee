"""JSON Schemas of what machines read: the configuration file and the document of every verb."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backout import settings
from backout.app import backups, results
from backout.errors import UnknownName
from backout.model.execution import Execution
from backout.records import codec
from backout.render.known import Known

DOCUMENTS: Mapping[str, type] = {
    "open": results.Opened,
    "propose": results.Proposed,
    "approve": results.Approved,
    "reject": results.Approved,
    "withdraw": results.Approved,
    "run": results.Ran,
    "resume": results.Ran,
    "verify": results.Verified,
    "status": results.StatusList,
    "update": results.Updates,
    "show": Known,
    "sheet": Known,
    "diagnose": Execution,
    "close": results.Closed,
    "kept list": results.KeptList,
    "kept show": results.KeptShow,
    "kept put-back": results.PutBack,
    "kept drop": results.KeptDrop,
    "kept export": results.Written,
    "parked list": results.ParkedList,
    "parked show": results.ParkedShown,
    "parked retry": results.ParkedDone,
    "parked resolve": results.ParkedDone,
    "backup take": backups.BackupList,
    "backup list": backups.BackupList,
    "backup prove": backups.BackupProof,
    "restore": results.RestoreAnswer,
    "snapshot take": results.SnapshotAnswer,
    "snapshot prove": results.SnapshotAnswer,
    "snapshot adopt": results.SnapshotAnswer,
    "snapshot record": results.SnapshotAnswer,
    "snapshot list": results.SnapshotList,
    "snapshot drop": results.SnapshotList,
    "way-back status": results.WayBackAnswer,
    "way-back use": results.WayBackUsed,
    "way-back drop": results.WayBackAnswer,
    "contain": results.Contained,
    "release": results.Contained,
    "copies": results.CopyList,
    "doctor": results.Doctor,
    "rehearse": results.Exercise,
    "guard plan": results.GuardPlanned,
    "guard arm": results.Guarded,
    "guard run": results.GuardAnswer,
    "guard list": results.GuardList,
    "guard status": results.GuardStatus,
    "guard watch": results.GuardStatus,
    "guard drop": results.GuardDropped,
    "postmortem": results.Written,
    "init": results.Initialised,
    "demo": results.Demo,
    "demo --second": results.DemoSecond,
    "demo destructive": results.DemoDestructive,
    "error": results.Failed,
}


def schema_of(name: str) -> Mapping[str, Any]:
    """The schema of `config`, of a verb, or of `error` (any verb that ends with one); raises `UnknownName`
    with the names there are.

    A document also has `exit`, the exit code.
    """
    if name == "config":
        return settings.json_schema()
    if name not in DOCUMENTS:
        raise UnknownName(
            f"no document {name!r}",
            where="the command line",
            intact="everything",
            next=f"one of: config, {', '.join(DOCUMENTS)}",
        )
    schema = codec.schema(DOCUMENTS[name])
    schema["properties"]["exit"] = {"type": "integer", "description": "The exit code of the command."}
    schema["required"] = [*schema.get("required", ()), "exit"]
    return schema
