/**
 * Owner: ETL team
 * Impact: index on unprocessed rows only
 */
exports.up = (pgm) => {
  pgm.createIndex("hero_snapshots", "id", {
    name: "hero_snapshots_backlog",
    where: "processed_at IS NULL",
  });
};

exports.down = (pgm) => {
  pgm.dropIndex("hero_snapshots", "id", { name: "hero_snapshots_backlog" });
};
