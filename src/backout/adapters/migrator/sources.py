"""Migration files as facts: digest, first comment, where they lie."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

HEADER_LINES = 6
_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*)")
_LINE_COMMENT = re.compile(r"\s*(?://+|--+|#+!?)\s?(.*)")


def digest(contents: Mapping[str, bytes]) -> str:
    """SHA-256 over the files of one migration in order of their names.

    One file: of its bytes, so that people can compare with `sha256sum`. Several: of their digests.
    """
    if len(contents) == 1:
        return hashlib.sha256(next(iter(contents.values()))).hexdigest()
    whole = hashlib.sha256()
    for name in sorted(contents):
        whole.update(f"{hashlib.sha256(contents[name]).hexdigest()}  {name}\n".encode())
    return whole.hexdigest()


def text_of(content: bytes) -> str:
    """The text of a migration; what is not UTF-8 becomes a replacement mark (the tools read it so)."""
    return content.decode("utf-8-sig", "replace")


def header(text: str) -> str:
    """The first comment of a JavaScript, SQL or Python file: at most a few lines, without markers."""
    stripped = text.lstrip()
    if stripped.startswith("/*"):
        lines = [
            line.strip().removeprefix("*").strip() for line in stripped[2:].partition("*/")[0].splitlines()
        ]
    elif stripped.startswith(('"""', "'''")):
        lines = _docstring(stripped).splitlines()
    else:
        lines = list(_leading_comments(stripped.splitlines()))
    kept = [line.strip() for line in lines if line.strip()]
    return "\n".join(kept[:HEADER_LINES])


def _docstring(text: str) -> str:
    try:
        return ast.get_docstring(ast.parse(text)) or ""
    except (SyntaxError, ValueError):
        return ""


def _leading_comments(lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        found = _LINE_COMMENT.match(line)
        if found is None:
            return
        yield found.group(1)


def read(paths: Iterable[Path]) -> dict[str, bytes]:
    """Contents by file name; a file that cannot be read counts as empty rather than ending a listing."""
    contents = {}
    for path in paths:
        try:
            contents[path.name] = path.read_bytes()
        except OSError:
            contents[path.name] = b""
    return contents


def digest_of_paths(paths: Iterable[Path]) -> str:
    """Digest of configuration files; a missing one counts too, as missing."""
    whole = hashlib.sha256()
    for path in sorted(paths):
        mark = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"
        whole.update(f"{mark}  {path.name}\n".encode())
    return whole.hexdigest()


def assignments(path: Path) -> dict[str, str]:
    """Assignments of an env file; no expansion, because only names and kinds of values matter to us."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    found = (_ASSIGNMENT.match(line) for line in lines)
    return {seen.group(1): seen.group(2).strip().strip("'\"") for seen in found if seen}
