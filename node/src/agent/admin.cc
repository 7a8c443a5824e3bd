#include "agent/admin.h"

#include <algorithm>
#include <utility>

#include "agent/errors.h"
#include "agent/known_endpoint.h"

namespace godwit::node {

namespace {

namespace proto = endpoints::proto;

constexpr std::uint32_t kPageSize = 1000;
constexpr std::uint32_t kMaxPageSize = 10'000;
// Pages also stay below a message's limit when every endpoint has the longest name and address.
constexpr std::size_t kPageBytes = 2u << 20;

bool passes(const proto::ListEndpointsRequest& filter, const KnownEndpoint& endpoint) {
  if (!filter.include_gone() && !endpoint.alive()) return false;
  if (!filter.node().empty() && endpoint.record.owner().node() != filter.node()) return false;
  return filter.name_prefix().empty() || endpoint.full_name().starts_with(filter.name_prefix());
}

}  // namespace

Admin::Admin(EventLoop& loop, coord::Directory& directory, SessionServer& sessions,
             NodeTable& nodes, DcTable& dcs, const DcKeys& keys, ProcessTable& processes,
             std::string node, Status status)
    : loop_(loop),
      directory_(directory),
      sessions_(sessions),
      nodes_(nodes),
      dcs_(dcs),
      keys_(keys),
      processes_(processes),
      node_(std::move(node)),
      status_(std::move(status)) {}

bool Admin::handle(const Session& session, const proto::Request& request,
                   coord::Deadline deadline) {
  const Asker asker{session.number, request.number()};
  switch (request.body_case()) {
    case proto::Request::kAgentStatus: {
      proto::Response response;
      *response.mutable_agent_status() = status_();
      answer(asker, response);
      return true;
    }
    case proto::Request::kListNodes:
      list_nodes(asker, deadline);
      return true;
    case proto::Request::kListDcs:
      list_dcs(asker, deadline);
      return true;
    case proto::Request::kCreateDc:
      create_dc(request.create_dc(), false, deadline, [this, asker](Result<proto::DcInfo> dc) {
        if (!dc) return refuse(asker, dc.error());
        proto::Response response;
        *response.mutable_dc() = std::move(*dc);
        answer(asker, response);
      });
      return true;
    case proto::Request::kRemoveDc:
      remove_dc(asker, request.remove_dc().name(), deadline);
      return true;
    case proto::Request::kExportKey:
      export_key(asker, request.export_key().dc());
      return true;
    case proto::Request::kImportKey:
      import_key(asker, request.import_key(), deadline);
      return true;
    case proto::Request::kListEndpoints:
      list_endpoints(asker, request.list_endpoints(), deadline);
      return true;
    case proto::Request::kListProcesses:
      list_processes(asker);
      return true;
    default:
      return false;
  }
}

void Admin::answer(const Asker& asker, proto::Response& response) {
  response.set_number(asker.number);
  sessions_.send(asker.session, response);
}

void Admin::refuse(const Asker& asker, const Error& error) {
  proto::Response response;
  *response.mutable_failure() = to_failure(error);
  answer(asker, response);
}

// --- Nodes and processes ------------------------------------------------------------------------

void Admin::list_nodes(const Asker& asker, coord::Deadline deadline) {
  // Read afresh: the table's watch does not see the load within a record.
  directory_.list_nodes(
      deadline,
      on_loop<std::vector<coord::NodeEntry>>(
          loop_, lifetime_, [this, asker](coord::Result<std::vector<coord::NodeEntry>> entries) {
            if (!entries) return refuse(asker, to_error(entries.error()));
            nodes_.note(*entries);
            std::map<std::string, proto::NodeInfo> nodes;
            const auto add = [&](const coord::proto::NodeRecord& record, bool alive) {
              auto& info = nodes[record.name()];
              info.set_name(record.name());
              info.set_incarnation(record.incarnation());
              if (record.addresses_size() > 0) info.set_address(record.addresses(0));
              info.set_host(record.host());
              info.set_pid(record.pid());
              info.set_started_unix_ms(record.started_unix_ms());
              info.set_alive(alive);
              *info.mutable_capabilities() = record.capabilities();
              info.set_processes(record.load().processes());
              info.set_endpoints(record.load().endpoints());
              info.set_cpu_busy(record.load().cpu_busy());
              info.set_memory_free_bytes(record.load().memory_free_bytes());
              info.set_self(record.name() == node_);
            };
            for (const auto& [name, node] : nodes_.all()) add(node.record, false);
            for (const auto& entry : *entries) add(entry.record, true);
            proto::Response response;
            auto& list = *response.mutable_nodes();
            for (auto& [name, info] : nodes) *list.add_nodes() = std::move(info);
            answer(asker, response);
          }));
}

void Admin::list_processes(const Asker& asker) {
  proto::Response response;
  auto& list = *response.mutable_processes();
  processes_.for_each([&](Process& process) {
    auto& entry = *list.add_processes();
    entry.set_process(process.number);
    entry.set_pid(process.pid);
    entry.set_uid(process.uid);
    entry.set_program(process.program);
    entry.set_endpoints(process.held.size());
    entry.set_attached_unix_ms(process.attached_unix_ms);
    entry.set_connected(process.session != 0);
  });
  answer(asker, response);
}

// --- DCs and keys -------------------------------------------------------------------------------

proto::DcInfo Admin::info_of(const coord::proto::DcRecord& record) const {
  proto::DcInfo info;
  info.set_id(record.id());
  info.set_name(record.name());
  *info.mutable_nodes() = record.nodes();
  info.set_max_endpoints(record.limits().max_endpoints());
  info.set_max_message_bytes(record.limits().max_message_bytes());
  info.set_key_id(record.key_id());
  info.set_created_unix_ms(record.created_unix_ms());
  const auto key = keys_.load(record.name());
  info.set_key_here(key && DcKeys::id_of(*key) == record.key_id());
  return info;
}

void Admin::list_dcs(const Asker& asker, coord::Deadline deadline) {
  directory_.list_dcs(deadline, on_loop<std::vector<coord::DcEntry>>(
                                    loop_, lifetime_,
                                    [this, asker](coord::Result<std::vector<coord::DcEntry>> dcs) {
                                      if (!dcs) return refuse(asker, to_error(dcs.error()));
                                      std::sort(dcs->begin(), dcs->end(), [](auto& a, auto& b) {
                                        return a.record.name() < b.record.name();
                                      });
                                      proto::Response response;
                                      auto& list = *response.mutable_dcs_list();
                                      for (const auto& dc : *dcs)
                                        *list.add_dcs() = info_of(dc.record);
                                      answer(asker, response);
                                    }));
}

void Admin::create_dc(const proto::CreateDcRequest& request, bool may_exist,
                      coord::Deadline deadline, Made done) {
  if (request.name().find('/') != std::string::npos) {
    return done(fail(Errc::invalid_argument, "a DC's name holds no '/'", request.name()));
  }
  if (auto valid = coord::validate_name("a DC's name", request.name()); !valid) {
    return done(tl::make_unexpected(to_error(valid.error())));
  }
  // Looked for first, so that no key is made for a DC that has one.
  auto on_found = [this, request, may_exist, deadline,
                   done](const Result<std::shared_ptr<const Dc>>& dc) {
    if (dc && !may_exist) {
      return done(fail(Errc::name_taken, "a DC of that name exists", request.name()));
    }
    if (dc && (*dc)->unusable) return done(tl::make_unexpected(*(*dc)->unusable));
    if (dc) return done(info_of((*dc)->record));
    if (dc.error().code != Errc::not_found) return done(tl::make_unexpected(dc.error()));
    auto key = keys_.load_or_make(request.name());
    if (!key) return done(tl::make_unexpected(std::move(key.error())));
    coord::DcRequest record;
    record.name = request.name();
    record.nodes.assign(request.nodes().begin(), request.nodes().end());
    record.limits.set_max_endpoints(request.max_endpoints());
    record.limits.set_max_message_bytes(request.max_message_bytes());
    record.key_id = DcKeys::id_of(*key);
    directory_.create_dc(
        std::move(record), deadline,
        on_loop<coord::DcEntry>(
            loop_, lifetime_,
            [this, request, may_exist, deadline, done](coord::Result<coord::DcEntry> entry) {
              dcs_.forget(request.name());
              if (entry) return done(info_of(entry->record));
              if (entry.error().code == coord::Errc::dc_exists && may_exist) {
                // Another agent was faster: its key must be ours.
                return create_dc(request, true, deadline, done);
              }
              done(tl::make_unexpected(to_error(entry.error(), request.name())));
            }));
  };
  dcs_.find(request.name(), deadline, std::move(on_found));
}

void Admin::remove_dc(const Asker& asker, const std::string& name, coord::Deadline deadline) {
  directory_.remove_dc(
      name, deadline,
      on_loop<void>(loop_, lifetime_, [this, asker, name](coord::Result<void> done) {
        if (!done) return refuse(asker, to_error(done.error(), name));
        keys_.remove(name);
        dcs_.forget(name);
        proto::Response response;
        response.mutable_done();
        answer(asker, response);
      }));
}

void Admin::export_key(const Asker& asker, const std::string& dc) {
  auto key = keys_.load(dc);
  if (!key) return refuse(asker, key.error());
  proto::Response response;
  response.mutable_key()->set_key(DcKeys::to_hex(*key));
  answer(asker, response);
}

void Admin::import_key(const Asker& asker, const proto::ImportKeyRequest& request,
                       coord::Deadline deadline) {
  const auto key = DcKeys::from_hex(request.key());
  if (!key) return refuse(asker, key.error());
  dcs_.find(
      request.dc(), deadline,
      [this, asker, name = request.dc(), key = *key](const Result<std::shared_ptr<const Dc>>& dc) {
        if (!dc) return refuse(asker, dc.error());
        if (DcKeys::id_of(key) != (*dc)->record.key_id()) {
          return refuse(asker, Error{Errc::wrong_key, "this is not the key of that DC", name});
        }
        if (auto stored = keys_.store(name, key); !stored) {
          return refuse(asker, stored.error());
        }
        const auto record = (*dc)->record;
        dcs_.forget(name);
        proto::Response response;
        *response.mutable_dc() = info_of(record);
        answer(asker, response);
      });
}

// --- Endpoints ----------------------------------------------------------------------------------

void Admin::list_endpoints(const Asker& asker, const proto::ListEndpointsRequest& request,
                           coord::Deadline deadline) {
  if (request.cursor() != 0) {
    const auto known = listings_.find(asker.session);
    if (known == listings_.end() || known->second->cursor != request.cursor()) {
      return refuse(
          asker,
          Error{Errc::invalid_argument, "the listing has ended: begin again with cursor 0", {}});
    }
    return send_page(asker, request.page_size(), *known->second);
  }
  auto listing = std::make_shared<Listing>();
  if (!request.dc().empty()) {
    return collect(asker, request, deadline, {request.dc()}, std::move(listing));
  }
  directory_.list_dcs(deadline, on_loop<std::vector<coord::DcEntry>>(
                                    loop_, lifetime_,
                                    [this, asker, request, deadline,
                                     listing](coord::Result<std::vector<coord::DcEntry>> dcs) {
                                      if (!dcs) return refuse(asker, to_error(dcs.error()));
                                      std::vector<std::string> names;
                                      for (const auto& dc : *dcs) names.push_back(dc.record.name());
                                      // Taken from the back.
                                      std::sort(names.rbegin(), names.rend());
                                      collect(asker, request, deadline, std::move(names), listing);
                                    }));
}

void Admin::collect(const Asker& asker, proto::ListEndpointsRequest request,
                    coord::Deadline deadline, std::vector<std::string> dcs,
                    std::shared_ptr<Listing> listing) {
  if (dcs.empty()) {
    listing->cursor = next_cursor_++;
    if (sessions_.find(asker.session) == nullptr) return;
    listings_[asker.session] = listing;
    return send_page(asker, request.page_size(), *listing);
  }
  const std::string dc = std::move(dcs.back());
  dcs.pop_back();
  directory_.list_endpoints(
      dc, deadline,
      on_loop<std::vector<coord::EndpointEntry>>(
          loop_, lifetime_,
          [this, asker, request = std::move(request), deadline, dcs = std::move(dcs), listing,
           dc](coord::Result<std::vector<coord::EndpointEntry>> entries) mutable {
            if (!entries) return refuse(asker, to_error(entries.error(), dc));
            std::sort(entries->begin(), entries->end(), [](const auto& a, const auto& b) {
              return a.record.slot() < b.record.slot();
            });
            for (auto& entry : *entries) {
              const KnownEndpoint endpoint{dc, std::move(entry.record)};
              if (!passes(request, endpoint)) continue;
              auto& info = listing->endpoints.emplace_back();
              *info.mutable_place() = endpoint.place();
              info.set_dc_name(dc);
              info.set_pid(endpoint.record.owner().pid());
              info.set_node_incarnation(endpoint.record.owner().node_incarnation());
            }
            collect(asker, std::move(request), deadline, std::move(dcs), std::move(listing));
          }));
}

void Admin::send_page(const Asker& asker, std::uint32_t page_size, Listing& listing) {
  const std::size_t wanted = page_size == 0 ? kPageSize : std::min(page_size, kMaxPageSize);
  proto::Response response;
  auto& page = *response.mutable_endpoints();
  std::size_t bytes = 0;
  while (listing.next < listing.endpoints.size() && bytes < kPageBytes &&
         static_cast<std::size_t>(page.endpoints_size()) < wanted) {
    auto& info = listing.endpoints[listing.next++];
    bytes += info.ByteSizeLong();
    *page.add_endpoints() = std::move(info);
  }
  const bool more = listing.next < listing.endpoints.size();
  page.set_cursor(more ? listing.cursor : 0);
  if (!more) listings_.erase(asker.session);
  answer(asker, response);
}

}  // namespace godwit::node
