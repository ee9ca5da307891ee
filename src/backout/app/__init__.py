"""The composition root: the only room that knows everyone; the faces call it and nothing below."""
