#include "scene.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

namespace moves {

namespace {

using namespace std::chrono_literals;

constexpr auto kLimit = 60s;

bool all_said(const std::vector<Worker*>& workers, const char* what) {
  return std::all_of(workers.begin(), workers.end(),
                     [&](const Worker* each) { return each->find(what) != nullptr; });
}

}  // namespace

Scene::Scene(const Options& options, Cluster& cluster)
    : cluster_(cluster), conductor_(options, cluster) {}

Result<std::vector<Worker*>> Scene::start_servers(const std::string& role,
                                                  const std::string& program) {
  std::vector<Worker*> started;
  for (std::size_t i = 0; i < nodes(); ++i) {
    auto server = start_server(i, role, i != 0);
    if (!server) return tl::make_unexpected(server.error());
    started.push_back(*server);
  }
  auto announced = conductor_.command_line().wait_for_standbys(node(0), node(0), program, kLimit);
  if (!announced) return tl::make_unexpected(announced.error());
  return started;
}

Result<Worker*> Scene::start_server(std::size_t at, const std::string& role, bool stand_by,
                                    std::vector<std::string> flags) {
  flags.insert(flags.end(), {"--state", std::to_string(conductor_.options().state)});
  if (stand_by) flags.push_back("--stand-by");
  auto server = crew().start_server(node(at), role, std::move(flags));
  if (server) servers_.push_back(*server);
  return server;
}

Result<void> Scene::start_clients(unsigned count, const std::vector<std::string>& flags) {
  for (unsigned i = 0; i < count; ++i) {
    auto client = conductor_.start_client(node(i % nodes()), flags);
    if (!client) return tl::make_unexpected(client.error());
    clients_.push_back(*client);
  }
  return {};
}

Result<Worker*> Scene::start_guest(std::size_t at) {
  auto guest = conductor_.start_client(node(at));
  if (guest) guests_.push_back(*guest);
  return guest;
}

Result<void> Scene::move(const std::string& name, std::size_t to) {
  auto moved = conductor_.command_line().run(node(0), {"migrate", name, node(to), "--json"});
  if (!moved) return tl::make_unexpected(moved.error());
  ++moved_;
  return {};
}

Result<void> Scene::move_in_vain(const std::string& name, std::size_t to, const std::string& why) {
  auto moved = conductor_.command_line().run(node(0), {"migrate", name, node(to), "--json"});
  if (moved) {
    return godwit::fail(godwit::Errc::invalid_argument, "a move that must be given up was not");
  }
  auto past = conductor_.command_line().run(node(0), {"migrations", "--past", "1", "--json"});
  if (!past) return tl::make_unexpected(past.error());
  if (past->find("aborted") != std::string::npos && past->find(why) != std::string::npos) return {};
  return godwit::fail(godwit::Errc::invalid_argument,
                      "it was given up for another reason than '" + why + "':\n" + *past);
}

Result<void> Scene::let_work(std::uint64_t operations) {
  std::vector<std::uint64_t> goals;
  for (const Worker* client : clients_) goals.push_back(client->progress + operations);
  return crew().run_until(
      [&] {
        for (std::size_t i = 0; i < clients_.size(); ++i) {
          if (clients_[i]->progress < goals[i]) return false;
        }
        return true;
      },
      kLimit);
}

Result<void> Scene::finish() {
  for (Worker* each : clients_) each->process.write_line("finish");
  if (auto said = crew().run_until([&] { return all_said(clients_, "result"); }, kLimit); !said) {
    return said;
  }
  for (Worker* each : guests_) {
    if (!each->dismissed) crew().kill(*each);
  }
  std::vector<Worker*> there;
  for (Worker* each : servers_) {
    if (each->dismissed) continue;
    each->process.write_line("finish");
    there.push_back(each);
  }
  return crew().run_until([&] { return all_said(there, "result"); }, kLimit);
}

int Scene::judge(const char* name) const {
  std::uint64_t issued = 0, executed = 0, broken = 0;
  for (const Worker* each : clients_) {
    issued += each->find("result")->number("operations");
    broken += each->find_all("broken").size();
  }
  for (const Worker* each : servers_) {
    if (const auto* result = each->find("result")) executed += result->number("executed");
    for (const auto* line : each->find_all("broken")) {
      if (++broken < 10) std::printf("BROKEN %s\n", line->to_string().c_str());
    }
  }
  // A guest that was killed has issued what nobody has counted.
  const bool counts = guests_.empty() ? executed == issued : executed >= issued;
  if (!counts) std::printf("BROKEN executed is not issued\n");
  std::printf(
      "%s: %u moves; %llu operations of %zu clients%s, %llu executed: %s\n", name, moved_,
      static_cast<unsigned long long>(issued), clients_.size(),
      guests_.empty() ? "" : (", and of " + std::to_string(guests_.size()) + " guests").c_str(),
      static_cast<unsigned long long>(executed),
      broken == 0 && counts ? "nothing lost, nothing doubled, order kept" : "promises are broken");
  return broken == 0 && counts ? 0 : kExitBroken;
}

int run_scene(const Options& options) {
  struct Play {
    const char* name;
    Result<void> (*play)(Scene&, const Options&);
  };
  constexpr Play kPlays[] = {
      {"upgrade", play_upgrade}, {"both-ends", play_both_ends}, {"crowd", play_crowd}};
  const auto* const play =
      std::find_if(std::begin(kPlays), std::end(kPlays),
                   [&](const Play& each) { return options.scene == each.name; });
  if (play == std::end(kPlays)) return kExitFailed;
  auto cluster = start_cluster(options);
  if (!cluster) {
    std::fprintf(stderr, "godwit_moves: %s\n", cluster.error().to_string().c_str());
    return kExitFailed;
  }
  if (options.keep) cluster->keep_folder();
  Scene scene(options, *cluster);
  auto played = play->play(scene, options);
  if (played) played = scene.finish();
  if (!played) {
    std::fprintf(stderr, "godwit_moves: %s\n%s", played.error().to_string().c_str(),
                 cluster->log_tail().c_str());
    return kExitFailed;
  }
  return scene.judge(play->name);
}

}  // namespace moves
