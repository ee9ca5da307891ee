"""The end of strategy F: nothing more to do, or the tool's own up; history and schema say how it went."""
