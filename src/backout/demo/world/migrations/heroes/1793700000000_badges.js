/**
 * Owner: profiles team
 * Impact: new table, no reader yet
 */
exports.up = (pgm) => {
  pgm.createTable("badges", {
    user_id: { type: "integer", notNull: true, references: "users" },
    name: { type: "text", notNull: true },
    given_at: { type: "timestamptz", notNull: true, default: pgm.func("now()") },
  });
  pgm.addConstraint("badges", "badges_pkey", { primaryKey: ["user_id", "name"] });
};

exports.down = (pgm) => {
  pgm.dropTable("badges");
};
