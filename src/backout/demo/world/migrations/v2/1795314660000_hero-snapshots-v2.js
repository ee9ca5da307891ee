/**
 * Owner: priya.raman
 * Reviewed-by: jonas.lind
 * Impact: two columns without a default, one rename, a constraint NOT VALID: no rewrite, no long lock
 */
exports.up = (pgm) => {
  pgm.renameColumn("hero_snapshots", "power", "strength");
  pgm.addColumns("hero_snapshots", {
    source: { type: "text" },
    confidence: { type: "real" },
  });
  pgm.sql(`ALTER TABLE hero_snapshots ADD CONSTRAINT confidence_present
    CHECK (processed_at IS NULL OR confidence IS NOT NULL) NOT VALID`);
};

exports.down = (pgm) => {
  pgm.dropConstraint("hero_snapshots", "confidence_present");
  pgm.dropColumns("hero_snapshots", ["source", "confidence"]);
  pgm.renameColumn("hero_snapshots", "strength", "power");
};
