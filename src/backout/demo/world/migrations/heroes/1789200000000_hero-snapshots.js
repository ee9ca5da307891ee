/**
 * Owner: profiles team
 * Impact: new table, no reader yet
 */
exports.up = (pgm) => {
  pgm.createTable("hero_snapshots", {
    id: "id",
    user_id: { type: "integer", notNull: true, references: "users" },
    taken_at: { type: "timestamptz", notNull: true, default: pgm.func("now()") },
    payload: { type: "jsonb", notNull: true },
    power: { type: "integer", notNull: true, default: 0 },
    processed_at: { type: "timestamptz" },
  });
};

exports.down = (pgm) => {
  pgm.dropTable("hero_snapshots");
};
