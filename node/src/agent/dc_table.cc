#include "agent/dc_table.h"

#include <algorithm>
#include <utility>

#include "agent/errors.h"

namespace godwit::node {

void DcTable::find(const std::string& name, coord::Deadline deadline, Found done) {
  if (const auto known = dcs_.find(name); known != dcs_.end()) {
    done(known->second);
    return;
  }
  auto& waiting = reading_[name];
  waiting.push_back(std::move(done));
  if (waiting.size() > 1) return;
  directory_.get_dc(
      name, deadline,
      on_loop<coord::DcEntry>(loop_, lifetime_,
                              [this, name](coord::Result<coord::DcEntry> entry) {
                                Result<std::shared_ptr<const Dc>> result;
                                if (entry) {
                                  result = take(entry->record);
                                } else {
                                  result = tl::make_unexpected(to_error(entry.error()));
                                  if (result.error().code == Errc::not_found) {
                                    result.error().message = "there is no DC '" + name +
                                                             "' (godwit dc create makes one)";
                                  }
                                }
                                auto waiters = reading_.extract(name);
                                for (const Found& waiter : waiters.mapped()) waiter(result);
                              }),
      watcher_on_loop(loop_, lifetime_, [this, name] { forget(name); }));
}

void DcTable::find_usable(const std::string& name, coord::Deadline deadline, Found done) {
  find(name, deadline, [done = std::move(done)](Result<std::shared_ptr<const Dc>> dc) {
    if (dc && (*dc)->unusable) {
      done(tl::make_unexpected(*(*dc)->unusable));
    } else {
      done(std::move(dc));
    }
  });
}

void DcTable::find_id(std::uint32_t id, coord::Deadline deadline, Found done) {
  if (const auto* name = name_of(id)) {
    find(*name, deadline, std::move(done));
    return;
  }
  directory_.list_dcs(deadline,
                      on_loop<std::vector<coord::DcEntry>>(
                          loop_, lifetime_,
                          [this, id, deadline,
                           done = std::move(done)](coord::Result<std::vector<coord::DcEntry>> dcs) {
                            if (!dcs) return done(tl::make_unexpected(to_error(dcs.error())));
                            for (const auto& dc : *dcs) names_[dc.record.id()] = dc.record.name();
                            if (const auto* name = name_of(id)) {
                              find(std::string(*name), deadline, done);
                            } else {
                              done(fail(Errc::not_found, "there is no DC " + std::to_string(id)));
                            }
                          }));
}

const std::string* DcTable::name_of(std::uint32_t id) const {
  const auto found = names_.find(id);
  return found == names_.end() ? nullptr : &found->second;
}

std::uint32_t DcTable::id_of(const std::string& name) const {
  for (const auto& [id, known] : names_) {
    if (known == name) return id;
  }
  return 0;
}

std::shared_ptr<const Dc> DcTable::take(const coord::proto::DcRecord& record) {
  auto dc = std::make_shared<Dc>();
  dc->id = record.id();
  dc->name = record.name();
  dc->record = record;
  const auto& nodes = record.nodes();
  auto key = keys_.load(record.name());
  if (!nodes.empty() && std::find(nodes.begin(), nodes.end(), node_) == nodes.end()) {
    dc->unusable = Error{Errc::not_found, "this node, " + node_ + ", is not in the DC", dc->name};
  } else if (!key) {
    dc->unusable = key.error();
  } else if (DcKeys::id_of(*key) != record.key_id()) {
    dc->unusable =
        Error{Errc::wrong_key, "this node's key is not the DC's: import it again (godwit dc key)",
              dc->name};
  }
  if (!dc->unusable) dc->key = *key;
  names_[dc->id] = dc->name;
  dcs_[dc->name] = dc;
  return dc;
}

}  // namespace godwit::node
