"""The file of enrolled people: what it may say, and that a wrong line is named on a calm day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backout.adapters.people.allowed_signers import Signer, load, parse
from backout.errors import ConfigurationError
from tests.people.signing_keys import private_key, public_line, tokens

KEY = public_line(private_key("ed25519"))


def only(line: str) -> Signer:
    (signer,) = parse(line.encode(), "people")
    return signer


def test_names_options_kind_key_and_comment_are_read() -> None:
    text = f"""
# the people of the shop; changes are reviewed
  # indented
jonas {KEY} jonas's laptop, 15" screen

priya,priya@example.org namespaces="git,backout",valid-before="20300101Z" {public_line(private_key("rsa"))}\r
"Ana Lima" {tokens()[0].public.line}
"""
    jonas, priya, ana = parse(text.encode(), "people")
    assert (jonas.line, jonas.names, jonas.key.line) == (4, ("jonas",), KEY)
    assert (priya.line, priya.names) == (6, ("priya", "priya@example.org"))
    assert priya.namespaces == ("git", "backout")
    assert priya.valid_before == datetime(2030, 1, 1, tzinfo=UTC)
    assert ana.names == ("Ana Lima",)
    assert ana.key.kind == "sk-ssh-ed25519@openssh.com"


def test_an_empty_file_enrols_nobody() -> None:
    assert parse(b"", "people") == ()
    assert parse(b"# nobody yet\n\n", "people") == ()


def test_times_are_on_the_clock_of_the_machine_unless_they_end_in_z() -> None:
    signer = only(f'jonas valid-after="20240229",valid-before="202402291530" {KEY}')
    assert signer.valid_after == datetime(2024, 2, 29).astimezone()
    assert signer.valid_before == datetime(2024, 2, 29, 15, 30).astimezone()
    assert only(f'j valid-after="20240229153007Z" {KEY}').valid_after == datetime(
        2024, 2, 29, 15, 30, 7, tzinfo=UTC
    )


def test_both_ends_of_the_validity_count() -> None:
    signer = only(f'jonas valid-after="20240101Z",valid-before="20240201Z" {KEY}')
    first, last = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)
    assert signer.why_not("backout", first) == signer.why_not("backout", last) == ""
    assert "from 2024-01-01" in signer.why_not("backout", first - timedelta(seconds=1))
    assert "until 2024-02-01" in signer.why_not("backout", last + timedelta(seconds=1))


@pytest.mark.parametrize(
    ("line", "because"),
    [
        (f"* {KEY}", "is a pattern"),
        (f"*@example.org {KEY}", "is a pattern"),
        (f"jona? {KEY}", "is a pattern"),
        (f"jonas,!priya {KEY}", "is a pattern"),
        (f"jonas, {KEY}", "'' is no name"),
        (f"jon\x1bas {KEY}", r"'jon\x1bas' is no name"),
        (f"\ufeffjonas {KEY}", r"'\ufeffjonas' is no name"),
        (f"jonas cert-authority {KEY}", "could approve as anybody"),
        (f'jonas CERT-AUTHORITY,namespaces="backout" {KEY}', "could approve as anybody"),
        (f'jonas namespaces="a",namespaces="b" {KEY}', "given twice"),
        (f'jonas namespaces="" {KEY}', "without a value"),
        (f"jonas namespaces=backout {KEY}", "cannot be read"),
        (f"jonas no-touch-required {KEY}", "unknown"),
        (f'jonas namespaces="backout", {KEY}', "cannot be read"),
        (f'jonas valid-after="yesterday" {KEY}', "is no time"),
        (f'jonas valid-after="20240230" {KEY}', "calendar"),
        (f'jonas valid-after="00000101" {KEY}', "calendar"),
        (f'jonas valid-after="2024022930" {KEY}', "is no time"),
        (f'jonas valid-after="٢٠٢٤٠٢٠١" {KEY}', "is no time"),
        (f'jonas valid-after="20250101",valid-before="20240101" {KEY}', "not later"),
        ("jonas", "holds no key"),
        ("jonas ssh-ed25519", "holds no key"),
        (KEY, "the name of the person belongs before it"),
        (f'jonas namespaces="backout {KEY}', "holds no key"),
        (f'jo"nas {KEY}', "no name"),
        ("jonas ssh-ed25519 AA*A", "base64"),
        ("jonas ssh-ed25519 AAAA", "too early"),
        (f"jonas {KEY}AAAA", "follow its end"),
        (f"jonas ssh-rsa {KEY.split()[1]}", "the key inside is ssh-ed25519"),
        ("jonas ssh-dss AAAAB3NzaC1kc3M=", "'ssh-dss' cannot approve"),
        (
            "jonas ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29t",
            "cannot approve",
        ),
    ],
    ids=count(),  # the key is made anew in every process, and a name has to be the same in all of them
)
def test_a_wrong_line_is_named(line: str, because: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(f"# people\njonas {KEY}\n{line}\n".encode(), "people.txt")
    assert because in caught.value.what
    assert caught.value.what.startswith("line 3 of ")
    assert caught.value.where == "people.txt:3"
    assert caught.value.what.isprintable()


def test_a_line_that_is_not_utf8_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"line 2 .* not UTF-8"):
        parse(f"jonas {KEY}\n".encode() + b"\xff\xfe", "people")


def test_a_missing_file_says_where_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path / "nowhere")
    assert caught.value.what.endswith("no such file or directory")
    assert caught.value.where == str(tmp_path / "nowhere")
    assert "[people]" in caught.value.next


def test_a_file_that_is_no_list_of_people_is_not_read_to_its_end() -> None:
    with pytest.raises(ConfigurationError, match="larger than 1 MiB"):
        load(Path("/dev/zero"))


@given(st.text(max_size=80))
@settings(max_examples=200, deadline=None)
def test_any_text_is_read_or_refused_without_a_traceback(text: str) -> None:
    try:
        parse(f"jonas {text} {KEY}".encode("utf-8", "replace"), "people")
    except ConfigurationError as refused:
        assert refused.where.startswith("people:")
