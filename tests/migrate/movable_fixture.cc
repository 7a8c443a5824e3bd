#include "migrate/movable_fixture.h"

#include <cstring>

#include "state_stream.h"

namespace godwit::migrate_tests {

namespace {

constexpr std::uint32_t kAccountsRecord = 1;
constexpr std::uint32_t kPageRecord = 1u << 20;  // + its number

template <typename T>
Bytes bytes_of_value(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

Result<std::unique_ptr<Process>> attach(const std::string& run,
                                        std::optional<TransportKind> transport) {
  ProcessOptions options;
  options.runtime_directory = run;
  options.force_transport = transport;
  options.spin = 0ns;  // many threads on few cores
  return Process::attach(options);
}

}  // namespace

EndpointId dock_of(const MoveReport& report) {
  return {report.dock().dc(), report.dock().slot(), report.dock().generation()};
}

// --- the state ---------------------------------------------------------------------------------

void Ledger::execute(std::uint32_t endpoint, const Operation& operation) {
  const auto kind = static_cast<Operation::Kind>(operation.kind);
  std::uint64_t& last = account(kind, endpoint, operation.client);
  if (operation.number != last + 1) ++wrong;
  last = operation.number;
  touch((operation.number * 31 + operation.client) % pages());
}

void Ledger::touch(std::size_t number) {
  std::uint64_t count;
  std::memcpy(&count, page(number).data(), sizeof count);
  ++count;
  std::memcpy(page(number).data(), &count, sizeof count);
  if (!dirty_[number]) {
    dirty_[number] = true;
    ++unsaved_;
  }
}

void Ledger::begin() {
  ++begun;
  dirty_.assign(pages(), true);
  unsaved_ = pages();
  next_ = 0;
}

void Ledger::save_one(StateWriter& writer) {
  while (!dirty_[next_]) next_ = (next_ + 1) % pages();
  dirty_[next_] = false;
  --unsaved_;
  writer.put(kPageRecord + static_cast<std::uint32_t>(next_), page(next_));
  put_bytes += kPage;
}

Result<void> Ledger::save(StateWriter& writer) {
  if (fault == Fault::save) return fail(Errc::system, "no luck");
  while (unsaved_ != 0 && !writer.full()) save_one(writer);
  if (while_saving) while_saving();
  return {};
}

Result<void> Ledger::save_rest(StateWriter& writer) {
  if (fault == Fault::rest) return fail(Errc::system, "no luck");
  while (unsaved_ != 0) save_one(writer);
  writer.put(kAccountsRecord, std::as_bytes(std::span(accounts_)));
  saved_hash = hash();
  return {};
}

Result<void> Ledger::load(std::uint32_t version, std::uint32_t kind, Bytes record) {
  if (version != format) return fail(Errc::version_mismatch, "a format that is not mine");
  if (fault == Fault::load) return fail(Errc::system, "no luck");
  if (kind == kAccountsRecord && record.size() == sizeof accounts_) {
    std::memcpy(accounts_.data(), record.data(), record.size());
    return {};
  }
  const std::size_t number = kind - kPageRecord;
  if (kind < kPageRecord || number >= pages() || record.size() != kPage) {
    return fail(Errc::invalid_argument, "a record that is none");
  }
  std::memcpy(page(number).data(), record.data(), kPage);
  return {};
}

Result<void> Ledger::loaded(Movable& movable) {
  if (fault == Fault::loaded) return fail(Errc::system, "no luck");
  loaded_hash = hash();
  return when_loaded ? when_loaded(movable) : Result<void>{};
}

void Ledger::reset() {
  std::fill(memory_.begin(), memory_.end(), std::byte{0});
  accounts_ = {};
  dirty_.assign(pages(), false);
  unsaved_ = 0;
  ++resets;
}

std::uint64_t Ledger::hash() const {
  migrate::StreamHash hash;
  hash.add(memory_);
  hash.add(std::as_bytes(std::span(accounts_)));
  return hash.value().low64;
}

// --- the server --------------------------------------------------------------------------------

Server::Server(const std::string& run, ServerOptions options)
    : options_(std::move(options)),
      ledger_(options_.pages),
      thread_([this, run](std::stop_token stop) { this->run(run, stop); }) {
  EXPECT_TRUE(ready_.wait(1));
}

void Server::stop() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
}

void Server::run(const std::string& run, std::stop_token stop) {
  auto process = attach(run, options_.transport);
  ASSERT_TRUE(process) << process.error().to_string();
  id_ = (*process)->resolver().process();
  auto movable = Movable::create(**process,
                                 {.program = "kv",
                                  .names = options_.names,
                                  .stand_by = options_.stand_by,
                                  .limits = options_.limits},
                                 options_.pages == 0 ? nullptr : &ledger_);
  ASSERT_TRUE(movable) << movable.error().to_string();
  movable_ = movable->get();
  ++ready_;
  while (auto here = (*movable)->serve(stop)) {
    ASSERT_EQ((*movable)->size(), options_.names.size());
    ++arrivals;
    serve(**movable, stop);
    if (stop.stop_requested()) break;
    ++left;
  }
  const std::lock_guard lock(held_mutex_);
  held_.clear();
}

void Server::serve(Movable& movable, std::stop_token stop) {
  while (true) {
    for (std::uint32_t i = 0; i < movable.size(); ++i) {
      Wait wait(stop);
      if (movable.size() > 1) wait = i == 0 ? Wait(1ms, stop) : Wait(0ms);
      auto message = movable.endpoint(i).receive(wait);
      if (message) {
        handle(i, std::move(*message));
        continue;
      }
      if (message.error().code == Errc::deadline_exceeded) continue;
      if (message.error().code == Errc::cancelled) return;
      EXPECT_EQ(message.error().code, Errc::moved);
      EXPECT_FALSE(movable.serving());
      return;
    }
  }
}

void Server::handle(std::uint32_t index, Message message) {
  Operation operation{};
  ASSERT_EQ(message.payload().size(), sizeof operation);
  std::memcpy(&operation, message.payload().data(), sizeof operation);
  const bool numbered = operation.kind == Operation::add || operation.kind == Operation::note;
  if (numbered) {
    if (options_.pages != 0) ledger_.execute(index, operation);
    ++executed;
  }
  if (message.kind() != Message::Kind::request) return;
  Endpoint& endpoint = movable_->endpoint(index);
  auto request = endpoint.as_request(std::move(message));
  ASSERT_TRUE(request);
  if (operation.kind == Operation::hold) {
    const std::lock_guard lock(held_mutex_);
    held_.emplace_back(index, std::move(*request));
    ++held;
  } else if (operation.kind == Operation::grant) {
    auto ref = endpoint.grant(ledger_.page(0), {Rights::read_write, {}});
    ASSERT_TRUE(ref);
    EXPECT_TRUE(endpoint.reply(std::move(*request), ref->to_bytes()));
  } else {
    EXPECT_TRUE(endpoint.reply(std::move(*request), bytes_of_value(operation.number)));
  }
}

void Server::release() {
  const std::lock_guard lock(held_mutex_);
  for (auto& [endpoint, request] : held_) {
    EXPECT_TRUE(movable_->endpoint(endpoint).reply(std::move(request), bytes_of("late")));
  }
  held_.clear();
}

// --- a client ----------------------------------------------------------------------------------

Client::Client(std::string run, std::uint32_t number, std::vector<std::string> names,
               std::optional<TransportKind> transport)
    : number_(number),
      names_(std::move(names)),
      thread_([this, run = std::move(run), transport](std::stop_token stop) {
        this->run(run, transport, stop);
      }) {}

std::uint64_t Client::stop() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
  EXPECT_EQ(error_, "");
  return rounds_.value();
}

void Client::run(const std::string& run, std::optional<TransportKind> transport,
                 std::stop_token stop) {
  const auto fails = [this](const auto& result) {
    if (!result) error_ = result.error().to_string();
    return !result;
  };
  auto process = attach(run, transport);
  if (fails(process)) return;
  auto me = (*process)->bind_anonymous("demo");
  if (fails(me)) return;
  std::vector<Remote> servers;
  for (const std::string& name : names_) {
    auto server = me->wait_bound(name, kLong);
    if (fails(server)) return;
    servers.push_back(*server);
  }
  for (std::uint64_t number = 1; !stop.stop_requested(); ++number) {
    for (const Remote& server : servers) {
      const Operation note{Operation::note, number_, number};
      if (fails(me->send(server, bytes_of_value(note), kLong))) return;
      const Operation add{Operation::add, number_, number};
      auto reply = me->call(server, bytes_of_value(add), kLong);
      if (fails(reply)) return;
      EXPECT_EQ(reply->payload().size(), sizeof number);
    }
    ++rounds_;
  }
  for (const Remote& server : servers) {
    if (fails(me->wait_received(server, kLong))) return;
  }
}

// --- the hand ----------------------------------------------------------------------------------

Hand::Hand(const std::string& run, std::optional<TransportKind> transport) {
  auto process = attach(run, transport);
  EXPECT_TRUE(process) << process.error().to_string();
  process_ = std::move(*process);
  auto endpoint = process_->bind_anonymous("demo");
  EXPECT_TRUE(endpoint) << endpoint.error().to_string();
  endpoint_ = std::move(*endpoint);
}

Hand::Pieces Hand::take(std::stop_token stop) {
  Pieces pieces;
  while (auto message = endpoint_->receive(stop)) pieces.emplace_back(message->text());
  return pieces;
}

Hand::Pieces Hand::take(MoveId move, Pieces pieces) {
  migrate::StreamReader reader(move);
  const auto feed = [&](Bytes piece) {
    auto fed = reader.feed(piece, [](const auto&, Bytes) { return Result<void>{}; });
    EXPECT_TRUE(fed) << fed.error().to_string();
    return fed.has_value();
  };
  for (const std::string& piece : pieces) feed(bytes_of(piece));
  while (!reader.complete()) {
    auto message = endpoint_->receive(kLong);
    EXPECT_TRUE(message) << message.error().to_string();
    if (!message || !feed(message->payload())) break;
    pieces.emplace_back(message->text());
  }
  return pieces;
}

void Hand::send(EndpointId dock, const Pieces& pieces, const std::function<bool()>& enough) {
  auto to = endpoint_->lookup(dock, kLong);
  ASSERT_TRUE(to) << to.error().to_string();
  for (const std::string& piece : pieces) {
    auto sent = endpoint_->send(*to, bytes_of(piece), kLong);
    ASSERT_TRUE(sent) << sent.error().to_string();
  }
  while (!enough()) {
    auto received = endpoint_->wait_received(*to, 5ms);
    // A dock that is gone by then has received what mattered.
    if (received || received.error().code != Errc::deadline_exceeded) break;
  }
}

// --- moves -------------------------------------------------------------------------------------

EndpointId MovableTest::dock(Server& target, MoveId move) {
  agent_.order(target.id(), move, Push::in);
  return dock_of(agent_.expect(target.id(), move, Report::docked));
}

void MovableTest::copy(Server& source, MoveId move, Epoch epoch, EndpointId dock) {
  agent_.order(source.id(), move, Push::out, epoch, dock);
}

MoveReport MovableTest::restore(Server& source, Server& target, MoveId move) {
  agent_.order(source.id(), move, Push::close);
  EXPECT_EQ(agent_.expect(target.id(), move, Report::docked).intent(), intent_of(move));
  auto restored = agent_.expect(target.id(), move, Report::restored);
  EXPECT_EQ(restored.intent(), intent_of(move));
  return restored;
}

MovableTest::Ends MovableTest::move(MoveId move, Server& source, Server& target, Epoch epoch,
                                    const std::vector<std::string>& names) {
  Ends ends;
  copy(source, move, epoch, dock(target, move));
  ends.converged = agent_.expect(source.id(), move, Report::converged);
  ends.restored = restore(source, target, move);
  agent_.commit(names, target.id(), epoch + 1, ends.restored);
  agent_.order(target.id(), move, Push::go, epoch + 1);
  ends.target = agent_.expect(target.id(), move, Report::over);
  agent_.order(source.id(), move, Push::gone, epoch + 1);
  ends.source = agent_.expect(source.id(), move, Report::over);
  return ends;
}

Hand::Pieces MovableTest::converge(Server& source, Hand& hand, MoveId move, Epoch epoch) {
  copy(source, move, epoch, hand.id());
  // What was sent counts as copied once it is taken: so the hand takes meanwhile.
  std::stop_source converged;
  std::jthread agent([&] {
    (void)agent_.expect(source.id(), move, Report::converged);
    converged.request_stop();
  });
  return hand.take(converged.get_token());
}

Hand::Pieces MovableTest::park(Server& source, Hand& hand, MoveId move, Epoch epoch) {
  auto pieces = converge(source, hand, move, epoch);
  agent_.order(source.id(), move, Push::close);
  return hand.take(move, std::move(pieces));
}

}  // namespace godwit::migrate_tests
