/**
 * Owner: seasons team
 * Impact: a new table, two columns without a default: no rewrite, no long lock
 */
exports.up = (pgm) => {
  pgm.createTable("seasons", {
    id: "id",
    name: { type: "text", notNull: true, unique: true },
  });
  pgm.addColumns("users", { motto: { type: "text" } });
  pgm.addColumns("hero_snapshots", {
    season_id: { type: "integer", references: "seasons" },
  });
};

exports.down = (pgm) => {
  pgm.dropColumns("hero_snapshots", ["season_id"]);
  pgm.dropColumns("users", ["motto"]);
  pgm.dropTable("seasons");
};
