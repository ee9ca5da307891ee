/**
 * Owner: profiles team
 * Impact: new tables, no reader yet
 */
exports.up = (pgm) => {
  pgm.createTable("teams", {
    id: "id",
    name: { type: "text", notNull: true, unique: true },
  });
  pgm.createTable("users", {
    id: "id",
    team_id: { type: "integer", notNull: true, references: "teams" },
    name: { type: "text", notNull: true },
    seen: { type: "bigint", notNull: true, default: 0 },
    created_at: { type: "timestamptz", notNull: true, default: pgm.func("now()") },
  });
};

exports.down = (pgm) => {
  pgm.dropTable("users");
  pgm.dropTable("teams");
};
