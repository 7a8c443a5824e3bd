// UcxRawPeer: speaks UCX to an engine, and not our protocol unless told to. One thread.
#pragma once

#ifdef GODWIT_HAVE_UCX

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fabric/hostile/corpus.h"
#include "godwit/fabric/address.h"
#include "godwit/fabric/ucx_options.h"
#include "ucx/handles.h"
#include "ucx/wire.h"

namespace godwit::fabric::testing {

class UcxRawPeer {
 public:
  /// `step` moves whatever else must move while the peer waits, as an engine in this process.
  UcxRawPeer(const UcxOptions& options, EngineAddress target, std::function<void()> step);
  ~UcxRawPeer() { hang_up(); }
  UcxRawPeer(const UcxRawPeer&) = delete;
  UcxRawPeer& operator=(const UcxRawPeer&) = delete;

  /// A new connection instead of the one before.
  bool dial();
  void hang_up();
  void step();

  /// The handshake of a member; the key for frames, or nothing.
  std::optional<ucx::ConnectionKey> become_member(std::uint32_t dc);

  /// The bytes as everything that a stranger can send, and at last a goodbye.
  void send_as_stranger(const CorpusEntry& entry);
  /// The bytes as frames of the connection, with lengths and numbers that are wrong.
  void send_as_member(const CorpusEntry& entry, ucx::ConnectionKey key);

 private:
  static ucs_status_t on_message(void* self, const void* header, std::size_t header_length,
                                 void* data, std::size_t length, const ucp_am_recv_param_t* param);
  /// Sends one active message, and waits until UCX has sent it or given up. A rendezvous is given
  /// up by the engine that does not fetch it, or when the connection ends.
  void send(unsigned id, std::string_view header, std::string_view data, unsigned flags);
  void finish(ucs_status_ptr_t request);

  const EngineAddress target_;
  std::function<void()> step_;
  std::unique_ptr<ucx::Worker> worker_;
  ucp_ep_h endpoint_ = nullptr;
  std::vector<std::string> heard_;
};

}  // namespace godwit::fabric::testing

#endif
