"""The runbook's initial, progress and resolution texts: known things are said, unknown ones are called so."""

from __future__ import annotations

from dataclasses import replace

from backout.model.check import Check, CheckState
from backout.model.cutover import CutoverProof, Moved, StaleWrite, Step, StepTime
from backout.model.execution import Outcome, Watch, WatchSample
from backout.model.fates import Fates
from backout.render import notices
from tests.render import samples


def test_the_initial_notice_goes_out_before_there_is_a_snapshot():
    text = notices.initial(samples.INCIDENT, samples.TRIAGE)
    assert text.splitlines() == [
        "Rollback of migration `1795314660000_hero-snapshots-v2` initiated. "
        "Snapshot: being taken, its ID follows by itself. ETA unknown.",
        "Target: heroes-production PRODUCTION, heroes @ db-1:5432",
        "Symptom: ETL fails with 23514",
        "Acts: mara.okafor. Safe: nothing has been changed; backout has only read.",
        "Next update within 20 minutes.",
    ]


def test_the_initial_notice_with_everything_known_is_the_runbooks_sentence():
    text = notices.initial(
        samples.INCIDENT,
        samples.COLLATERAL,
        snapshot=samples.SNAPSHOT,
        eta_seconds=118.0,
        acts="jonas.lind",
        next_update=samples.at("03:24:12"),
        policy_note="One person approves alone, by the policy of this environment.",
    )
    assert text.startswith(
        "Rollback of migration `1795314660000_hero-snapshots-v2` initiated. "
        "Snapshot saved: `snap-5h2w`. ETA: ~2 minutes."
    )
    assert "Migrations that would be undone with it: 1795316100000_add-badges" in text
    assert "One person approves alone" in text
    assert text.endswith("Next update due 2026-11-22 03:24:12 UTC.")


def test_the_id_follows_and_the_rehearsal_is_told():
    assert "Snapshot saved: `snap-5h2w` (whole, 4.6 GB" in notices.snapshot_saved(
        samples.INCIDENT, samples.SNAPSHOT
    )
    text = notices.proposed(samples.INCIDENT, (samples.REHEARSAL,))
    assert "A (down, values kept): destroys 3,551 values, of which backout keeps 3,551" in text
    assert "Next: backout approve inc-3k9d" in text
    failed = replace(samples.REHEARSAL, succeeded=False, failure="2BP01 other objects depend on it")
    assert "the rehearsal failed: 2BP01" in notices.proposed(samples.INCIDENT, (failed,))


def test_progress_says_who_acts_what_is_safe_and_what_is_next():
    text = notices.progress(
        samples.INCIDENT,
        "the down waits for a lock on hero_snapshots",
        safe="nothing has changed",
        next="backout resume inc-3k9d",
    )
    for part in ("Acts: mara.okafor", "Safe: nothing has changed", "Next: backout resume", "ETA unknown"):
        assert part in text


def test_the_resolution_states_the_loss_and_every_check_that_is_not_known():
    skipped = Check("smoke write", CheckState.SKIPPED, "not configured")
    checks = replace(samples.VERIFIED, checks=(*samples.VERIFIED.checks, skipped))
    text = notices.resolution(samples.INCIDENT, samples.EXECUTION, checks)
    assert text.startswith("Rollback complete. Validation NOT passed: 0 failed, 1 unknown of 9 checks.")
    assert "4,527 values destroyed by the down, 4,527 kept, 0 lost. Kept in backout_kept." in text
    assert "Checks unknown: etl (no run since the down" in text
    assert "Checks skipped: smoke write (not configured)" in text
    assert "https://tickets.example/OPS-418" in text
    assert "whether it comes back is not watched" in text


def test_a_green_resolution_is_the_runbooks_sentence():
    text = notices.resolution(
        samples.INCIDENT,
        samples.EXECUTION,
        samples.GREEN,
        watch=Watch(1800.0, 360, None, False),
        artifacts="postmortem/inc-3k9d.md",
    )
    assert text.startswith("Rollback complete. Validation passed.")
    assert "360 looks: it did not come back." in text
    assert "Artifacts: postmortem/inc-3k9d.md." in text


def test_a_green_resolution_says_how_many_checks_were_never_asked():
    skipped = Check("health endpoint", CheckState.SKIPPED, "not configured")
    checks = replace(samples.GREEN, checks=(*samples.GREEN.checks, skipped))
    text = notices.resolution(samples.INCIDENT, samples.EXECUTION, checks)
    assert text.startswith("Rollback complete. Validation passed, 1 check skipped.")
    assert "Checks skipped: health endpoint (not configured)" in text


def test_a_rollback_that_did_not_happen_is_never_called_complete():
    for outcome, words in ((Outcome.UNTOUCHED, "did NOT happen"), (Outcome.IN_DOUBT, "IN DOUBT")):
        done = replace(samples.EXECUTION, outcome=outcome)
        text = notices.resolution(samples.INCIDENT, done, samples.GREEN)
        assert words in text and "complete" not in text
    back = Watch(9.0, 2, WatchSample("2026-11-22T03:21:08Z", True, False, "in transaction 754"), False)
    assert "ALARM: the migration came back in transaction 754" in notices.resolution(
        samples.INCIDENT, samples.EXECUTION, samples.GREEN, watch=back
    )


def test_going_back_after_a_restore_is_told_with_what_became_of_every_write():
    fates = Fates(carried=7_040, archived=1, parked=1)
    moved = Moved(
        *("3f2a", "10.0.0.9:5433", "10.0.0.4:5432", (StepTime(Step.RELEASE, 115.2),), 1, 3, 0, "", ""),
        canary=Check("canary", CheckState.PASS, "the new side answers"),
    )
    quiet = CutoverProof((), (), (), (), 5.0)
    text = notices.went_back(samples.INCIDENT, samples.PROPOSAL, fates, moved, quiet)
    assert text.startswith(
        "Traffic went back to the old side of heroes-production: "
        "`1795314660000_hero-snapshots-v2` is live again. The move is complete."
    )
    assert "of 7,042 writes made on the restored instance" in text
    assert "held for 115 ms" in text
    stale = replace(quiet, stale=(StaleWrite("0/3000028", 754, "03:24:12"),))
    text = notices.went_back(samples.INCIDENT, samples.PROPOSAL, fates, moved, stale)
    assert "The move is NOT complete." in text
    assert "Checks fail: witness (0/3000028 (transaction 754))" in text


def test_no_notice_carries_a_secret_or_a_control_character():
    incident = replace(
        samples.INCIDENT, symptom=f"cannot reach postgresql://rb:{samples.SECRET}@db-1/heroes \x1b[2J"
    )
    text = notices.initial(incident, samples.TRIAGE)
    assert samples.SECRET not in text and "\x1b" not in text
