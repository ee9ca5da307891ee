"""The one tree of errors; every class has an exit code, and every instance says four things.

BackoutError                         what happened, where, what is intact, the next command
├── ConfigurationError      exit 2   the configuration or the command line is wrong
│   └── UnknownName         exit 2   an incident, target, migration, ... that does not exist
├── Refused                 exit 3   backout will not do this, and says why
│   ├── Busy                exit 3   another command of this state directory is at work
│   ├── ApprovalVoid        exit 3   what was approved is no longer what would run
│   ├── StoryChanged        exit 3   the journal tells another story than this version would
│   └── TamperedJournal     exit 3   the chain of the journal does not hold
├── Waiting                 exit 4   a person has to do something first
├── Stopped                 exit 5   stopped safely in the middle; `backout resume` goes on
│   └── LockNotGranted      exit 5   the lock was not to be had within the patience of the plan
├── HandedOver              exit 6   the tool cannot go on; people finish by hand
└── NeighbourUnreachable    exit 7   a server, tool or service cannot be reached
"""

from __future__ import annotations


class BackoutError(Exception):
    """Something went wrong in a way that backout understands.

    `what` is lower case without a full stop; `where` names the target, environment and host; `intact`
    says what was not touched; `next` is a whole command ready to paste, or a sentence that ends in one.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", intact: str = "", next: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.intact = intact
        self.next = next


class ConfigurationError(BackoutError):
    """The configuration or the command line is wrong; nothing was done."""

    exit_code = 2


class UnknownName(ConfigurationError):
    """An incident, target, migration or snapshot of this name does not exist."""


class Refused(BackoutError):
    """backout will not do this; the reason is the message."""

    exit_code = 3


class Busy(Refused):
    """Another command of this state directory is at work; this one did nothing."""


class ApprovalVoid(Refused):
    """What was approved is no longer what would run; a new round is needed."""


class StoryChanged(Refused):
    """The journal holds a step under this key that was recorded with another meaning."""


class TamperedJournal(Refused):
    """The hash chain of the journal is broken, or it is older than its anchor."""


class Waiting(BackoutError):
    """The story waits for a person."""

    exit_code = 4


class Stopped(BackoutError):
    """Stopped safely in the middle, without effect; `backout resume` looks first and goes on."""

    exit_code = 5


class LockNotGranted(Stopped):
    """A lock was not granted within the patience of the plan; nothing has changed."""


class HandedOver(BackoutError):
    """The tool cannot go on by itself; the sheet says how people finish by hand."""

    exit_code = 6


class NeighbourUnreachable(BackoutError):
    """A server, tool or service cannot be reached, or answered that it will not serve."""

    exit_code = 7
