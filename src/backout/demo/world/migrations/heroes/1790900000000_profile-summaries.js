/**
 * Owner: ETL team
 * Impact: new table, written by the ETL only
 */
exports.up = (pgm) => {
  pgm.createTable("profile_summaries", {
    user_id: { type: "integer", primaryKey: true, references: "users" },
    snapshots: { type: "integer", notNull: true, default: 0 },
    total_power: { type: "bigint", notNull: true, default: 0 },
    updated_at: { type: "timestamptz", notNull: true, default: pgm.func("now()") },
  });
};

exports.down = (pgm) => {
  pgm.dropTable("profile_summaries");
};
