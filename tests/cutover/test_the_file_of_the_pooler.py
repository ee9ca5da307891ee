"""One line of a pgbouncer.ini is led elsewhere; what is not one plain line is refused."""

from __future__ import annotations

import pytest

from backout.adapters.traffic.pgbouncer_ini import leads_to, led_to, setting
from backout.errors import ConfigurationError
from backout.ports.traffic import Address

NEW = Address("db-2", 6543, "shop")


def ini(*entries: str) -> str:
    return "\n".join(["[databases]", *entries, "", "[pgbouncer]", "app = 1", "listen_port = 6432", ""])


def test_everything_but_host_port_and_database_is_kept():
    text = ini(
        "; a remark", "app = host=db-1 port=5432 dbname=shop user=clerk password='it''s = secret' pool_size=9"
    )
    moved = led_to(text, "app", NEW, "why")
    assert "app = host=db-2 port=6543 dbname=shop user=clerk password='it''s = secret' pool_size=9\n" in moved
    assert moved.startswith("; why\n[databases]\n; a remark\n")
    assert moved.endswith("[pgbouncer]\napp = 1\nlisten_port = 6432\n")
    assert leads_to(moved, "app") == NEW


def test_what_the_entry_leaves_out_is_libpq_s_default():
    assert leads_to(ini("app ="), "app") == Address("", 5432, "app")
    assert leads_to(led_to(ini("app ="), "app", NEW, "why"), "app") == NEW


@pytest.mark.parametrize(
    "entries",
    [("* = host=db-1",), ("%include other.ini",), ("app = host=a", "app = host=b"), ("app = host=a,b",)],
    ids=["wildcard", "include", "twice", "several hosts"],
)
def test_what_is_not_one_plain_line_is_refused(entries: tuple[str, ...]):
    with pytest.raises(ConfigurationError, match="cannot be led elsewhere"):
        leads_to(ini(*entries), "app")


def test_a_setting_is_read_as_a_restart_would_read_it():
    text = ini("max_db_connections = 7") + "max_db_connections = 40\n"
    assert setting(text, "max_db_connections", "0") == "40"
    assert setting(ini("max_db_connections = 7"), "max_db_connections", "0") == "0"
