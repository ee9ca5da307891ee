"""How figures, names, widths and styles are written."""

from __future__ import annotations

import pytest

from backout.model.loss import Figure
from backout.render import words
from backout.render.layout import State, Style, middle, page, style_for, wrap
from backout.render.tables import Column, table


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "0 ms"),
        (0.0001, "<1 ms"),
        (0.238, "238 ms"),
        (0.9999, "1.0 s"),
        (3.84, "3.8 s"),
        (59.96, "1:00"),
        (245, "4:05"),
        (3599.6, "1 h 00"),
        (4320, "1 h 12"),
        (None, "?"),
    ],
)
def test_durations(seconds, told):
    assert words.duration(seconds) == told


@pytest.mark.parametrize(
    ("number", "told"),
    [(0, "0 B"), (512, "512 B"), (41_000, "41.0 kB"), (1_200_000_000, "1.2 GB"), (159_000_000, "159 MB")],
)
def test_sizes(number, told):
    assert words.size(number) == told


def test_a_percentage_is_100_only_when_it_is_all():
    assert words.percent(1000, 1000) == "100 %"
    assert words.percent(999, 1000) == ">99 %"
    assert words.percent(1, 1000) == "<1 %"
    assert words.percent(0, 1000) == "0 %"


def test_a_sum_is_as_sure_as_its_least_sure_part():
    assert words.total([]) == Figure.exact(0)
    assert words.total([Figure.exact(3), Figure.at_most(2)]) == Figure.at_most(5)
    assert words.total([Figure.exact(3), Figure.unknown()]) == Figure.unknown()


@pytest.mark.parametrize(
    "secret",
    [
        "postgresql://rb:correct-horse@db-1/heroes",
        "password=correct-horse host=db-1",
        "ALTER ROLE rb PASSWORD 'correct-horse'",
        "PGPASSWORD=correct-horse psql",
        "redis://:correct-horse@cache",
    ],
)
def test_secrets_are_hidden_wherever_text_is_printed(secret):
    assert "correct-horse" not in words.clean(f"it said {secret} and died")


def test_cleaning_twice_changes_nothing():
    once = words.clean("a\x1b[2J postgresql://u:p@h/d \u202eb")
    assert words.clean(once) == once


def test_names_are_cut_in_the_middle_and_wide_characters_count_twice():
    assert middle("1795314660000_hero-snapshots-v2", 20) == "179531466000...ts-v2"
    assert words.columns(middle("移行" * 20, 20)) <= 20
    assert all(words.columns(line) <= 10 for line in wrap("移行" * 20, 10))


def test_wrapping_breaks_long_words_without_losing_a_character():
    text = "x" * 95 + " tail"
    lines = wrap(text, 30)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_a_table_cuts_names_before_it_cuts_anything_else():
    heads = (Column("NAME", names=True), Column("ID"))
    lines = table(heads, [("n" * 90, "i" * 30)], Style())
    assert lines[1].endswith("i" * 30)
    assert len(lines[1]) <= 80


def test_a_command_is_never_broken_and_what_comes_first_stands_above_it():
    text = page(
        [], "free 28.1 GB in /var/lib/backout on the machine that runs it, then: backout doctor", Style()
    )
    assert text.splitlines()[-1] == "next: backout doctor"
    assert text.startswith("first: free 28.1 GB")


UTF8 = {"LANG": "en_GB.UTF-8", "TERM": "xterm"}


@pytest.mark.parametrize(
    ("terminal", "environ", "flag", "colour"),
    [
        (True, UTF8, "auto", True),
        (False, UTF8, "auto", False),
        (True, {**UTF8, "NO_COLOR": "1"}, "auto", False),
        (True, {**UTF8, "NO_COLOR": ""}, "auto", True),
        (True, {**UTF8, "TERM": "dumb"}, "auto", False),
        (False, {**UTF8, "NO_COLOR": "1"}, "always", True),
        (True, UTF8, "never", False),
    ],
)
def test_colour_follows_the_flag_then_no_color_then_the_stream(terminal, environ, flag, colour):
    assert style_for(terminal, environ, 100, flag, False).colour is colour


def test_width_and_symbols_follow_the_stream():
    assert style_for(False, UTF8, 200, "auto", False).width == 80
    assert style_for(True, UTF8, 132, "auto", False).width == 132
    assert style_for(True, UTF8, 0, "auto", False).width == 80
    assert style_for(True, UTF8, 80, "auto", False).unicode
    assert not style_for(True, UTF8, 80, "auto", True).unicode
    assert not style_for(True, {"LC_ALL": "C", **UTF8}, 80, "auto", False).unicode
    assert not style_for(True, {**UTF8, "TERM": "dumb"}, 80, "auto", False).unicode
    assert Style(unicode=False).symbol(State.PASS) == "+"
