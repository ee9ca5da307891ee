"""Every verb's --json document, from one real incident, fits the schema that is published for it."""

from __future__ import annotations

import pytest
from tools import reference

from backout.app.schemas import DOCUMENTS
from tests.story.harness import World, apply_names, names_world


def test_the_documents_of_one_incident_fit_their_schemas(
    heroes16: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    names_world(heroes16)
    apply_names(heroes16)
    monkeypatch.chdir(heroes16.root)
    seen = set()

    def typed(*words: str, code: int = 0) -> None:
        found, document, err = heroes16.cli(capsys, *words)  # looks at the schema
        assert found == code, (words, document, err)
        seen.add(" ".join(words[:2]) if " ".join(words[:2]) in DOCUMENTS else words[0])

    def signed(person: str) -> tuple[str, ...]:
        return ("--as", person, "--key", str(heroes16.keys[person]), "--confirm", "heroes")

    accept = ("--strategy", "A", "--accept", "users.full_name")
    typed("open", "--last", "1", "--target", "heroes")
    typed("status")
    typed("update", "--say", "the tables are looked at")
    typed("update", "--if-due")
    typed("show")
    typed("propose", code=4)
    typed("approve", *accept, *signed("priya.raman"))
    typed("withdraw", "--as", "priya.raman")
    typed("propose", code=4)
    typed("approve", *accept, *signed("priya.raman"))
    typed("approve", *accept, *signed("jonas.lind"))
    typed("run", "--watch", "0")
    typed("resume", "--watch", "0")
    for words in (("verify",), ("sheet",), ("diagnose",), ("show",), ("kept", "list"), ("kept", "show")):
        typed(*words)
    typed("kept", "show", "--reveal", "--limit", "2")
    typed("kept", "export")
    back = ("--column", "first_name=full_name")
    typed("kept", "put-back", *back, code=4)
    typed("kept", "put-back", *back, *signed("priya.raman"))
    typed("postmortem")
    typed("snapshot", "list")
    typed("snapshot", "record", "rds:x-1")
    typed("snapshot", "drop", "rds:x-1")
    typed("copies")
    typed("status")
    incident = heroes16.desk().only_open_incident()
    typed("contain", "--name", "etl", "--command", "true", "--back", "true", "--look", "true")
    typed("release", "--name", "etl")
    typed("close")
    typed("kept", "drop", incident, "--reason", "done", "--early", code=4)
    typed("kept", "drop", incident, "--reason", "done", "--early", *signed("priya.raman"))
    typed("close", "inc-none", code=2)
    elsewhere = {"reject", "snapshot take", "snapshot prove", "snapshot adopt", "doctor", "rehearse", "init"}
    elsewhere |= {name for name in DOCUMENTS if name.startswith(("guard ", "backup "))}
    elsewhere |= {"parked list", "parked show", "parked retry", "parked resolve"}  # tests/lost_writes
    elsewhere |= {"restore"}  # tests/restore
    elsewhere |= {"way-back status", "way-back use", "way-back drop"}  # test_restore_and_cut_over
    demo = {"demo", "demo --second", "demo destructive", "error"}
    assert seen | elsewhere | demo == set(DOCUMENTS)


def test_the_other_documents_fit_their_schemas(
    heroes16: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    names_world(heroes16)
    apply_names(heroes16)
    monkeypatch.chdir(heroes16.root)
    for words, codes in (
        (("snapshot", "take"), (0,)),
        (("snapshot", "prove"), (0,)),
        (("doctor",), (0, 1)),
        (("doctor", "--can"), (0, 1)),
        (("rehearse", "--last", "1"), (0, 1)),
        (("open", "--last", "1"), (0,)),
        (("reject", "--as", "priya.raman", "--reason", "later"), (0,)),
        (("run",), (3,)),
    ):
        code, document, err = heroes16.cli(capsys, *words)
        assert code in codes, (words, document, err)


def test_every_verb_that_prints_a_document_has_a_schema():
    with_json = {
        name
        for name, command in reference.commands().items()
        if any("--json" in option.opts for option in command.params)
    }
    assert with_json == set(DOCUMENTS) - {"demo --second", "demo destructive", "error"}
