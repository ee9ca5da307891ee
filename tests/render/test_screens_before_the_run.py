"""The screens up to the approval, as people see them: golden texts from records with a fixed clock."""

from __future__ import annotations

from dataclasses import replace

from backout.model.gate import Proposals
from backout.model.loss import Figure
from backout.model.people import Role
from backout.model.plan import Strategy, Verdict
from backout.render.layout import Style
from backout.render.screens import approve_screen, open_screen, propose_screen
from backout.render.screens.approve import signing_message
from tests.render import samples
from tests.render.golden import NARROW, assert_golden

NOW = samples.at("03:04:13")


def test_open_names_the_suspect_its_commit_and_what_it_touched():
    assert_golden("open", lambda style: open_screen(samples.INCIDENT, samples.TRIAGE, style=style, now=NOW))


def test_open_tells_a_half_applied_migration_and_that_its_index_rejects_writes():
    def draw(style: Style) -> str:
        return open_screen(samples.INCIDENT, samples.HALF_APPLIED, style=style, now=NOW)

    assert_golden("open_half_applied", draw)
    assert "still rejects writes" in draw(Style())


def test_open_shows_migrations_that_stand_above_and_a_commit_known_only_from_history():
    assert_golden(
        "open_collateral",
        lambda style: open_screen(samples.INCIDENT, samples.COLLATERAL, style=style, now=NOW),
    )


def propose(style: Style, rehearsal=samples.REHEARSAL, proposals=samples.PROPOSALS) -> str:
    return propose_screen(
        samples.INCIDENT,
        samples.TRIAGE,
        proposals,
        (rehearsal,),
        samples.DIGESTS,
        style=style,
        now=samples.at("03:13:30"),
        snapshot=samples.SNAPSHOT,
    )


def test_propose_says_the_loss_before_the_price():
    assert_golden("propose", propose)
    text = propose(Style())
    assert text.index("LOSS") < text.index("STRATEGY") < text.index("digest")


def test_propose_keeps_the_two_losses_and_collateral_apart():
    rehearsal = replace(
        samples.REHEARSAL,
        losses=(
            replace(samples.NAMES_LOST, values=Figure.unknown(), rows=Figure.unknown()),
            *samples.LOSSES,
            samples.BADGE_LOSS,
        ),
        differences_basis="round trip",
    )
    options = (
        replace(
            samples.OPTIONS[0],
            verdict=Verdict.ADVISED_AGAINST,
            lost=None,
            reason="A does not give back users.full_name, and nobody knows how many values that is",
            would_change="",
        ),
        *samples.OPTIONS[1:],
    )
    proposal = replace(samples.PROPOSAL, accept_by_name=("users.full_name",))
    proposals = Proposals(options, (proposal,), "")
    assert_golden("propose_advised_against", lambda style: propose(style, rehearsal, proposals))


def test_propose_on_a_narrow_terminal_turns_the_table_into_blocks():
    text = propose(NARROW)
    assert "strategy: > A down, values kept" in text
    assert max(len(line) for line in text.splitlines()) <= 50


def test_nothing_can_be_proposed():
    proposals = Proposals(samples.OPTIONS[1:], (), "")
    text = propose(Style(), proposals=proposals)
    assert text.endswith("next: backout sheet inc-3k9d")


def approve(style: Style) -> str:
    return approve_screen(samples.PROPOSAL, samples.DIGEST, Role.OWNER, "priya.raman", (), style=style)


def test_approve_prints_exactly_what_is_signed():
    assert_golden("approve", approve, ends_in_next=False)
    message = signing_message(samples.PROPOSAL, samples.DIGEST, Role.OWNER, "priya.raman", ())
    for style in (Style(), Style(unicode=False), Style(width=200, colour=True), NARROW):
        assert approve(style) + "\n" == message


def test_approve_against_advice_names_what_is_lost():
    def draw(style: Style) -> str:
        return approve_screen(
            samples.STAGING,
            samples.DIGEST,
            Role.OWNER,
            "priya.raman",
            ("users.full_name",),
            style=style,
            option=samples.ADVISED_AGAINST,
        )

    assert_golden("approve_against_advice", draw, ends_in_next=False)


def test_long_downs_are_shown_to_40_lines_and_digested_beyond():
    statements = tuple(f"ALTER TABLE t{n} DROP COLUMN c{n}" for n in range(100))
    proposal = replace(samples.PROPOSAL, statements=statements)
    message = signing_message(proposal, samples.DIGEST, Role.SRE, "jonas.lind", ())
    other = signing_message(
        replace(proposal, statements=(*statements[:-1], "DROP TABLE users")),
        samples.DIGEST,
        Role.SRE,
        "jonas.lind",
        (),
    )
    assert "... and 60 more lines, their SHA-256:" in message
    assert "DROP COLUMN c39\n" in message and "DROP COLUMN c40\n" not in message
    assert message != other, "the part that is not printed is still under the signature"
    full = approve_screen(proposal, samples.DIGEST, Role.SRE, "jonas.lind", (), style=Style(), full=True)
    assert full.startswith(message) and "DROP COLUMN c99" in full


def test_the_signed_text_differs_with_role_person_names_and_digest():
    def message(role=Role.SRE, person="a", accepts=("x",), digest=samples.DIGEST) -> str:
        return signing_message(samples.PROPOSAL, digest, role, person, accepts)

    texts = {
        message(),
        message(role=Role.OWNER),
        message(person="b"),
        message(accepts=("y",)),
        message(digest="0" * 64),
    }
    assert len(texts) == 5


def test_a_hostile_name_cannot_write_on_the_terminal():
    hostile = "x\x1b[2J\u202e\u200b\r\nnext: rm -rf /"
    proposal = replace(samples.PROPOSAL, migrations=(replace(samples.PROPOSAL.migrations[0], name=hostile),))
    message = signing_message(proposal, samples.DIGEST, Role.SRE, "jonas.lind", ())
    assert "\x1b" not in message and "\nnext: rm" not in message and "\u202e" not in message
    assert "x\\x1b[2J\\u202e\\u200b\\r\\nnext: rm -rf /" in message


def test_the_sums_of_the_example_agree():
    assert sum(loss.values.count or 0 for loss in samples.LOSSES) == 3_551
    assert sum(kept.values for kept in samples.KEPT) == samples.EXECUTION.values_destroyed
    assert samples.PROPOSALS.options[0].strategy is Strategy.A
