#include "cli/perf_server.h"

#include <new>
#include <utility>

#include "cli/checksum.h"

namespace godwit::node::cli {

Result<void> PerfServer::run(const std::stop_token& stop) {
  const Wait until_stopped(stop);
  while (true) {
    auto message = endpoint_.receive(until_stopped);
    if (!message) {
      if (message.error().code == Errc::cancelled) break;
      return tl::make_unexpected(message.error());
    }
    if (message->kind() == Message::Kind::request) {
      auto request = endpoint_.as_request(std::move(*message));
      if (!request) return tl::make_unexpected(request.error());
      if (auto answered = on_request(std::move(*request)); !answered) return answered;
    } else if (message->kind() == Message::Kind::message) {
      on_message(*message);
    }
  }
  for (auto& [client, session] : sessions_) close_copy(session);
  return {};
}

PerfServer::Session* PerfServer::session_of(EndpointId client) {
  if (last_session_ != nullptr && client == last_client_) return last_session_;
  auto [entry, fresh] = sessions_.try_emplace(client);
  if (fresh) {
    auto remote = endpoint_.lookup(client, std::chrono::seconds(1));
    if (!remote) {
      sessions_.erase(entry);
      return nullptr;  // gone already
    }
    entry->second.remote = *remote;
    ++totals_.clients;
  }
  last_client_ = client;
  last_session_ = &entry->second;
  return last_session_;
}

void PerfServer::on_message(const Message& message) {
  ++totals_.messages;
  Session* session = session_of(message.source());
  if (session == nullptr) return;
  const Bytes payload = message.payload();
  if (!session->streaming) {
    // A client whose window is full does not read what it asked for: its loss.
    (void)endpoint_.try_send(session->remote, payload);
    return;
  }
  ++session->messages;
  session->bytes += payload.size();
  if (payload.size() >= perf::kNumberSize) {
    std::uint64_t number = 0;
    std::memcpy(&number, payload.data(), sizeof number);
    if (number != session->next_number) ++session->out_of_order;
    session->next_number = number + 1;
  }
}

Result<void> PerfServer::on_request(Request request) {
  ++totals_.requests;
  const Bytes payload = request.payload();
  const auto wanted = perf::decode_control(payload);
  if (!wanted) return endpoint_.reply(std::move(request), payload);
  const EndpointId client = request.source();
  perf::Answer answer;
  if (Session* session = session_of(client); session != nullptr)
    answer = control(*session, client, *wanted);
  return endpoint_.reply(std::move(request), perf::bytes_of_struct(answer));
}

perf::Answer PerfServer::control(Session& session, EndpointId client,
                                 const perf::Control& control) {
  perf::Answer answer;
  switch (control.operation) {
    case perf::Operation::begin_stream:
      session.streaming = true;
      session.messages = session.bytes = session.next_number = session.out_of_order = 0;
      return answer;
    case perf::Operation::end_stream:
      session.streaming = false;
      answer.messages = session.messages;
      answer.bytes = session.bytes;
      answer.out_of_order = session.out_of_order;
      return answer;
    case perf::Operation::open_copy:
      if (auto grant = open_copy(session, client, control.size)) {
        answer.grant = grant->to_bytes();
      } else {
        answer.status = static_cast<std::uint32_t>(grant.error().code);
      }
      return answer;
    case perf::Operation::checksum:
      answer.checksum = checksum(session.memory);
      return answer;
    case perf::Operation::close_copy:
      close_copy(session);
      return answer;
  }
  answer.status = static_cast<std::uint32_t>(Errc::not_supported);
  return answer;
}

Result<GrantRef> PerfServer::open_copy(Session& session, EndpointId client, std::uint64_t size) {
  forget_the_dead();
  close_copy(session);
  if (size == 0) return fail(Errc::invalid_argument);
  if (size > perf::kMaxCopy) return fail(Errc::too_large);
  try {
    session.memory.resize(size);
  } catch (const std::bad_alloc&) {
    return fail(Errc::no_memory);
  }
  fill_pattern(session.memory, size);
  auto grant = endpoint_.grant(std::span<std::byte>(session.memory),
                               GrantOptions{.rights = Rights::read_write, .peer = client});
  if (grant) session.grant = *grant;
  return grant;
}

void PerfServer::close_copy(Session& session) {
  if (session.grant) {
    // Copies that do not end in time keep the memory.
    if (!endpoint_.revoke(*session.grant, std::chrono::seconds(5))) return;
    session.grant.reset();
  }
  session.memory = {};
}

// A client that was killed does not say goodbye, and its memory may be large.
void PerfServer::forget_the_dead() {
  for (auto entry = sessions_.begin(); entry != sessions_.end();) {
    Session& session = entry->second;
    if (&session == last_session_ || endpoint_.lookup(entry->first, std::chrono::seconds(1))) {
      ++entry;
      continue;
    }
    close_copy(session);
    entry = session.grant ? std::next(entry) : sessions_.erase(entry);
  }
}

}  // namespace godwit::node::cli
