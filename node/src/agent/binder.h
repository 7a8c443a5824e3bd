// Binder: carries out the binds of processes, each once, though asked for twice.
//
// A bind is named by its process and a nonce. One that is under way answers whoever asked last; one
// whose answer was lost with a connection is answered again from what the process holds, or, when
// the agent itself was lost since, from the records it left (Claims::adopt).
//
// Owner: the Agent. Loop's thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agent/claims.h"
#include "agent/judge.h"

namespace godwit::node {

class Binder {
 public:
  /// Answers a request: with the DCs whose key the asker may need first.
  using Reply = std::function<void(SessionNumber session, endpoints::proto::Response& response,
                                   const std::vector<std::shared_ptr<const Dc>>& dcs)>;

  Binder(EventLoop& loop, coord::Directory& directory, DcTable& dcs, ProcessTable& processes,
         Claims& claims, Judge& judge, Reaper& reaper, std::string node, std::uint64_t incarnation,
         Reply reply);

  void bind(Process& process, SessionNumber session, std::uint64_t number,
            const endpoints::proto::Bind& request, coord::Deadline deadline);

 private:
  struct Job {
    std::uint64_t process = 0;
    SessionNumber session = 0;
    std::uint64_t number = 0;
    endpoints::proto::Bind request;
    coord::Deadline deadline;
    endpoints::proto::Response response;
    std::vector<std::shared_ptr<const Dc>> dcs;
    std::size_t unanswered = 0;
  };
  using JobPtr = std::shared_ptr<Job>;

  void start(const JobPtr& job);
  void start_item(const JobPtr& job, int index);
  void bind_item(const JobPtr& job, int index, int attempts);
  void taken(const JobPtr& job, int index, int attempts, const coord::Error& error);
  void reclaim(const JobPtr& job, int index, const Known& endpoint);
  void bound(const JobPtr& job, int index, const Known& endpoint);
  void failed(const JobPtr& job, int index, const Error& error);
  void item_done(const JobPtr& job);
  const std::string& engine_address(const Job& job, int index) const;

  EventLoop& loop_;
  coord::Directory& directory_;
  DcTable& dcs_;
  ProcessTable& processes_;
  Claims& claims_;
  Judge& judge_;
  Reaper& reaper_;
  const std::string node_;
  const std::uint64_t incarnation_;
  const Reply reply_;
  std::map<std::pair<std::uint64_t, std::uint64_t>, JobPtr> jobs_;  // by process and nonce
  Lifetime lifetime_;
};

}  // namespace godwit::node
