// ScriptedAgent: what processes ask, and the directory that it answers from.
#include <gtest/gtest.h>

#include "migrate/scripted_agent.h"

namespace godwit::migrate_tests {

namespace {

void put_place(const EndpointPlace& from, endpoints::proto::Place& to) {
  to.set_dc(from.id.dc);
  to.set_slot(from.id.slot);
  to.set_generation(from.id.generation);
  to.set_name(from.name);
  to.set_lineage(from.lineage);
  to.set_epoch(from.epoch);
  to.set_state(static_cast<std::uint32_t>(from.state));
  to.set_node(from.node);
  to.set_process(from.process);
  to.set_engine_address(from.engine_address);
}

EndpointPlace place_from(const endpoints::proto::Place& from) {
  EndpointPlace place;
  place.id = {from.dc(), from.slot(), from.generation()};
  place.name = from.name();
  place.lineage = from.lineage();
  place.epoch = from.epoch();
  place.state = static_cast<EndpointState>(from.state());
  place.node = from.node();
  place.process = from.process();
  place.engine_address = from.engine_address();
  return place;
}

}  // namespace

// --- what processes ask ------------------------------------------------------------------------

void ScriptedAgent::take(Session& session, const Request& request) {
  const Response done = Conversation::done_with(request);
  switch (request.body_case()) {
    case Request::kHello:
      session.process = request.hello().process().process();
      session.attached = true;
      return put(session, Conversation::welcome_to(request));
    case Request::kClaim:
      said_[session.process].claims.clear();
      for (const auto& place : request.claim().endpoints()) {
        said_[session.process].claims.push_back(place_from(place));
      }
      return put(session, done);
    case Request::kDetach: {
      std::vector<EndpointId> owned;
      for (const auto& [id, place] : places_) {
        if (place.process == session.process && !place.gone()) owned.push_back(id);
      }
      for (const EndpointId& id : owned) unbind(session.process, id);
      return put(session, done);
    }
    case Request::kBind:
      return bind(session, request);
    case Request::kUnbind: {
      const auto& id = request.unbind();
      unbind(session.process, {id.dc(), id.slot(), id.generation()});
      return put(session, done);
    }
    case Request::kResolve:
      return answer(session, request, find(request.resolve().name()));
    case Request::kLocate: {
      const auto& id = request.locate();
      return answer(session, request, find(EndpointId{id.dc(), id.slot(), id.generation()}));
    }
    case Request::kWaitBound:
      if (const EndpointPlace* place = find(request.wait_bound().name())) {
        return answer(session, request, place);
      }
      waits_.push_back({&session, request.number(), request.wait_bound().name()});
      return;
    case Request::kFindDc: {
      Response response;
      response.set_number(request.number());
      Conversation::grant_demo(response);
      response.mutable_found_dc()->set_id(1);
      return put(session, response);
    }
    case Request::kStandBy:
      said_[session.process].stand_bys.push_back(request.stand_by());
      return put(session, done);
    case Request::kMoveReport: {
      auto& reports = said_[session.process].reports;
      const MoveReport& report = request.move_report();
      const bool progress =
          static_cast<Report>(report.report()) == Report::copying && !reports.empty() &&
          reports.size() > said_[session.process].reports_taken &&
          reports.back().move() == report.move() && reports.back().report() == report.report();
      if (progress) {
        reports.back() = report;
      } else {
        reports.push_back(report);
      }
      return put(session, done);
    }
    default:
      return put(session, done);
  }
}

void ScriptedAgent::bind(Session& session, const Request& request) {
  Response& response = binds_[request.bind().nonce()];
  const bool again = response.has_bind();
  response.set_number(request.number());
  if (again) return put(session, response);
  Conversation::grant_demo(response);
  auto& reply = *response.mutable_bind();
  for (const auto& item : request.bind().items()) {
    auto& result = *reply.add_results();
    const std::string full = item.name().empty() ? "" : item.dc() + "/" + item.name();
    if (!full.empty() && find(full) != nullptr) {
      result.mutable_failure()->set_code(static_cast<std::uint32_t>(Errc::name_taken));
      continue;
    }
    EndpointPlace place;
    place.id = {1, next_slot_++, 1};
    place.name = full;
    place.lineage = 100 + place.id.slot;
    place.epoch = 1;
    place.node = "fake";
    place.process = session.process;
    place.engine_address = request.bind().engine_addresses(static_cast<int>(item.engine_address()));
    places_[place.id] = place;
    put_place(place, *result.mutable_place());
    result.mutable_place()->clear_engine_address();
    if (full.empty()) continue;
    std::erase_if(waits_, [&](const Wait& wait) {
      if (wait.name != full) return false;
      Response found;
      found.set_number(wait.number);
      put_place(place, *found.mutable_place());
      put(*wait.session, found);
      return true;
    });
  }
  put(session, response);
}

void ScriptedAgent::answer(Session& session, const Request& request, const EndpointPlace* place) {
  Response response;
  response.set_number(request.number());
  if (place == nullptr) {
    response.mutable_failure()->set_code(static_cast<std::uint32_t>(Errc::not_found));
  } else {
    put_place(*place, *response.mutable_place());
  }
  put(session, response);
}

// --- the directory -----------------------------------------------------------------------------

EndpointPlace* ScriptedAgent::find(const std::string& name) {
  for (auto& [id, place] : places_) {
    if (place.name == name && !place.gone()) return &place;
  }
  return nullptr;
}

EndpointPlace* ScriptedAgent::find(const EndpointId& id) {
  const auto found = places_.find(id);
  return found == places_.end() ? nullptr : &found->second;
}

EndpointPlace ScriptedAgent::place(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const EndpointPlace* found = find(name);
  return found == nullptr ? EndpointPlace{} : *found;
}

void ScriptedAgent::changed(const EndpointPlace& place) {
  Response response;
  put_place(place, *response.mutable_changed()->mutable_place());
  for (Session& session : sessions_) {
    if (session.attached) put(session, response);
  }
}

void ScriptedAgent::unbind(ProcessId by, const EndpointId& id) {
  EndpointPlace* place = find(id);
  if (place == nullptr || place->gone()) return;
  if (place->process != by) {
    ++foreign_unbinds_;
    return;
  }
  place->state = EndpointState::unbound;
  changed(*place);
}

void ScriptedAgent::commit(const std::vector<std::string>& names, ProcessId owner, Epoch epoch,
                           const MoveReport& restored) {
  const std::lock_guard lock(mutex_);
  ASSERT_EQ(restored.engine_addresses_size(), static_cast<int>(names.size()));
  for (std::size_t i = 0; i < names.size(); ++i) {
    EndpointPlace* place = find(names[i]);
    ASSERT_NE(place, nullptr) << names[i];
    place->process = owner;
    place->epoch = epoch;
    place->engine_address = restored.engine_addresses(static_cast<int>(i));
    changed(*place);
  }
}

void ScriptedAgent::raise(const std::vector<std::string>& names, Epoch epoch) {
  const std::lock_guard lock(mutex_);
  for (const std::string& name : names) {
    EndpointPlace* place = find(name);
    ASSERT_NE(place, nullptr) << name;
    place->epoch = epoch;
    changed(*place);
  }
}

void ScriptedAgent::bury(ProcessId process) {
  const std::lock_guard lock(mutex_);
  for (auto& [id, place] : places_) {
    if (place.process != process || place.gone()) continue;
    place.state = EndpointState::dead;
    changed(place);
  }
}

std::size_t ScriptedAgent::foreign_unbinds() {
  const std::lock_guard lock(mutex_);
  return foreign_unbinds_;
}

bool ScriptedAgent::gone(const EndpointId& id) {
  const std::lock_guard lock(mutex_);
  const EndpointPlace* place = find(id);
  return place == nullptr || place->gone();
}

bool ScriptedAgent::wait_unbound(const EndpointId& id) {
  std::unique_lock lock(mutex_);
  return wait(lock, [&] {
    const EndpointPlace* place = find(id);
    return place != nullptr && place->state == EndpointState::unbound;
  });
}

std::vector<EndpointPlace> ScriptedAgent::claims(ProcessId process) {
  const std::lock_guard lock(mutex_);
  return said_[process].claims;
}

}  // namespace godwit::migrate_tests
