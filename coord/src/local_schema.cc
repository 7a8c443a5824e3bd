// LocalStore: opening the database, its schema and its statements.
#include "local_statements.h"
#include "local_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

namespace godwit::coord {
namespace {

constexpr int kApplicationId = 0x47445754;  // "GDWT"
constexpr int kSchemaVersion = 1;

// WITHOUT ROWID: a record is found by its path in one tree, and the children of a path
// are neighbours in it.
constexpr const char* kSchema = R"sql(
  CREATE TABLE nodes(
    parent TEXT NOT NULL, name TEXT NOT NULL,
    data BLOB NOT NULL, version INTEGER NOT NULL, owner INTEGER NOT NULL,
    children INTEGER NOT NULL DEFAULT 0,
    created INTEGER NOT NULL, changed INTEGER NOT NULL,
    children_changed INTEGER NOT NULL, child_removed INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY(parent, name)) WITHOUT ROWID;
  CREATE INDEX nodes_by_change ON nodes(changed);
  CREATE INDEX nodes_by_children_change ON nodes(children_changed);
  CREATE INDEX nodes_by_owner ON nodes(owner) WHERE owner != 0;
  CREATE TABLE sessions(
    id INTEGER PRIMARY KEY, slot INTEGER NOT NULL UNIQUE,
    pid INTEGER NOT NULL, pid_namespace INTEGER NOT NULL, timeout_ns INTEGER NOT NULL);
  CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
  INSERT INTO nodes(parent, name, data, version, owner, created, changed, children_changed)
    VALUES('', '', x'', 0, 0, 0, 0, 0);
  INSERT INTO meta VALUES('change', '0'), ('next_session', '1'), ('boot', ''),
    ('liveness_path', ''), ('liveness_id', '0');
)sql";

// Held while a store is opened: setting WAL mode and making the schema must not meet.
class FolderLock {
 public:
  static Result<FolderLock> take(const std::string& folder) {
    const std::string path = folder + "/lock";
    FolderLock lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    const Deadline deadline = after(std::chrono::seconds(10));
    while (lock.fd_ >= 0 && flock(lock.fd_, LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK || std::chrono::steady_clock::now() > deadline)
        return fail(Errc::unavailable, path + ": " + std::strerror(errno));
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    if (lock.fd_ < 0)
      return fail(errno == ENOSPC ? Errc::no_space : Errc::io_error,
                  path + ": " + std::strerror(errno));
    return lock;
  }
  FolderLock(FolderLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FolderLock& operator=(FolderLock&&) = delete;
  ~FolderLock() {
    if (fd_ >= 0) ::close(fd_);
  }

 private:
  explicit FolderLock(int fd) : fd_(fd) {}
  int fd_;
};

Result<std::int64_t> pragma(Database& database, std::string_view name) {
  auto statement = Statement::prepare(database, "PRAGMA " + std::string(name));
  if (!statement) return tl::unexpected<Error>(std::move(statement.error()));
  if (statement->step() != SQLITE_ROW)
    return tl::unexpected<Error>(sqlite_error(database.get(), name));
  return statement->integer(0);
}

}  // namespace

std::string LocalStore::current_boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

LocalStore::LocalStore(Options options, Database database)
    : options_(std::move(options)), database_(std::move(database)) {}

void LocalStore::StatementsDelete::operator()(Statements* statements) const {
  delete statements;
}

Result<std::unique_ptr<LocalStore>> LocalStore::open(Options options) {
  if (options.folder.empty()) return fail(Errc::bad_argument, "no folder for the local directory");
  std::error_code code;
  std::filesystem::create_directories(options.folder, code);
  if (code)
    return fail(code.value() == ENOSPC ? Errc::no_space : Errc::io_error,
                options.folder + ": " + code.message());
  auto lock = FolderLock::take(options.folder);
  if (!lock) return tl::unexpected<Error>(std::move(lock.error()));
  auto database = Database::open(options.folder + "/directory.sqlite");
  if (!database) return tl::unexpected<Error>(std::move(database.error()));

  std::unique_ptr<LocalStore> store(new LocalStore(std::move(options), std::move(*database)));
  if (auto made = store->create_schema_or_check_it(); !made)
    return tl::unexpected<Error>(std::move(made.error()));
  if (auto prepared = store->prepare(); !prepared)
    return tl::unexpected<Error>(std::move(prepared.error()));
  // From here on the wait for the lock is ours: SQLite's own sleeps up to 100 ms at once.
  sqlite3_busy_timeout(store->database_.get(), 0);
  // Instead of SQLite's own checkpoints, which a writer would wait for.
  sqlite3_wal_hook(
      store->database_.get(),
      [](void* self, sqlite3*, const char*, int pages) {
        static_cast<LocalStore*>(self)->log_pages_ = pages;
        return SQLITE_OK;
      },
      store.get());
  return store;
}

Result<void> LocalStore::create_schema_or_check_it() {
  sqlite3_busy_timeout(database_.get(), 5000);
  const auto application = pragma(database_, "application_id");
  if (!application) return tl::unexpected<Error>(application.error());
  const auto tables = pragma(database_, "schema_version");
  if (!tables) return tl::unexpected<Error>(tables.error());
  if (*application != kApplicationId && *tables != 0)
    return fail(Errc::corrupt, options_.folder + " holds a database that is not Godwit's");
  const auto version = pragma(database_, "user_version");
  if (!version) return tl::unexpected<Error>(version.error());
  if (*version > kSchemaVersion)
    return fail(Errc::corrupt, options_.folder + " was written by a newer version of this program");
  // NORMAL: a commit is safe from the death of any process; after a power failure the
  // last commits may be missing, whole ones.
  if (database_.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; "
                        "PRAGMA temp_store=MEMORY; PRAGMA cache_size=-16384;") != SQLITE_OK)
    return tl::unexpected<Error>(error("local directory"));
  if (*application == kApplicationId) return {};
  const std::string all = "BEGIN IMMEDIATE;" + std::string(kSchema) +
                          "PRAGMA application_id=" + std::to_string(kApplicationId) +
                          "; PRAGMA user_version=" + std::to_string(kSchemaVersion) + "; COMMIT;";
  if (database_.execute(all.c_str()) != SQLITE_OK) {
    Error failure = error("making the local directory");
    if (database_.in_transaction()) database_.execute("ROLLBACK");
    return tl::unexpected<Error>(std::move(failure));
  }
  return {};
}

Result<void> LocalStore::prepare() {
  statements_.reset(new Statements);
  Statements& s = *statements_;
  const std::pair<Statement*, std::string_view> all[] = {
      {&s.begin, "BEGIN IMMEDIATE"},
      {&s.commit, "COMMIT"},
      {&s.rollback, "ROLLBACK"},
      {&s.begin_read, "BEGIN"},
      {&s.savepoint, "SAVEPOINT one_write"},
      {&s.release, "RELEASE one_write"},
      {&s.undo, "ROLLBACK TO one_write"},
      {&s.get_meta, "SELECT value FROM meta WHERE key = ?"},
      {&s.set_meta, "UPDATE meta SET value = ?2 WHERE key = ?1"},
      {&s.find, "SELECT version, owner, children FROM nodes WHERE parent = ? AND name = ?"},
      {&s.insert,
       "INSERT INTO nodes(parent, name, data, version, owner, created, changed, children_changed) "
       "VALUES(?1, ?2, ?3, 0, ?4, ?5, ?5, ?5) ON CONFLICT DO NOTHING"},
      {&s.set,
       "UPDATE nodes SET data = ?3, version = version + 1, changed = ?4 "
       "WHERE parent = ?1 AND name = ?2"},
      {&s.remove, "DELETE FROM nodes WHERE parent = ? AND name = ?"},
      {&s.child_added,
       "UPDATE nodes SET children = children + 1, children_changed = ?3 "
       "WHERE parent = ?1 AND name = ?2"},
      {&s.child_removed,
       "UPDATE nodes SET children = children - 1, children_changed = ?3, child_removed = ?3 "
       "WHERE parent = ?1 AND name = ?2"},
      {&s.read,
       "SELECT data, version, created, owner, children FROM nodes WHERE parent = ? AND name = ?"},
      {&s.children, "SELECT name FROM nodes WHERE parent = ? AND name != ''"},
      {&s.changed_records, "SELECT parent, name, changed FROM nodes WHERE changed > ?"},
      {&s.changed_children,
       "SELECT parent, name, children_changed, child_removed FROM nodes "
       "WHERE children_changed > ?"},
      {&s.add_session, "INSERT INTO sessions VALUES(?, ?, ?, ?, ?)"},
      {&s.find_session, "SELECT 1 FROM sessions WHERE id = ?"},
      {&s.remove_session, "DELETE FROM sessions WHERE id = ?"},
      {&s.sessions, "SELECT id, slot, pid, pid_namespace, timeout_ns FROM sessions"},
      {&s.owned_by, "SELECT parent, name FROM nodes WHERE owner = ? AND owner != 0"},
  };
  for (const auto& [statement, sql] : all) {
    auto prepared = Statement::prepare(database_, sql);
    if (!prepared) return tl::unexpected<Error>(std::move(prepared.error()));
    *statement = std::move(*prepared);
  }
  return {};
}

}  // namespace godwit::coord
