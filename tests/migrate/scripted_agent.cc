#include "migrate/scripted_agent.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace godwit::migrate_tests {

namespace {

/// No test has a move of this number: every process answers its orders in every state.
constexpr MoveId kNoMove = 0xdead;

}  // namespace

std::string described(const MoveReport& report) {
  std::string text = std::to_string(report.move()) + ": " +
                     migrate::to_string(static_cast<Report>(report.report()));
  if (report.reason() != 0) {
    text += std::string(" (") + migrate::to_string(static_cast<Reason>(report.reason())) + ")";
  }
  if (!report.text().empty()) text += ": " + report.text();
  return text;
}

ScriptedAgent::ScriptedAgent(std::string run) : run_(std::move(run)) {
  come_up();
}

ScriptedAgent::~ScriptedAgent() {
  go_down();
}

void ScriptedAgent::come_up() {
  listener_.emplace(run_);
  acceptor_ = std::jthread([this] { accept(); });
}

void ScriptedAgent::go_down() {
  if (!listener_) return;
  listener_->shut();
  acceptor_.join();
  listener_.reset();
  std::list<Session> ended;
  {
    const std::lock_guard lock(mutex_);
    waits_.clear();
    ended.swap(sessions_);
    for (Session& session : ended) session.conversation.hang_up();
  }
  // Its threads end without looking for their sessions in the list.
  for (Session& session : ended) session.thread.join();
}

void ScriptedAgent::accept() {
  while (auto conversation = listener_->accept_or_end()) {
    const std::lock_guard lock(mutex_);
    Session& session = sessions_.emplace_back(std::move(*conversation));
    session.thread = std::jthread([this, &session] { serve(session); });
  }
}

void ScriptedAgent::serve(Session& session) {
  while (const auto request = session.conversation.receive(std::chrono::milliseconds(-1))) {
    const std::lock_guard lock(mutex_);
    take(session, *request);
    something_.notify_all();
  }
  const std::lock_guard lock(mutex_);
  session.attached = false;
}

void ScriptedAgent::put(Session& session, const Response& response) {
  // One that is gone hears no more.
  (void)session.conversation.try_send(response);
}

// --- orders and reports ------------------------------------------------------------------------

ScriptedAgent::Session* ScriptedAgent::session_of(ProcessId process) {
  for (Session& session : sessions_) {
    if (session.attached && session.process == process) return &session;
  }
  return nullptr;
}

bool ScriptedAgent::wait_attached(ProcessId process) {
  std::unique_lock lock(mutex_);
  return wait(lock, [&] { return session_of(process) != nullptr; });
}

ProcessId ScriptedAgent::next_newcomer(const std::vector<ProcessId>& known) {
  std::unique_lock lock(mutex_);
  ProcessId newcomer = 0;
  const bool came = wait(lock, [&] {
    for (const Session& session : sessions_) {
      const bool new_here = std::find(known.begin(), known.end(), session.process) == known.end();
      if (session.attached && new_here) newcomer = session.process;
    }
    return newcomer != 0;
  });
  EXPECT_TRUE(came) << "no other process attaches";
  return newcomer;
}

std::string intent_of(MoveId move) {
  return "the intent of move " + std::to_string(move);
}

void ScriptedAgent::order(ProcessId to, MoveId move, Push push, Epoch epoch,
                          const std::optional<EndpointId>& dock) {
  Response response;
  auto& order = *response.mutable_move_order();
  order.set_move(move);
  order.set_push(static_cast<std::uint32_t>(push));
  order.set_epoch(epoch);
  if (push == Push::close) order.set_intent(intent_of(move));
  if (dock) {
    order.mutable_dock()->set_dc(dock->dc);
    order.mutable_dock()->set_slot(dock->slot);
    order.mutable_dock()->set_generation(dock->generation);
  }
  const std::lock_guard lock(mutex_);
  Session* session = session_of(to);
  ASSERT_NE(session, nullptr) << "the process is not attached";
  put(*session, response);
}

std::optional<MoveReport> ScriptedAgent::next_report(ProcessId from) {
  std::unique_lock lock(mutex_);
  Said& said = said_[from];
  if (!wait(lock, [&] { return said.reports.size() > said.reports_taken; })) return std::nullopt;
  return said.reports[said.reports_taken++];
}

std::pair<MoveId, Report>& ScriptedAgent::last_progress(ProcessId from) {
  const std::lock_guard lock(mutex_);
  return said_[from].last_progress;
}

MoveReport ScriptedAgent::expect(ProcessId from, MoveId move, Report report, Reason reason) {
  MoveReport wanted;
  wanted.set_move(move);
  wanted.set_report(static_cast<std::uint32_t>(report));
  wanted.set_reason(static_cast<std::uint32_t>(reason));
  while (true) {
    auto next = next_report(from);
    if (!next) {
      ADD_FAILURE() << "no report came in place of " << described(wanted);
      return wanted;
    }
    if (next->move() == move && next->report() == wanted.report()) {
      if (report == Report::copying || report == Report::converged) {
        last_progress(from) = {move, report};
      }
      EXPECT_EQ(next->reason(), wanted.reason()) << described(*next);
      return *next;
    }
    // Progress is said again and again, as time goes by.
    const auto said = static_cast<Report>(next->report());
    const std::pair progress(next->move(), said);
    if (said == Report::copying && next->move() == move) continue;
    if (said == Report::docked && !next->intent().empty()) continue;
    if (progress == last_progress(from)) continue;
    ADD_FAILURE() << described(*next) << " in place of " << described(wanted);
    return *next;
  }
}

void ScriptedAgent::expect_silence(ProcessId from) {
  order(from, kNoMove, Push::drop);
  (void)expect(from, kNoMove, Report::over);
}

bool ScriptedAgent::has_report(ProcessId from) {
  const std::lock_guard lock(mutex_);
  const Said& said = said_[from];
  return said.reports.size() > said.reports_taken;
}

StandBy ScriptedAgent::next_stand_by(ProcessId from) {
  std::unique_lock lock(mutex_);
  Said& said = said_[from];
  if (!wait(lock, [&] { return said.stand_bys.size() > said.stand_bys_taken; })) {
    ADD_FAILURE() << "it does not stand by";
    return {};
  }
  return said.stand_bys[said.stand_bys_taken++];
}

std::size_t ScriptedAgent::stand_bys_left(ProcessId from) {
  const std::lock_guard lock(mutex_);
  const Said& said = said_[from];
  return said.stand_bys.size() - said.stand_bys_taken;
}

}  // namespace godwit::migrate_tests
