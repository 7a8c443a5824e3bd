// Directory: binding endpoints.
#include "directory_impl.h"
#include "random.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace godwit::coord {
namespace {

using Impl = Directory::Impl;

// Whether a write that failed so has certainly changed nothing.
bool certainly_not_executed(Errc code) {
  return code != Errc::deadline && code != Errc::outcome_unknown;
}

// The next binding of a slot; `last` is the one before, if there was one.
proto::EndpointRecord next_binding(const BindRequest& request, const DcEntry& dc,
                                   std::uint32_t slot, const std::optional<EndpointEntry>& last) {
  proto::EndpointRecord record;
  record.set_schema(kDirectorySchema);
  record.set_dc(dc.record.id());
  record.set_slot(slot);
  record.set_generation(last ? last->record.generation() + 1 : 1);
  record.set_lineage(random_u64());
  record.set_epoch(1);
  record.set_state(proto::SERVING);
  *record.mutable_owner() = request.owner;
  record.set_engine_address(request.engine_address);
  record.set_name(request.name);
  record.set_program(request.program);
  return record;
}

std::string name_record(const proto::EndpointRecord& endpoint) {
  proto::NameRecord record;
  record.set_name(endpoint.name());
  record.set_slot(endpoint.slot());
  record.set_generation(endpoint.generation());
  return pack(record);
}

bool is_worn_out(const EndpointEntry& endpoint) {
  return endpoint.record.generation() == std::numeric_limits<std::uint32_t>::max();
}

// The endpoint that holds a name, if the name can be taken over: a dead one's, or one
// that does not hold it (any more). nullopt: look again from the start.
struct Takeover {
  NameEntry name;
  EndpointEntry endpoint;
};
Flow find_takeover(std::shared_ptr<Impl> self, BindRequest request, Deadline deadline,
                   Callback<std::optional<Takeover>> done) {
  const std::string name_path = self->paths.name(request.dc, request.name);
  const auto stored_name = co_await self->get(name_path, deadline);
  if (!stored_name) {
    if (stored_name.error().code == Errc::no_node) {
      done(std::optional<Takeover>());
    } else {
      answer(done, stored_name.error());
    }
    co_return;
  }
  const auto name = unpack<proto::NameRecord>(name_path, *stored_name);
  if (!name) {
    answer(done, name.error());
    co_return;
  }
  const std::string path = self->paths.endpoint(request.dc, name->record.slot());
  const auto stored = co_await self->get(path, deadline);
  if (!stored) {
    answer(done, stored.error());
    co_return;
  }
  const auto endpoint = unpack<proto::EndpointRecord>(path, *stored);
  if (!endpoint) {
    answer(done, endpoint.error());
    co_return;
  }
  const proto::EndpointRecord& holder = endpoint->record;
  // The two were read one after the other; a bind between them looks like this.
  if (holder.generation() != name->record.generation()) {
    done(std::optional<Takeover>());
    co_return;
  }
  if (holder.state() != proto::DEAD) {
    answer(done, {Errc::name_taken, "'" + request.name + "' is bound in DC '" + request.dc +
                                        "' by a process of node '" + holder.owner().node() + "'"});
    co_return;
  }
  if (is_worn_out(*endpoint)) {
    answer(done, {Errc::limit_exceeded, "the last generation of a slot is used up"});
    co_return;
  }
  done(std::optional<Takeover>(Takeover{*name, *endpoint}));
}

Flow bind_flow(std::shared_ptr<Impl> self, BindRequest request, Deadline deadline,
               Callback<EndpointEntry> done) {
  co_await self->on_thread();
  std::optional<Takeover> takeover;
  for (;;) {
    const auto dc = co_await self->dc_to_bind_in(request.dc, deadline);
    if (!dc) {
      answer(done, dc.error());
      co_return;
    }
    const auto& nodes = dc->record.nodes();
    if (!nodes.empty() &&
        std::find(nodes.begin(), nodes.end(), request.owner.node()) == nodes.end()) {
      answer(done, {Errc::bad_argument,
                    "node '" + request.owner.node() + "' is not one of DC '" + request.dc + "'"});
      co_return;
    }
    Impl::FreeSlot slot;
    if (takeover) {
      slot = {takeover->endpoint.record.slot(), takeover->endpoint};
    } else {
      auto taken = co_await self->take_slot(request.dc, deadline);
      if (!taken) {
        answer(done, taken.error());
        co_return;
      }
      slot = std::move(*taken);
    }
    auto record = next_binding(request, *dc, slot.slot, slot.last);
    const std::string path = self->paths.endpoint(request.dc, slot.slot);
    enum : int { kDc, kEndpoint, kName };
    std::vector<WriteOp> ops;
    // Fails once the DC is marked for removal, or changed in what was checked above.
    ops.push_back(CheckOp{self->paths.dc(request.dc), dc->stat});
    if (slot.last) {
      ops.push_back(SetOp{path, pack(record), slot.last->stat});
    } else {
      ops.push_back(CreateOp{path, pack(record), CreateMode::persistent});
    }
    if (!request.name.empty()) {
      const std::string name_path = self->paths.name(request.dc, request.name);
      if (takeover) {
        ops.push_back(SetOp{name_path, name_record(record), takeover->name.stat});
      } else {
        ops.push_back(CreateOp{name_path, name_record(record), CreateMode::persistent});
      }
    }
    const auto written = co_await self->multi(std::move(ops), deadline);
    if (written) {
      done(EndpointEntry{std::move(record), (*written)[kEndpoint]});
      co_return;
    }
    const Error& error = written.error();
    const bool lost_race = error.code == Errc::bad_version || error.code == Errc::no_node ||
                           error.code == Errc::node_exists;
    const bool from_pool = !takeover.has_value();
    takeover.reset();
    // A slot whose record is not as expected is somebody else's after all (a counter
    // older than its slots, after a power failure): dropped, not given back.
    const bool slot_is_good =
        certainly_not_executed(error.code) && !(lost_race && error.failed_op == kEndpoint);
    if (from_pool && slot_is_good) self->give_back(request.dc, std::move(slot));
    if (!lost_race) {
      answer(done, error);
      co_return;
    }
    if (error.failed_op == kDc) self->dcs[request.dc].entry.reset();
    if (error.failed_op == kName && from_pool) {
      auto found =
          co_await Step<std::optional<Takeover>>([&](Callback<std::optional<Takeover>> next) {
            find_takeover(self, request, deadline, std::move(next));
          });
      if (!found) {
        answer(done, found.error());
        co_return;
      }
      takeover = std::move(*found);
    }
  }
}

}  // namespace

void Directory::bind(BindRequest request, Deadline deadline, Callback<EndpointEntry> done) {
  auto valid = validate_name("DC name", request.dc);
  if (valid && !request.name.empty()) valid = validate_name("endpoint name", request.name);
  if (valid) valid = validate_name("node name", request.owner.node());
  if (valid && !request.program.empty()) valid = validate_name("program name", request.program);
  if (!valid) return refuse(std::move(valid.error()), std::move(done));
  bind_flow(impl_, std::move(request), deadline, std::move(done));
}

}  // namespace godwit::coord
