#include "player.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <sstream>
#include <utility>

namespace godwit::move_player {

namespace {

namespace wire = endpoints::proto;
using migrate::Push;
using migrate::Report;

constexpr int kRetryMs = 20;
constexpr const char* kAddress = "engine";

std::uint64_t random_number() {
  std::uint64_t number = 0;
  while (number == 0) {
    if (::getrandom(&number, sizeof number, 0) != sizeof number) number = 0;
  }
  return number;
}

std::string id_of(const wire::Place& place) {
  return std::to_string(place.dc()) + ":" + std::to_string(place.slot()) + "." +
         std::to_string(place.generation());
}

void tell(const std::string& line) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

Report report_of(const std::string& name) {
  for (int i = 0; i <= static_cast<int>(Report::cannot); ++i) {
    if (name == migrate::to_string(static_cast<Report>(i))) return static_cast<Report>(i);
  }
  return Report::unknown;
}

}  // namespace

Player::Player(Options options)
    : options_(std::move(options)), process_(random_number()), hold_(options_.hold) {}

Player::~Player() {
  if (fd_ >= 0) ::close(fd_);
}

int Player::run() {
  if (!connect_to_agent()) {
    tell("no agent");
    return 1;
  }
  attach(false);
  while (true) {
    std::array<pollfd, 2> ready = {pollfd{STDIN_FILENO, POLLIN, 0}, pollfd{fd_, POLLIN, 0}};
    // Without an agent it tries again and again, as AgentLink does.
    if (::poll(ready.data(), ready.size(), fd_ < 0 ? kRetryMs : -1) < 0) return 1;
    if (ready[0].revents != 0 && !read_commands()) return 0;
    if (fd_ < 0) {
      if (connect_to_agent()) attach(true);
    } else if (ready[1].revents != 0 && !read_agent()) {
      ::close(std::exchange(fd_, -1));
      reader_ = {};
      tell("agent lost");
    }
  }
}

bool Player::connect_to_agent() {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = options_.run + "/agent.sock";
  std::memcpy(address.sun_path, path.data(), path.size());
  fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return true;
  ::close(std::exchange(fd_, -1));
  return false;
}

void Player::attach(bool again) {
  Request hello;
  hello.mutable_hello()->set_version_min(agent_protocol::kVersionMin);
  hello.mutable_hello()->set_version_max(agent_protocol::kVersionMax);
  hello.mutable_hello()->set_again(again);
  hello.mutable_hello()->mutable_process()->set_process(process_);
  hello.mutable_hello()->mutable_process()->set_program("player");
  send(std::move(hello));
  if (again) {
    Request claim;
    claim.mutable_claim()->set_last(true);
    for (const auto& [id, place] : held_) *claim.mutable_claim()->add_endpoints() = place;
    send(std::move(claim));
    for (const auto& [move, part] : parts_) {
      Request request;
      *request.mutable_move_report() = part.report;
      send(std::move(request));
    }
    tell("attached again");
  } else {
    tell("attached");
  }
  if (!options_.program.empty() && (!again || standing_by_)) stand_by();
}

void Player::stand_by() {
  standing_by_ = true;
  Request request;
  request.mutable_stand_by()->set_program(options_.program);
  request.mutable_stand_by()->set_move(options_.move);
  send(std::move(request));
}

void Player::send(Request request) {
  request.set_number(next_number_++);
  std::string out;
  agent_protocol::append(request, out);
  // A broken connection shows when it is read.
  for (std::size_t sent = 0; fd_ >= 0 && sent < out.size();) {
    const ssize_t written = ::send(fd_, out.data() + sent, out.size() - sent, MSG_NOSIGNAL);
    if (written <= 0) return;
    sent += static_cast<std::size_t>(written);
  }
}

bool Player::read_agent() {
  constexpr std::size_t kSize = 65536;
  const ssize_t got = ::recv(fd_, reader_.prepare(kSize), kSize, MSG_DONTWAIT);
  if (got <= 0) return false;
  reader_.commit(static_cast<std::size_t>(got));
  while (true) {
    const auto next = reader_.next();
    if (!next) return false;
    if (!next->whole) return true;
    Response response;
    response.ParseFromArray(next->message.data(), static_cast<int>(next->message.size()));
    take(response);
  }
}

bool Player::read_commands() {
  std::array<char, 4096> text{};
  const ssize_t got = ::read(STDIN_FILENO, text.data(), text.size());
  if (got <= 0) return false;
  commands_.append(text.data(), static_cast<std::size_t>(got));
  for (std::size_t end = 0; (end = commands_.find('\n')) != std::string::npos;) {
    const std::string line = commands_.substr(0, end);
    commands_.erase(0, end + 1);
    command(line);
  }
  return true;
}

// bind DC NAME [PROGRAM] | unbind ID | stand by | say REPORT [REASON [TEXT]] | detach
void Player::command(const std::string& line) {
  std::istringstream words(line);
  std::string verb, first, second, third;
  words >> verb >> first;
  if (verb == "bind") {
    words >> second >> third;
    bind(first, second, third);
  } else if (verb == "stand") {
    stand_by();
  } else if (verb == "unbind") {
    Request request;
    const auto held = held_.find(first);
    if (held == held_.end()) return tell("failed it is not held");
    request.mutable_unbind()->set_dc(held->second.dc());
    request.mutable_unbind()->set_slot(held->second.slot());
    request.mutable_unbind()->set_generation(held->second.generation());
    send(std::move(request));
  } else if (verb == "detach") {
    Request request;
    request.mutable_detach();
    send(std::move(request));
  } else if (verb == "say" && !parts_.empty()) {
    auto& [move, part] = *parts_.rbegin();
    std::uint32_t reason = 0;
    words >> reason;
    part.report.set_reason(reason);
    std::string text;
    std::getline(words >> std::ws, text);
    part.report.set_text(text);
    say(move, report_of(first));
  }
}

void Player::bind(const std::string& dc, const std::string& name, const std::string& program) {
  Request request;
  auto& bind = *request.mutable_bind();
  bind.set_nonce(random_number());
  bind.add_engine_addresses(kAddress);
  auto& item = *bind.add_items();
  item.set_dc(dc);
  item.set_name(name);
  item.set_program(program);
  send(std::move(request));
}

void Player::take(const Response& response) {
  if (response.has_failure()) {
    tell("failed " + response.failure().message());
  } else if (response.has_bind()) {
    const auto docking = docking_.extract(response.number());
    if (docking.empty()) return take_bound(response.bind());
    const auto& result = response.bind().results(0);
    if (!result.has_place()) return tell("failed " + result.failure().message());
    held_[id_of(result.place())] = result.place();
    held_[id_of(result.place())].set_engine_address(kAddress);
    auto& report = parts_[docking.mapped()].report;
    report.mutable_dock()->set_dc(result.place().dc());
    report.mutable_dock()->set_slot(result.place().slot());
    report.mutable_dock()->set_generation(result.place().generation());
    answer(docking.mapped(), Report::docked);
  } else if (response.has_move_order()) {
    take_order(response.move_order());
  } else if (response.has_changed()) {
    const auto& place = response.changed().place();
    tell("changed " + place.name() + " state " + std::to_string(place.state()));
  } else if (response.has_done() && standing_by_) {
    // The answers of reports look the same, but none is asked for before.
    if (parts_.empty()) tell("stands by");
  }
}

void Player::take_bound(const wire::BindReply& reply) {
  for (const auto& result : reply.results()) {
    if (result.has_place()) {
      held_[id_of(result.place())] = result.place();
      held_[id_of(result.place())].set_engine_address(kAddress);
      tell("bound " + id_of(result.place()));
    } else {
      tell("failed " + result.failure().message());
    }
  }
}

void Player::take_order(const wire::MoveOrder& order) {
  const auto push = static_cast<Push>(order.push());
  tell(std::string("order ") + migrate::to_string(push) + " epoch " +
       std::to_string(order.epoch()) + " members " + std::to_string(order.members_size()));
  Part& part = parts_[order.move()];
  part.report.set_move(order.move());
  if (order.members_size() > 0) part.members.assign(order.members().begin(), order.members().end());
  switch (push) {
    case Push::out: {
      // Twice: it copies, and then little is left.
      auto& progress = *part.report.mutable_progress();
      progress.set_rounds(2);
      progress.set_bytes_sent(1 << 20);
      progress.set_bytes_left(1 << 10);
      progress.set_bytes_per_second(5 << 20);
      say(order.move(), Report::copying);
      return answer(order.move(), Report::converged);
    }
    case Push::close:
      say(order.move(), Report::closing);
      part.report.mutable_times()->set_copied_us(5000);
      part.report.mutable_times()->set_closed_us(40);
      part.report.mutable_times()->set_transferred_us(300);
      return answer(order.move(), Report::parked);
    case Push::gone:
      for (const auto& member : part.members) held_.erase(id_of(member));
      return answer(order.move(), Report::over);
    case Push::resume:
    case Push::drop:
      return answer(order.move(), Report::over);
    case Push::in: {
      standing_by_ = false;
      say(order.move(), Report::binding);
      if (order.members_size() == 0) return;
      const std::string& name = order.members(0).name();
      docking_[next_number_] = order.move();
      return bind(name.substr(0, name.find('/')), "", "");
    }
    case Push::go:
      if (hold_.erase("go") != 0) return tell("holds go");
      for (auto member : part.members) {
        member.set_process(process_);
        member.set_engine_address(kAddress);
        held_[id_of(member)] = member;
      }
      part.report.mutable_times()->set_target_blackout_us(1200);
      return answer(order.move(), Report::over);
  }
}

void Player::answer(std::uint64_t move, Report report) {
  if (hold_.contains(migrate::to_string(report))) {
    return tell(std::string("holds ") + migrate::to_string(report));
  }
  say(move, report);
}

void Player::say(std::uint64_t move, Report report) {
  Part& part = parts_[move];
  part.report.set_report(static_cast<std::uint32_t>(report));
  if (report == Report::restored) {
    part.report.clear_engine_addresses();
    for (std::size_t i = 0; i < part.members.size(); ++i) {
      part.report.add_engine_addresses("engine of the target");
    }
    part.report.mutable_times()->set_restored_us(250);
  }
  Request request;
  *request.mutable_move_report() = part.report;
  send(std::move(request));
  tell(std::string("says ") + migrate::to_string(report));
  // The source's state is none of the agent's business: it is there as soon as the dock is.
  if (report == Report::docked) return answer(move, Report::restored);
  if (report == Report::over) parts_.erase(move);
}

}  // namespace godwit::move_player
