"""What a down destroys, and what its up destroyed for good: measured on copies, cell by cell."""

from backout.postgres.losses.down import Measured, measure
from backout.postgres.losses.since import SinceMarks, rows_written_since
from backout.postgres.losses.up import measure_up

__all__ = ["Measured", "SinceMarks", "measure", "measure_up", "rows_written_since"]
