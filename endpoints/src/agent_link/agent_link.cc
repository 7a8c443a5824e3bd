#include "godwit/agent_link.h"

#include <optional>
#include <set>
#include <utility>

#include "agent_link/link.h"
#include "agent_link/place_codec.h"
#include "godwit/fabric/address.h"

namespace godwit {

using agent_link::Link;
using agent_link::Request;
using agent_link::Response;
using agent_link::to_error;
using agent_link::to_place;

class AgentLink::Impl {
 public:
  explicit Impl(AgentLinkOptions options) : link(std::move(options)) {}
  Link link;
};

namespace {

template <typename T>
Result<T> unexpected_answer() {
  return fail(Errc::protocol_error, "the agent answered something else than what was asked");
}

// Answers without the agent, as everything is answered: on the link's thread. No ticket has number
// 0.
template <typename T>
Resolver::Ticket refuse(Link& link, Resolver::Done<T> done, Error error) {
  link.post(
      [done = std::move(done), error = std::move(error)] { done(tl::make_unexpected(error)); });
  return 0;
}

void set_id(const EndpointId& id, auto& message) {
  message.set_dc(id.dc);
  message.set_slot(id.slot);
  message.set_generation(id.generation);
}

// The batches of one bind_many; the last one to be answered answers it. Link's thread.
struct BindMany {
  std::vector<Result<EndpointPlace>> results;
  std::size_t unanswered = 0;
  Resolver::Done<std::vector<Result<EndpointPlace>>> done;

  void batch_done() {
    if (--unanswered == 0) done(std::move(results));
  }
};

// One message of it: its items, and which requests they are.
struct Batch {
  Request request;
  std::vector<std::size_t> positions;
};

void take_batch(Link& link, const Batch& batch, Result<Response> answer, BindMany& all) {
  const auto& bind = batch.request.bind();
  for (int i = 0; i < bind.items_size(); ++i) {
    auto& result = all.results[batch.positions[static_cast<std::size_t>(i)]];
    if (!answer) {
      result = tl::make_unexpected(answer.error());
    } else if (i >= answer->bind().results_size()) {
      result = unexpected_answer<EndpointPlace>();
    } else if (const auto& given = answer->bind().results(i); given.has_place()) {
      result = to_place(given.place());
      result->engine_address =
          bind.engine_addresses(static_cast<int>(bind.items(i).engine_address()));
      link.hold(*result);
    } else {
      result = tl::make_unexpected(to_error(given.failure()));
    }
  }
  all.batch_done();
}

// What the agent would take for no message must not be sent: it would end the connection, and be
// repeated on the next.
Result<void> check(const BindRequest& request) {
  if (auto valid = check_name("a DC's name", request.dc); !valid) return valid;
  if (!request.name.empty()) {
    if (auto valid = check_name("an endpoint's name", request.name); !valid) return valid;
  }
  if (request.engine_address.size() > fabric::EngineAddress::kMaxBlob) {
    return fail(Errc::too_large, "an engine's address is longer than " +
                                     std::to_string(fabric::EngineAddress::kMaxBlob) + " bytes");
  }
  return {};
}

void bind_all(Link& link, const std::vector<BindRequest>& requests,
              Resolver::Done<std::vector<Result<EndpointPlace>>> done) {
  auto all = std::make_shared<BindMany>();
  all->results.resize(requests.size());
  all->done = std::move(done);

  // Cut first, asked after: the number of batches must be known before the first answer.
  std::vector<Batch> batches;
  for (std::size_t next = 0; next < requests.size();) {
    Batch batch;
    auto& bind = *batch.request.mutable_bind();
    bind.set_nonce(link.next_nonce());
    std::unordered_map<std::string_view, std::uint32_t> addresses;
    std::size_t bytes = 0;
    for (; next < requests.size() && bytes < agent_protocol::kBatchBytes &&
           static_cast<std::size_t>(bind.items_size()) < agent_protocol::kMaxBatch;
         ++next) {
      const BindRequest& request = requests[next];
      if (auto valid = check(request); !valid) {
        all->results[next] = tl::make_unexpected(std::move(valid.error()));
        continue;
      }
      const auto [address, fresh] = addresses.emplace(
          request.engine_address, static_cast<std::uint32_t>(bind.engine_addresses_size()));
      if (fresh) bind.add_engine_addresses(request.engine_address);
      auto& item = *bind.add_items();
      item.set_dc(request.dc);
      item.set_name(request.name);
      item.set_engine_address(address->second);
      item.set_program(request.program);
      batch.positions.push_back(next);
      bytes +=
          request.dc.size() + request.name.size() + (fresh ? request.engine_address.size() : 0);
    }
    if (!batch.positions.empty()) batches.push_back(std::move(batch));
  }
  if (batches.empty()) {
    link.post([all] { all->done(std::move(all->results)); });
    return;
  }
  all->unanswered = batches.size();
  for (Batch& batch : batches) {
    Request request = batch.request;
    // The items are needed again to read the answer: a reply leaves out what the asker knows.
    auto asked = std::make_shared<const Batch>(std::move(batch));
    link.ask(std::move(request), Link::Limit::timed, [&link, all, asked](Result<Response> answer) {
      take_batch(link, *asked, std::move(answer), *all);
    });
  }
}

}  // namespace

Result<std::unique_ptr<AgentLink>> AgentLink::attach(AgentLinkOptions options) {
  if (options.runtime_directory.empty()) options.runtime_directory = default_runtime_directory();
  auto impl = std::make_unique<Impl>(std::move(options));
  if (auto started = impl->link.start(); !started) {
    return tl::make_unexpected(std::move(started.error()));
  }
  return std::unique_ptr<AgentLink>(new AgentLink(std::move(impl)));
}

AgentLink::AgentLink(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

AgentLink::~AgentLink() = default;

void AgentLink::set_listener(Listener* listener) {
  impl_->link.set_listener(listener);
}

void AgentLink::bind(const BindRequest& request, Done<EndpointPlace> done) {
  bind_many({request},
            [done = std::move(done)](Result<std::vector<Result<EndpointPlace>>> results) {
              if (!results) {
                done(tl::make_unexpected(std::move(results.error())));
              } else {
                done(std::move(results->front()));
              }
            });
}

void AgentLink::bind_many(const std::vector<BindRequest>& requests,
                          Done<std::vector<Result<EndpointPlace>>> done) {
  // A peer may dial as soon as a bind stands in the directory, before its owner has the answer, and
  // an engine without the DC's key refuses it: so the key comes first.
  Link& link = impl_->link;
  std::set<std::string> dcs;
  for (const BindRequest& request : requests) {
    if (check(request) && !link.dc_id(request.dc)) dcs.insert(request.dc);
  }
  if (dcs.empty()) return bind_all(link, requests, std::move(done));
  struct Keys {
    std::size_t missing;
    std::optional<Error> error;
    std::vector<BindRequest> requests;
    Done<std::vector<Result<EndpointPlace>>> done;
  };
  auto keys = std::make_shared<Keys>(Keys{dcs.size(), {}, requests, std::move(done)});
  for (const std::string& dc : dcs) {
    find_dc(dc, [&link, keys](Result<std::uint32_t> found) {
      // Of a DC that there is not, the bind itself tells whoever wanted to bind there.
      if (!found && found.error().code != Errc::not_found) keys->error = std::move(found.error());
      if (--keys->missing != 0) return;
      if (keys->error) {
        keys->done(tl::make_unexpected(std::move(*keys->error)));
      } else {
        bind_all(link, keys->requests, std::move(keys->done));
      }
    });
  }
}

void AgentLink::unbind(EndpointId id, Done<void> done) {
  Link& link = impl_->link;
  Request request;
  set_id(id, *request.mutable_unbind());
  link.ask(std::move(request), Link::Limit::timed,
           [&link, id, done = std::move(done)](Result<Response> answer) {
             const bool gone = answer || answer.error().code == Errc::not_found;
             if (gone) link.release(id);
             if (answer) {
               done({});
             } else {
               done(tl::make_unexpected(std::move(answer.error())));
             }
           });
}

std::shared_ptr<const EndpointPlace> AgentLink::cached(std::string_view full_name) {
  return impl_->link.cache().cached(full_name);
}

void AgentLink::resolve(std::string_view full_name, Done<EndpointPlace> done) {
  Link& link = impl_->link;
  std::string name(full_name);
  if (auto parsed = EndpointName::parse(name); !parsed) {
    refuse(link, std::move(done), std::move(parsed.error()));
    return;
  }
  Request request;
  request.mutable_resolve()->set_name(name);
  link.ask(std::move(request), Link::Limit::timed,
           [&link, name, done = std::move(done)](Result<Response> answer) {
             if (!answer) {
               if (answer.error().code == Errc::not_found) link.cache().forget(name);
               done(tl::make_unexpected(std::move(answer.error())));
             } else if (!answer->has_place()) {
               done(unexpected_answer<EndpointPlace>());
             } else {
               EndpointPlace place = to_place(answer->place());
               link.cache().resolved(name, place);
               done(std::move(place));
             }
           });
}

void AgentLink::locate(EndpointId id, Done<EndpointPlace> done) {
  Link& link = impl_->link;
  Request request;
  set_id(id, *request.mutable_locate());
  link.ask(std::move(request), Link::Limit::timed,
           [&link, done = std::move(done)](Result<Response> answer) {
             if (!answer) {
               done(tl::make_unexpected(std::move(answer.error())));
             } else if (!answer->has_place()) {
               done(unexpected_answer<EndpointPlace>());
             } else {
               EndpointPlace place = to_place(answer->place());
               link.cache().located(place);
               done(std::move(place));
             }
           });
}

Resolver::Ticket AgentLink::wait_bound(std::string_view full_name, Done<EndpointPlace> done) {
  Link& link = impl_->link;
  if (auto parsed = EndpointName::parse(full_name); !parsed) {
    return refuse(link, std::move(done), std::move(parsed.error()));
  }
  Request request;
  request.mutable_wait_bound()->set_name(std::string(full_name));
  return link.ask(
      std::move(request), Link::Limit::unlimited,
      [&link, name = std::string(full_name), done = std::move(done)](Result<Response> answer) {
        if (!answer) {
          done(tl::make_unexpected(std::move(answer.error())));
        } else if (!answer->has_place()) {
          done(unexpected_answer<EndpointPlace>());
        } else {
          EndpointPlace place = to_place(answer->place());
          link.cache().resolved(name, place);
          done(std::move(place));
        }
      });
}

Resolver::Ticket AgentLink::wait_unbound(std::string_view full_name, Done<void> done) {
  if (auto parsed = EndpointName::parse(full_name); !parsed) {
    return refuse(impl_->link, std::move(done), std::move(parsed.error()));
  }
  Request request;
  request.mutable_wait_unbound()->set_name(std::string(full_name));
  return impl_->link.ask(std::move(request), Link::Limit::unlimited,
                         [done = std::move(done)](Result<Response> answer) {
                           if (answer) {
                             done({});
                           } else {
                             done(tl::make_unexpected(std::move(answer.error())));
                           }
                         });
}

void AgentLink::cancel(Ticket ticket) {
  impl_->link.cancel(ticket);
}

void AgentLink::find_dc(std::string_view dc, Done<std::uint32_t> done) {
  Link& link = impl_->link;
  if (const auto known = link.dc_id(dc)) {
    link.post([done = std::move(done), id = *known] { done(id); });
    return;
  }
  if (auto valid = check_name("a DC's name", dc); !valid) {
    refuse(link, std::move(done), std::move(valid.error()));
    return;
  }
  Request request;
  request.mutable_find_dc()->set_dc(std::string(dc));
  link.ask(std::move(request), Link::Limit::timed,
           [done = std::move(done)](Result<Response> answer) {
             if (!answer) {
               done(tl::make_unexpected(std::move(answer.error())));
             } else if (!answer->has_found_dc()) {
               done(unexpected_answer<std::uint32_t>());
             } else {
               done(answer->found_dc().id());
             }
           });
}

std::optional<fabric::DcKey> AgentLink::key(std::uint32_t dc) const {
  return impl_->link.key(dc);
}
std::string AgentLink::node() const {
  return impl_->link.agent().node();
}
std::uint64_t AgentLink::process() const {
  return impl_->link.process();
}
std::string AgentLink::runtime_directory() const {
  return impl_->link.agent().runtime_directory();
}
std::string AgentLink::listen_host() const {
  return impl_->link.agent().listen_host();
}
bool AgentLink::connected() const {
  return impl_->link.connected();
}

// --- moves -------------------------------------------------------------------------------------

void AgentLink::set_move_handler(MoveHandler* handler) {
  impl_->link.set_move_handler(handler);
}

void AgentLink::stand_by(std::string_view program, std::uint64_t move, bool withdraw) {
  Request request;
  auto& stand_by = *request.mutable_stand_by();
  stand_by.set_program(std::string(program));
  stand_by.set_move(move);
  stand_by.set_withdraw(withdraw);
  impl_->link.tell(std::move(request));
}

void AgentLink::report(const endpoints::proto::MoveReport& report) {
  Request request;
  *request.mutable_move_report() = report;
  impl_->link.tell(std::move(request));
}

void AgentLink::adopt(const EndpointPlace& place) {
  Link& link = impl_->link;
  link.note([&link, place] { link.hold(place); });
}

void AgentLink::relinquish(EndpointId id) {
  Link& link = impl_->link;
  link.post([&link, id] { link.release(id); });
}

}  // namespace godwit
