#include "sqlite_statement.h"

#include <cerrno>
#include <utility>

namespace godwit::coord {

Error sqlite_error(sqlite3* database, std::string_view doing) {
  const int code = sqlite3_errcode(database) & 0xff;
  const int system = sqlite3_system_errno(database);
  Errc errc = Errc::io_error;
  if (code == SQLITE_FULL || (code == SQLITE_IOERR && (system == ENOSPC || system == EDQUOT)))
    errc = Errc::no_space;
  if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB) errc = Errc::corrupt;
  return Error{errc, std::string(doing) + ": " + sqlite3_errmsg(database)};
}

Result<Database> Database::open(const std::string& file) {
  sqlite3* raw = nullptr;
  // NOMUTEX: the coordinator's callback thread alone uses the connection.
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  const int code = sqlite3_open_v2(file.c_str(), &raw, flags, nullptr);
  Database database(raw);  // to be closed also when opening failed
  if (raw == nullptr) return fail(Errc::io_error, file + ": no memory");
  if (code != SQLITE_OK) return tl::unexpected<Error>(sqlite_error(raw, file));
  return database;
}

Database::Database(Database&& other) noexcept
    : database_(std::exchange(other.database_, nullptr)) {}
Database& Database::operator=(Database&& other) noexcept {
  std::swap(database_, other.database_);
  return *this;
}
Database::~Database() {
  sqlite3_close_v2(database_);
}

int Database::execute(const char* sql) {
  return sqlite3_exec(database_, sql, nullptr, nullptr, nullptr);
}

Result<Statement> Statement::prepare(Database& database, std::string_view sql) {
  sqlite3_stmt* raw = nullptr;
  if (sqlite3_prepare_v3(database.get(), sql.data(), static_cast<int>(sql.size()),
                         SQLITE_PREPARE_PERSISTENT, &raw, nullptr) != SQLITE_OK)
    return tl::unexpected<Error>(sqlite_error(database.get(), "local directory"));
  return Statement(raw);
}

Statement::Statement(Statement&& other) noexcept
    : statement_(std::exchange(other.statement_, nullptr)), bound_(other.bound_) {}
Statement& Statement::operator=(Statement&& other) noexcept {
  std::swap(statement_, other.statement_);
  std::swap(bound_, other.bound_);
  return *this;
}
Statement::~Statement() {
  sqlite3_finalize(statement_);
}

Statement& Statement::bind(std::int64_t value) {
  sqlite3_bind_int64(statement_, ++bound_, value);
  return *this;
}
Statement& Statement::bind(std::string_view text) {
  sqlite3_bind_text(statement_, ++bound_, text.data(), static_cast<int>(text.size()),
                    SQLITE_STATIC);
  return *this;
}
Statement& Statement::bind_blob(std::string_view bytes) {
  sqlite3_bind_blob(statement_, ++bound_, bytes.empty() ? "" : bytes.data(),
                    static_cast<int>(bytes.size()), SQLITE_STATIC);
  return *this;
}

std::string Statement::bytes(int column) const {
  const void* data = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  return data == nullptr
             ? std::string()
             : std::string(static_cast<const char*>(data), static_cast<std::size_t>(size));
}

void Statement::reset() {
  sqlite3_reset(statement_);
  bound_ = 0;
}

}  // namespace godwit::coord
