"""What can be said of a JavaScript or SQL migration without running it."""

from __future__ import annotations

import pytest

from backout.adapters.migrator import node_source
from backout.adapters.migrator.node_explain import explain, script_warnings
from backout.adapters.migrator.node_files import Place, found_paths, migration_files
from backout.model.migration import DownKind


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("exports.up = (pgm) => { pgm.x(); };", DownKind.INFERRED),
        ("exports.up = () => {};\nexports.down = false;", DownKind.REFUSED),
        ("export const down: false = false;", DownKind.REFUSED),
        ("module.exports = { up(pgm) {}, down: false };", DownKind.REFUSED),
        ("exports.down = (pgm) => {};", DownKind.EMPTY),
        ("exports.down = (pgm) => {\n  // nothing to do\n};", DownKind.EMPTY),
        ("exports.down = pgm => { }", DownKind.EMPTY),
        ("export async function down(pgm: MigrationBuilder): Promise<void> {\n}", DownKind.EMPTY),
        ("export async function down(pgm: MigrationBuilder): Promise<void> { pgm.x(); }", DownKind.PRESENT),
        ("module.exports = { up(pgm) { a(); }, async down(pgm) {} };", DownKind.EMPTY),
        ("module.exports = { up(pgm) { a(); }, async down(pgm) { b(); } };", DownKind.PRESENT),
        ("const down = (pgm) => { b(); };\nexport { up, down };", DownKind.PRESENT),
        ("exports.down = function (pgm) { pgm.sql('}{') };", DownKind.PRESENT),
        ("// exports.down = false\nexports.up = () => {};", DownKind.INFERRED),
        ("exports.up = (pgm) => { pgm.sql(`down`); pgm.down; };", DownKind.INFERRED),
        ("export const down = undefined;", DownKind.INFERRED),
        ("exports.down = require('./shared').down;", DownKind.PRESENT),
    ],
)
def test_the_way_back_of_a_script(text: str, kind: DownKind):
    assert node_source.script_down(text) is kind


def test_a_transaction_is_known_from_the_text_unless_a_helper_may_leave_it():
    assert node_source.script_transactional("exports.up = (pgm) => { pgm.noTransaction(); }") is False
    assert node_source.script_transactional("// pgm.noTransaction()\nexports.up = () => {}") is True
    assert node_source.script_transactional("const h = require('../helpers');") is None
    assert node_source.script_transactional("import x from './helpers.js';") is None
    assert node_source.script_transactional("import type { M } from 'node-pg-migrate';") is True


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("CREATE TABLE a ();", DownKind.REFUSED),
        ("-- Up Migration\nA;\n-- Down Migration\nB;", DownKind.PRESENT),
        ("-- Up Migration\nA;\n--- down migration\n-- nothing\n", DownKind.EMPTY),
        ("-- Down Migration\nB;\n-- Up Migration\nA;", DownKind.PRESENT),
    ],
)
def test_the_way_back_of_an_sql_file(text: str, kind: DownKind):
    up, down = node_source.sql_sections(text)
    assert node_source.sql_down(down) is kind
    assert kind is DownKind.REFUSED or (down is not None and "A;" not in down)
    assert "B;" not in up


def test_the_order_is_the_tools(tmp_path):
    utc = "20231114221320123_utc.js"  # 1700000000123
    names = ["1_a9.js", "1_a10.js", "9_x.sql", "1700000000000_m.ts", utc, "1700000000124_z.js"]
    for name in reversed([*names, ".hidden.js"]):
        (tmp_path / name).write_text("exports.up = () => {};")
    assert [path.name for path in found_paths(Place(tmp_path, "."))] == names


def test_pairs_are_two_migrations_unless_the_users_runner_joins_them(tmp_path):
    (tmp_path / "1_a.up.sql").write_text("CREATE TABLE a ();")
    (tmp_path / "1_a.down.sql").write_text("DROP TABLE a;")
    alone = migration_files(Place(tmp_path, "."), {})
    assert [(f.name, f.down) for f in alone] == [
        ("1_a.down", DownKind.REFUSED),
        ("1_a.up", DownKind.REFUSED),
    ]
    joined = migration_files(Place(tmp_path, ".", sql_pairs=True), {})
    assert [(f.name, f.down, len(f.paths)) for f in joined] == [("1_a", DownKind.PRESENT, 2)]


def test_a_glob_picks_files_from_several_directories(tmp_path):
    for name in ("a/1_x.js", "b/2_y.ts", "b/2_y.test.ts"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    place = Place(tmp_path, "{a,b}/*.{js,ts}", use_glob=True, ignore="**/*.test.ts")
    assert [path.name for path in found_paths(place)] == ["1_x.js", "2_y.ts"]


def test_dangerous_flags_are_explained(tmp_path):
    assert "is executed" in (explain(("down", "--dry-run"), tmp_path) or "")
    assert "only edits the history" in (explain(("down", "1", "--fake"), tmp_path) or "")
    assert explain(("up", "--verbose", "false"), tmp_path) is None
    assert "is no action" in (explain(("node-pg-migrate", "rollback"), tmp_path) or "")


def test_scripts_with_ignored_flags_are_named(tmp_path):
    (tmp_path / "package.json").write_text(
        '{"scripts": {"a": "node-pg-migrate down --env production", "b": "node-pg-migrate up -f x.js"}}'
    )
    assert script_warnings(tmp_path) == (
        "package.json: script a: `--env` is ignored (it is `--envPath FILE`)",
    )
