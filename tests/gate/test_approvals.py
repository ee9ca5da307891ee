"""Two distinct people, one per role; the requester in at most one slot; machines and doubles never."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from backout.model.check import CheckState
from backout.model.gate import Policy
from backout.model.people import Approval, Role
from backout.phases.gate.approvals import decide, missing_slots, second_reading_due

PRODUCTION = Policy("production")
STRICT = Policy("production", requester_may_approve=False)
STAGING = Policy("staging", approvals=("any",))


def approval(person: str, role: Role) -> Approval:
    return Approval(person, role, "d" * 64, "A", (), "sig", "SHA256:x", 1)


def test_an_sre_and_an_owner_open_the_gate():
    found = (approval("jonas", Role.SRE), approval("priya", Role.OWNER))
    assert decide(PRODUCTION, found, "mara").state is CheckState.PASS


def test_one_person_in_both_roles_does_not():
    found = (approval("jonas", Role.SRE), approval("jonas", Role.OWNER))
    assert missing_slots(PRODUCTION, found, "mara") == ("owner",)


def test_two_people_in_the_same_role_do_not():
    found = (approval("jonas", Role.SRE), approval("ben", Role.SRE))
    check = decide(PRODUCTION, found, "mara")
    assert check.state is CheckState.FAIL
    assert "missing: owner" in check.detail


def test_the_requester_may_hold_one_slot_unless_the_policy_is_strict():
    found = (approval("mara", Role.SRE), approval("priya", Role.OWNER))
    assert missing_slots(PRODUCTION, found, "mara") == ()
    assert missing_slots(STRICT, found, "mara") == ("sre",)


def test_on_staging_anybody_enrolled_will_do():
    assert missing_slots(STAGING, (approval("ben", Role.SRE),), "ben") == ()
    assert missing_slots(STAGING, (), "ben") == ("any",)


def test_the_order_of_approvals_does_not_matter():
    both = approval("jonas", Role.SRE), approval("priya", Role.OWNER)
    assert missing_slots(PRODUCTION, both, "x") == missing_slots(PRODUCTION, both[::-1], "x") == ()


ALONE = Policy("production", approvals=("solo",), solo="mara")


def test_a_policy_of_one_person_names_that_person():
    assert missing_slots(ALONE, (approval("mara", Role.SRE),), "mara") == ()
    assert missing_slots(ALONE, (approval("ben", Role.SRE),), "mara") == ("solo",)


def test_who_approves_alone_reads_twice_two_minutes_apart():
    begun = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
    assert second_reading_due(ALONE, None, begun) is None
    assert second_reading_due(ALONE, begun, begun + timedelta(seconds=30)) == 90
    assert second_reading_due(ALONE, begun, begun + timedelta(seconds=121)) == 0
    assert second_reading_due(PRODUCTION, None, begun) == 0


people = st.sampled_from(["ann", "ben", "cy"])
approvals = st.lists(st.builds(approval, people, st.sampled_from(list(Role))), max_size=5)


@given(approvals, people, st.sampled_from([PRODUCTION, STRICT]))
def test_an_open_gate_always_has_two_distinct_people_in_their_roles(
    found: list[Approval], requester: str, policy: Policy
):
    if missing_slots(policy, found, requester):
        return
    usable = [a for a in found if policy.requester_may_approve or a.person != requester]
    pairs = {
        (a.person, b.person) for a in usable for b in usable if a.role is Role.SRE and b.role is Role.OWNER
    }
    assert any(sre != owner for sre, owner in pairs)
