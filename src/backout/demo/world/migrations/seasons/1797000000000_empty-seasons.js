/**
 * Owner: priya.raman
 * Reviewed-by: jonas.lind
 * Impact: the new table has trial rows only and is emptied before the season begins; CASCADE, for a foreign
 * key is in the way. Mottos are no longer shown: v44, which does not read them, is deployed first.
 */
exports.up = (pgm) => {
  pgm.sql("TRUNCATE public.seasons CASCADE");
  pgm.dropColumns("users", ["motto"]);
};

exports.down = (pgm) => {
  pgm.addColumns("users", { motto: { type: "text" } });
};
