/**
 * Owner: profiles team
 * Impact: two new tables, no reader yet; the ETL keeps the records
 */
exports.up = (pgm) => {
  pgm.createTable("cheers", {
    id: "id",
    snapshot_id: { type: "integer", notNull: true, references: "hero_snapshots" },
    nonce: { type: "text", notNull: true },
  });
  pgm.createTable("records", {
    user_id: { type: "integer", primaryKey: true, references: "users" },
    snapshot_id: { type: "integer", notNull: true, references: "hero_snapshots" },
    power: { type: "integer", notNull: true },
  });
};

exports.down = (pgm) => {
  pgm.dropTable("records");
  pgm.dropTable("cheers");
};
