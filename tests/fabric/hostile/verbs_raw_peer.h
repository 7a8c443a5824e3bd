// VerbsRawPeer: dials an engine by rdmacm with a queue pair of its own, and sends what it likes.
// One thread.
#pragma once

#ifdef GODWIT_HAVE_VERBS

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "godwit/fabric/address.h"
#include "godwit/fabric/arena.h"
#include "godwit/fabric/verbs_options.h"
#include "verbs/device.h"
#include "verbs/handles.h"
#include "verbs/link.h"
#include "verbs/wire.h"

namespace godwit::fabric::testing {

/// Sends bytes as they are, up to what a slot holds, in one message.
bool send_raw(verbs::Device& device, verbs::Link& link, std::string_view bytes);

/// A header of that kind, with that length, and the body.
std::string verbs_message(verbs::Kind kind, std::string_view body, std::uint32_t length);

class VerbsRawPeer {
 public:
  /// `step` moves whatever else must move while the peer waits, as an engine in this process.
  VerbsRawPeer(EngineAddress target, std::function<void()> step);

  /// A new connection instead of the one before. False: refused.
  bool dial(std::string_view introduction);
  void hang_up() { link_.reset(); }
  /// Messages go to the link that the engine named.
  void name_link() { link_->peer_id = told_; }

  bool send(std::string_view bytes) { return send_raw(*device_, *link_, bytes); }

 private:
  int next_event();

  const EngineAddress target_;
  std::function<void()> step_;
  std::unique_ptr<Arena> arena_;
  VerbsOptions options_;
  verbs::Handle<rdma_event_channel> channel_;
  std::unique_ptr<verbs::Device> device_;
  std::unique_ptr<verbs::Link> link_;
  std::uint32_t told_ = 0;
};

}  // namespace godwit::fabric::testing

#endif
