"""Containment: stop the bleeding in minute two, and put back exactly what was found."""

from __future__ import annotations

from backout.phases.containment.act import Containment, Job
from backout.phases.containment.act import contain as stop
from backout.phases.containment.act import release as start
from backout.ports.run import Run


def contain(run: Run, job: Job) -> Containment:
    """Stop one job."""
    return stop(run, job)


def release(run: Run, held: Containment, *, whole: bool) -> Containment:
    """Start it again, one step of it or the whole."""
    return start(run, held, whole=whole)
