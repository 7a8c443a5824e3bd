#include "fabric/remote/session.h"

#include <poll.h>

#include <algorithm>
#include <csignal>
#include <filesystem>

#include "fabric/own_resources.h"

namespace godwit::fabric::testing {

namespace {

tl::unexpected<Error> not_understood(const std::string& what) {
  return fail(Errc::invalid_argument, what);
}

std::string join(std::initializer_list<std::uint64_t> numbers) {
  std::string text;
  for (const std::uint64_t each : numbers) text += (text.empty() ? "" : " ") + std::to_string(each);
  return text;
}

}  // namespace

struct Session::Command {
  std::string_view name;
  std::size_t least, most;  // words behind the name
  bool wakes;               // the engine is used
  Result<std::string> (Session::*run)(const Words&);
};

const std::vector<Session::Command>& Session::commands() {
  static const std::vector<Command> commands = {
      {"engine", 8, 8, true, &Session::make_engine},
      {"dial", 2, 2, true, &Session::dial},
      {"links", 0, 0, false, &Session::links},
      {"peer", 1, 1, false, &Session::peer},
      {"closure", 1, 1, false, &Session::closure},
      {"send", 4, 64, true, &Session::send},
      {"sent", 1, 1, false, &Session::sent},
      {"received", 1, 1, false, &Session::received},
      {"echo", 1, 1, false, &Session::echo},
      {"place", 1, 1, false, &Session::place},
      {"close", 1, 1, true, &Session::close},
      {"still", 0, 0, true, &Session::still},
      {"go", 0, 0, true, &Session::go},
      {"asleep", 0, 0, false, &Session::asleep},
      {"memory", 0, 0, false, &Session::memory},
      {"descriptors", 0, 0, false, &Session::descriptors},
      {"end", 0, 0, true, &Session::end},
      {"die", 0, 0, false, &Session::die},
  };
  return commands;
}

void Session::run() {
  while (!control_.ended()) {
    step();
    wait();
    while (const auto line = control_.take()) {
      const auto answered = answer(words_of(*line));
      std::string text = answered ? "ok " + *answered : "failed " + answered.error().to_string();
      std::replace(text.begin(), text.end(), '\n', ' ');
      control_.send(std::move(text));
    }
  }
  end({});
}

void Session::step() {
  if (!works() || armed_) return;
  if (engine_->step() + post() != 0 || short_of_memory_) return;
  armed_ = engine_->transport().arm();
}

unsigned Session::post() {
  unsigned posted = 0;
  short_of_memory_ = false;
  for (Link& link : links_) {
    link.blocked = false;
    while (link.connection != nullptr && !link.outgoing.empty()) {
      Outgoing& front = link.outgoing.front();
      const std::uint32_t before = front.posted();
      const Outgoing::Stop stop = front.post(*engine_, *link.connection, Outgoing::kBatch);
      posted += front.posted() - before;
      link.posted += front.posted() - before;
      link.blocked = stop == Outgoing::Stop::no_room;
      short_of_memory_ = short_of_memory_ || stop == Outgoing::Stop::no_memory;
      if (stop != Outgoing::Stop::done) break;
      link.outgoing.pop_front();
    }
  }
  return posted;
}

void Session::wait() {
  using Clock = std::chrono::steady_clock;
  Clock::time_point deadline = Clock::time_point::max();
  if (works()) deadline = armed_ ? engine_->transport().next_deadline() : Clock::time_point::min();
  pollfd ready[2] = {{control_.fd(), POLLIN, 0},
                     {armed_ ? engine_->poller().epoll_fd() : -1, POLLIN, 0}};
  timespec limit{};
  if (deadline > Clock::now() && deadline != Clock::time_point::max()) {
    const auto left = std::chrono::nanoseconds(deadline - Clock::now()).count();
    limit = {static_cast<time_t>(left / 1'000'000'000), static_cast<long>(left % 1'000'000'000)};
  }
  ppoll(ready, 2, deadline == Clock::time_point::max() ? nullptr : &limit, nullptr);
  if (armed_ && (ready[1].revents != 0 || Clock::now() >= deadline)) {
    ++wakes_;
    wake();
  }
}

void Session::wake() {
  if (armed_) engine_->transport().disarm();
  armed_ = false;
}

void Session::follow(TestEngine& engine) {
  engine.on_up = [this](Connection& connection) {
    connection.user = &links_.emplace_back();
    links_.back().connection = &connection;
  };
  engine.on_down = [](Connection& connection) {
    if (connection.user != nullptr) static_cast<Link*>(connection.user)->connection = nullptr;
  };
  engine.on_data = [](Connection& connection, const FrameHeader& header,
                      std::span<const std::byte> payload, Buffer) {
    Link& link = *static_cast<Link*>(connection.user);
    link.received.add(header, payload);
    if (link.echo) link.outgoing.push_back({1, header.upper[0], {header.length}});
  };
}

// --- commands ---------------------------------------------------------------------------------

Result<std::string> Session::answer(const Words& words) {
  for (const Command& command : commands()) {
    if (command.name != words[0]) continue;
    if (words.size() - 1 < command.least || words.size() - 1 > command.most) {
      return not_understood("wrong number of words");
    }
    if (command.wakes) wake();
    return (this->*command.run)({words.begin() + 1, words.end()});
  }
  return not_understood("no such command: " + words[0]);
}

Result<Session::Link*> Session::link(const std::string& word) {
  const auto number = number_of<std::size_t>(word);
  if (!number || *number >= links_.size()) return not_understood("no such link: " + word);
  return &links_[*number];
}

Result<std::string> Session::make_engine(const Words& words) {
  if (engine_ != nullptr) return not_understood("there is an engine");
  const auto factories = transport_factories();
  const auto factory =
      std::find_if(factories.begin(), factories.end(),
                   [&](const TransportFactory& each) { return each.name == words[0]; });
  if (factory == factories.end()) return fail(Errc::not_supported, "no transport " + words[0]);
  const auto key = number_of<std::uint8_t>(words[2]);
  const auto dc = number_of<std::uint32_t>(words[3]);
  const auto timeout = number_of<std::uint32_t>(words[4]);
  const auto version_min = number_of<std::uint32_t>(words[5]);
  const auto version_max = number_of<std::uint32_t>(words[6]);
  const auto max_payload = number_of<std::uint32_t>(words[7]);
  if (!key || !dc || !timeout || !version_min || !version_max || !max_payload) {
    return not_understood("not a number");
  }
  EngineSetup setup{.node = words[1],
                    .dc = *dc,
                    .key = key_of(*key),
                    .handshake_timeout = std::chrono::milliseconds(*timeout),
                    .listen_host = control_.own_host()};
  Handshake::Offer offer;
  if (*version_min != offer.version_min || *version_max != offer.version_max ||
      *max_payload != offer.max_payload) {
    offer.version_min = *version_min;
    offer.version_max = *version_max;
    offer.max_payload = *max_payload;
    setup.offer = offer;
  }
  TransportFactory chosen = *factory;
  auto engine = std::make_unique<TestEngine>(chosen, setup);
  if (!engine->has_transport()) return fail(Errc::not_supported, "it cannot be given this offer");
  engine_ = std::move(engine);
  follow(*engine_);
  return to_hex(engine_->address().serialize());
}

Result<std::string> Session::dial(const Words& words) {
  const auto blob = from_hex(words[0]);
  const auto dc = number_of<std::uint32_t>(words[1]);
  if (engine_ == nullptr || !blob || !dc) return not_understood("no engine, or not an address");
  const auto address = EngineAddress::parse(*blob);
  if (!address) return tl::make_unexpected(address.error());
  const auto dialed = engine_->transport().connect(*address, *dc);
  if (!dialed) return tl::make_unexpected(dialed.error());
  return "";
}

Result<std::string> Session::links(const Words&) {
  return join({links_.size(), engine_ != nullptr ? engine_->closed.size() : 0});
}

Result<std::string> Session::peer(const Words& words) {
  const auto found = link(words[0]);
  if (!found) return tl::make_unexpected(found.error());
  if ((*found)->connection == nullptr) return fail(Errc::closed, "it is closed");
  const Connection& connection = *(*found)->connection;
  const PeerInfo& peer = connection.peer();
  return std::string(to_string(connection.kind())) + " " + peer.engine.to_string() + " " +
         peer.node + " " +
         join({peer.dc, peer.version, peer.features, peer.max_payload, peer.dialed ? 1u : 0u});
}

Result<std::string> Session::closure(const Words& words) {
  const auto number = number_of<std::size_t>(words[0]);
  if (engine_ == nullptr || !number || *number >= engine_->closed.size()) {
    return not_understood("no such closure");
  }
  const Error& reason = engine_->closed[*number].reason;
  return std::string(to_string(reason.code)) + " " + reason.message;
}

Result<std::string> Session::send(const Words& words) {
  const auto found = link(words[0]);
  if (!found) return tl::make_unexpected(found.error());
  const auto count = number_of<std::uint32_t>(words[1]);
  const auto tag = number_of<std::uint32_t>(words[2]);
  std::vector<std::uint32_t> sizes;
  for (std::size_t i = 3; i < words.size(); ++i) {
    const auto size = number_of<std::uint32_t>(words[i]);
    if (!size || *size > kMaxPayload) return not_understood("not a size: " + words[i]);
    sizes.push_back(*size);
  }
  if (!count || !tag) return not_understood("not a number");
  (*found)->outgoing.push_back({*count, *tag, std::move(sizes)});
  return "";
}

Result<std::string> Session::sent(const Words& words) {
  const auto found = link(words[0]);
  if (!found) return tl::make_unexpected(found.error());
  return join({(*found)->posted, (*found)->blocked ? 1u : 0u});
}

Result<std::string> Session::received(const Words& words) {
  const auto found = link(words[0]);
  if (!found) return tl::make_unexpected(found.error());
  const Series& series = (*found)->received;
  return join({series.frames, series.bytes, series.hash, series.wrong, series.dropped});
}

Result<std::string> Session::echo(const Words& words) {
  const auto found = link(words[0]);
  if (!found) return tl::make_unexpected(found.error());
  (*found)->echo = true;
  return "";
}

Result<std::string> Session::place(const Words& words) {
  if (engine_ == nullptr || (words[0] != "none" && words[0] != "arena")) {
    return not_understood("no engine, or no such place");
  }
  engine_->on_place = nullptr;
  if (words[0] == "none") {
    engine_->on_place = [](Connection&, const FrameHeader&) { return Buffer(); };
  }
  return "";
}

Result<std::string> Session::close(const Words& words) {
  const auto found = link(words[0]);
  if (!found) return tl::make_unexpected(found.error());
  if ((*found)->connection == nullptr) return fail(Errc::closed, "it is closed");
  (*found)->connection->close({Errc::closed, "the test says so", {}});
  return "";
}

Result<std::string> Session::still(const Words&) {
  still_ = true;
  return "";
}

Result<std::string> Session::go(const Words&) {
  still_ = false;
  return "";
}

Result<std::string> Session::asleep(const Words&) {
  const bool deadline = armed_ && engine_->transport().next_deadline() !=
                                      std::chrono::steady_clock::time_point::max();
  return join({armed_ ? 1u : 0u, deadline ? 1u : 0u, wakes_});
}

Result<std::string> Session::memory(const Words&) {
  if (engine_ == nullptr) return not_understood("no engine");
  return join({engine_->arena().in_use(), engine_->frames().outstanding()});
}

Result<std::string> Session::descriptors(const Words&) {
  return join({open_descriptors()});
}

Result<std::string> Session::end(const Words&) {
  for (Link& link : links_) link.outgoing.clear();  // their frames are of the engine's pool
  engine_.reset();
  links_.clear();
  return "";
}

Result<std::string> Session::die(const Words&) {
  if (engine_ != nullptr) std::filesystem::remove_all(engine_->folder());  // nobody else would
  std::raise(SIGKILL);
  return "";
}

}  // namespace godwit::fabric::testing
