// Owner types for a SQLite connection and its prepared statements, with errors as
// values. One thread at a time.
#pragma once

#include <godwit/coord/error.h>

#include <sqlite3.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace godwit::coord {

// The error of the connection's last failed call: no_space (also from a quota),
// corrupt, or io_error. SQLITE_BUSY is for callers to tell apart first.
Error sqlite_error(sqlite3* database, std::string_view doing);

class Database {
 public:
  static Result<Database> open(const std::string& file);
  Database(Database&& other) noexcept;
  Database& operator=(Database&& other) noexcept;
  ~Database();

  sqlite3* get() const { return database_; }
  // Runs statements without parameters or results; SQLite's code.
  int execute(const char* sql);
  bool in_transaction() const { return sqlite3_get_autocommit(database_) == 0; }

 private:
  explicit Database(sqlite3* database) : database_(database) {}
  sqlite3* database_;
};

class Statement {
 public:
  Statement() = default;
  // `sql` is one statement of this program's own; failing to compile it means that the
  // database is not what it should be.
  static Result<Statement> prepare(Database& database, std::string_view sql);
  Statement(Statement&& other) noexcept;
  Statement& operator=(Statement&& other) noexcept;
  ~Statement();

  // Each bind gives the next parameter. Texts and blobs must outlive the run.
  Statement& bind(std::int64_t value);
  Statement& bind(std::string_view text);
  Statement& bind_blob(std::string_view bytes);

  // Next row: SQLITE_ROW, SQLITE_DONE or an error code.
  int step() { return sqlite3_step(statement_); }
  std::int64_t integer(int column) const { return sqlite3_column_int64(statement_, column); }
  std::string bytes(int column) const;

  // Ready for the next bind; called by Run.
  void reset();

 private:
  explicit Statement(sqlite3_stmt* statement) : statement_(statement) {}
  sqlite3_stmt* statement_ = nullptr;
  int bound_ = 0;
};

// One use of a statement: resets it at the end, whichever way the scope is left. A
// statement left unreset would keep its read transaction, and the WAL growing.
class Run {
 public:
  explicit Run(Statement& statement) : statement_(statement) {}
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;
  ~Run() { statement_.reset(); }
  Statement* operator->() { return &statement_; }

 private:
  Statement& statement_;
};

}  // namespace godwit::coord
