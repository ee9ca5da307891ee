"""What proves a postmortem: the journal's links and head, the digests, the signatures, the statements."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise

from backout.model.journal import Entry
from backout.render.document import Section, Source, Table
from backout.render.known import Known


def section(known: Known, entries: Sequence[Entry]) -> Section:
    """The evidence, in full: digests are never cut here."""
    rows = [
        ("Journal", f"{len(entries):,} entries, {'linked without a gap' if linked(entries) else 'BROKEN'}"),
        ("Head", entries[-1].hash if entries else "none"),
        ("Plan digest", known.digest or "unknown"),
        ("Executed statements", _statements(known)),
    ]
    for approval in known.approvals:
        sha256 = hashlib.sha256(approval.signature.encode()).hexdigest()
        rows.append((f"Signature of {approval.person}", f"{approval.key}, SHA-256 {sha256}"))
    blocks: list[Table | Source] = [Table(("What", "Evidence"), tuple(rows), code=(1,))]
    if known.execution is not None and known.execution.statements:
        blocks.append(Source("\n".join(f"{s.rstrip().rstrip(';')};" for s in known.execution.statements)))
    return Section("Integrity", tuple(blocks))


def linked(entries: Sequence[Entry]) -> bool:
    """Whether every entry names the one before it and none is missing.

    That each hash is true to its own entry is for the journal to verify.
    """
    return all(b.prev == a.hash and b.seq == a.seq + 1 for a, b in pairwise(entries))


def _statements(known: Known) -> str:
    if known.execution is None:
        return "none"
    digest = hashlib.sha256("\n".join(known.execution.statements).encode()).hexdigest()
    if known.proposal is None:
        return f"SHA-256 {digest}, not compared with the approved ones"
    same = known.proposal.statements == known.execution.statements
    return f"SHA-256 {digest}, {'the approved ones' if same else 'their text differs from the approved ones'}"
