"""An approval dies when anything it was bound to changes; a grown count alone does not kill it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backout.model.plan import PlannedMigration, Proposal
from backout.phases.gate.decide import void_reasons
from backout.phases.gate.facts import PresentState
from tests.render.samples import PROPOSAL


def present(proposal: Proposal = PROPOSAL) -> PresentState:
    return PresentState(
        identity=proposal.target,
        is_copy=False,
        schema_fingerprint=proposal.schema_fingerprint,
        migrations=proposal.migrations,
        newer=(),
        tool=proposal.tool,
        environment_digest=proposal.environment_digest,
        validation_digest=proposal.validation_digest,
        allowed_signers_digest=proposal.allowed_signers_digest,
        at=proposal.expires_at.replace("2026", "2025"),
    )


def test_nothing_changed_nothing_is_void():
    assert void_reasons(PROPOSAL, present()) == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"is_copy": True}, "marker of a copy"),
        ({"schema_fingerprint": "other"}, "the schema changed"),
        ({"newer": ("add-badges",)}, "add-badges came after"),
        ({"tool": "node-pg-migrate 10.0.0"}, "the migration tool changed"),
        ({"environment_digest": "other"}, "command or configuration changed"),
        ({"validation_digest": "other"}, "the validation plan changed"),
        ({"allowed_signers_digest": "other"}, "the list of people changed"),
        ({"migrations": ()}, "no longer in the history"),
    ],
)
def test_each_bound_field_voids(change: dict[str, object], words: str):
    reasons = void_reasons(PROPOSAL, replace(present(), **change))  # type: ignore[arg-type]
    assert any(words in reason for reason in reasons), reasons


def test_another_database_voids():
    elsewhere = replace(PROPOSAL.target, port=6543)
    assert "another database" in void_reasons(PROPOSAL, replace(present(), identity=elsewhere))[0]


def test_an_edited_file_voids():
    edited = tuple(PlannedMigration(m.name, "0" * 64, m.position) for m in PROPOSAL.migrations)
    assert "sha differs" in void_reasons(PROPOSAL, replace(present(), migrations=edited))[0]


def test_it_expires():
    assert "expired" in void_reasons(PROPOSAL, replace(present(), at=PROPOSAL.expires_at))[0]
