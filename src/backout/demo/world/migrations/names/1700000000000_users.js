/**
 * Owner: accounts team
 * Impact: new table, no reader yet
 */
exports.up = (pgm) => {
  pgm.createTable("users", {
    id: "id",
    full_name: { type: "text" },
  });
};

exports.down = (pgm) => {
  pgm.dropTable("users");
};
