// HostileUcxPeer: a peer that speaks UCX and not our protocol sends the corpora of the fuzz targets
// as handshakes, frames and goodbyes; as a stranger, and as a member that knows the connection's
// key. Each is refused or ignored, nothing of it is delivered, and a good peer is served
// afterwards.
//
// Bytes below UCX's active messages are UCX's own to check; it does not (docs/ucx.md).
#include <gtest/gtest.h>

#ifdef GODWIT_HAVE_UCX

#include <algorithm>
#include <cstring>
#include <string>

#include "fabric/hostile/corpus.h"
#include "fabric/ucx_engine.h"

namespace godwit::fabric::ucx {
namespace {

using namespace std::chrono_literals;
using testing::CorpusEntry;

DcKey test_key() {
  DcKey key{};
  key.fill(1);
  return key;
}

/// A worker of its own, and one endpoint to the engine under test.
class RawPeer {
 public:
  RawPeer(const UcxOptions& options, UcxEngine& target) : target_(target) {
    auto made = Worker::create(options);
    if (!made) {
      ADD_FAILURE() << made.error().to_string();
      return;
    }
    worker_ = std::move(*made);
    for (const unsigned id : {kHandshakeAm, kFrameAm, kGoodbyeAm})
      EXPECT_TRUE(worker_->set_handler(id, &RawPeer::on_message, this));
  }
  ~RawPeer() { hang_up(); }

  bool dial() {
    hang_up();
    failed_ = false;
    heard_.clear();
    const auto address = UcxSockaddr::parse(target_.address.ucx.front());
    ucp_ep_params_t params{};
    params.field_mask = UCP_EP_PARAM_FIELD_ERR_HANDLER | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE |
                        UCP_EP_PARAM_FIELD_FLAGS | UCP_EP_PARAM_FIELD_SOCK_ADDR;
    params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
    params.err_handler.cb = [](void* self, ucp_ep_h, ucs_status_t) {
      static_cast<RawPeer*>(self)->failed_ = true;
    };
    params.err_handler.arg = this;
    params.flags = UCP_EP_PARAMS_FLAGS_CLIENT_SERVER;
    params.sockaddr = address->view();
    return ucp_ep_create(worker_->get(), &params, &endpoint_) == UCS_OK;
  }

  void hang_up() {
    if (endpoint_ == nullptr) return;
    ucp_request_param_t param{};
    param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
    param.flags = UCP_EP_CLOSE_FLAG_FORCE;
    finish(ucp_ep_close_nbx(std::exchange(endpoint_, nullptr), &param));
  }

  /// Sends one active message, and waits until UCX has sent it or given up. A rendezvous is given
  /// up by the engine that does not fetch it, or when the connection ends.
  void send(unsigned id, std::string_view header, std::string_view data, unsigned flags) {
    ucp_request_param_t param{};
    param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
    param.flags = flags;
    finish(ucp_am_send_nbx(endpoint_, id, header.data(), header.size(), data.data(), data.size(),
                           &param));
  }

  /// The handshake of a member; the key for frames, or nothing.
  std::optional<ConnectionKey> become_member() {
    const Identity identity{EngineId::random(), "hostile",
                            [](std::uint32_t) { return std::optional(test_key()); }};
    Handshake::Offer offer;
    offer.transport_data = encode_key(77);
    Handshake handshake = Handshake::dial(identity, UcxEngine::kDc, offer, target_.address.engine);
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (handshake.state() == Handshake::State::running) {
      for (const std::string& message : handshake.take_output())
        send(kHandshakeAm, {}, message, UCP_AM_SEND_FLAG_EAGER | UCP_AM_SEND_FLAG_REPLY);
      step();
      for (const std::string& message : std::exchange(heard_, {}))
        handshake.on_message(std::as_bytes(std::span(message)));
      if (std::chrono::steady_clock::now() > end) return std::nullopt;
    }
    if (handshake.state() != Handshake::State::established) return std::nullopt;
    return decode_key(handshake.peer_transport_data());
  }

  void step() {
    ucp_worker_progress(worker_->get());
    target_.transport->progress();
  }
  bool failed() const { return failed_; }

 private:
  static ucs_status_t on_message(void* self, const void*, std::size_t, void* data,
                                 std::size_t length, const ucp_am_recv_param_t* param) {
    if ((param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) == 0)
      static_cast<RawPeer*>(self)->heard_.emplace_back(static_cast<const char*>(data), length);
    return UCS_OK;
  }

  void finish(ucs_status_ptr_t request) {
    if (!UCS_PTR_IS_PTR(request)) return;
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (ucp_request_check_status(request) == UCS_INPROGRESS) {
      step();
      if (std::chrono::steady_clock::now() > end) {
        ADD_FAILURE() << "a request of the raw peer never ends";
        break;
      }
    }
    ucp_request_free(request);
  }

  UcxEngine& target_;
  std::unique_ptr<Worker> worker_;
  ucp_ep_h endpoint_ = nullptr;
  bool failed_ = false;
  std::vector<std::string> heard_;
};

class HostileUcxPeer : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (const std::string why = unavailable(GetParam()); !why.empty()) GTEST_SKIP() << why;
  }
  static UcxOptions options() {
    UcxOptions options;
    options.host = "127.0.0.1";
    if (GetParam() == std::string(kRdma)) {
      options.host = rdma_hosts().front();
    } else {
      options.tls = GetParam();
    }
    return options;
  }
  static void expect_good_service(UcxEngine& target) {
    const std::size_t received = target.received;
    UcxEngine good(GetParam());
    auto dialed = good.transport->connect(target.address, UcxEngine::kDc);
    ASSERT_TRUE(dialed);
    ASSERT_TRUE(run_until({&good, &target}, [&] { return (*dialed)->established(); }));
    for (const std::uint32_t size : {100u, 200'000u}) {
      FramePtr frame = good.frame(size, 3);
      ASSERT_EQ((*dialed)->post(frame), SendStatus::sent);
    }
    ASSERT_TRUE(run_until({&good, &target}, [&] { return target.received == received + 2; }));
  }
};

// What a corpus entry is sent as.
std::string header_of(const CorpusEntry& entry) {
  std::string header = entry.bytes.substr(0, sizeof(WireHeader));
  header.resize(sizeof(WireHeader));
  return header;
}

TEST_P(HostileUcxPeer, AStrangerIsNeverBelievedAndAGoodPeerIsServedAfterwards) {
  UcxEngine target(GetParam());
  RawPeer raw(options(), target);
  for (const CorpusEntry& entry : testing::hostile_corpus()) {
    SCOPED_TRACE(entry.name);
    const std::string rest = entry.bytes.substr(std::min(entry.bytes.size(), sizeof(WireHeader)));
    ASSERT_TRUE(raw.dial());
    constexpr unsigned kReply = UCP_AM_SEND_FLAG_REPLY;
    // A frame first, of no connection: it is dropped. Then everything that is no handshake.
    raw.send(kFrameAm, header_of(entry), rest, UCP_AM_SEND_FLAG_EAGER);
    raw.send(kFrameAm, header_of(entry), entry.bytes, UCP_AM_SEND_FLAG_RNDV);
    raw.send(kFrameAm, entry.bytes.substr(0, 100), rest, UCP_AM_SEND_FLAG_EAGER);
    raw.send(kHandshakeAm, header_of(entry), entry.bytes, UCP_AM_SEND_FLAG_RNDV | kReply);
    raw.send(kHandshakeAm, {}, entry.bytes, UCP_AM_SEND_FLAG_EAGER);
    raw.send(kGoodbyeAm, header_of(entry), rest, UCP_AM_SEND_FLAG_EAGER);
    raw.send(kHandshakeAm, {}, entry.bytes, UCP_AM_SEND_FLAG_EAGER | kReply);
    raw.send(kGoodbyeAm, header_of(entry), entry.bytes, UCP_AM_SEND_FLAG_EAGER | kReply);
    // Its connection ends: by the goodbye at the latest.
    const std::size_t before = target.closed.size();
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (target.closed.size() == before && std::chrono::steady_clock::now() < end) raw.step();
    ASSERT_EQ(target.closed.size(), before + 1);
    ASSERT_TRUE(target.live.empty()) << "a stranger was believed";
    ASSERT_EQ(target.received, 0u);
  }
  raw.hang_up();
  EXPECT_TRUE(run_until({&target}, [&] { return target.clean(); }));
  expect_good_service(target);
}

TEST_P(HostileUcxPeer, AMemberThatBreaksTheProtocolLosesItsConnectionAlone) {
  UcxEngine target(GetParam());
  UcxEngine bystander(GetParam());
  auto dialed = bystander.transport->connect(target.address, UcxEngine::kDc);
  ASSERT_TRUE(dialed);
  ASSERT_TRUE(run_until({&bystander, &target},
                        [&] { return (*dialed)->established() && target.live.size() == 1; }));
  RawPeer raw(options(), target);
  std::size_t refused = 0;
  for (const CorpusEntry& entry : testing::hostile_corpus()) {
    SCOPED_TRACE(entry.name);
    ASSERT_TRUE(raw.dial());
    const auto key = raw.become_member();
    ASSERT_TRUE(key) << "the handshake of the raw peer fails";
    ASSERT_TRUE(run_until({&bystander, &target}, [&] { return target.live.size() == 2; }));
    std::string header = header_of(entry);
    std::memcpy(header.data() + offsetof(WireHeader, key), &*key, sizeof *key);
    const std::size_t closed = target.closed.size();
    // Lengths and numbers as they come from the corpus, by each of the ways.
    raw.send(kFrameAm, header, entry.bytes, UCP_AM_SEND_FLAG_EAGER);
    raw.send(kFrameAm, header, entry.bytes, UCP_AM_SEND_FLAG_RNDV);
    // A number that was there before, or is far away.
    WireHeader sound;
    sound.key = *key;
    sound.frame.length = static_cast<std::uint32_t>(entry.bytes.size());
    sound.frame.fabric = 1'000'000;
    raw.send(kFrameAm, {reinterpret_cast<const char*>(&sound), sizeof sound}, entry.bytes,
             UCP_AM_SEND_FLAG_EAGER);
    const auto end = std::chrono::steady_clock::now() + 10s;
    while (target.closed.size() == closed && std::chrono::steady_clock::now() < end) {
      raw.step();
      bystander.transport->progress();
    }
    ASSERT_EQ(target.closed.size(), closed + 1);
    EXPECT_EQ(target.closed.back().code, Errc::protocol_error) << target.closed.back().to_string();
    ++refused;
  }
  EXPECT_GT(refused, 50u);
  raw.hang_up();
  // The others' connections were not touched.
  const std::size_t received = target.received;
  FramePtr frame = bystander.frame(100, 1);
  ASSERT_EQ((*dialed)->post(frame), SendStatus::sent);
  EXPECT_TRUE(run_until({&bystander, &target}, [&] { return target.received == received + 1; }));
  EXPECT_TRUE(run_until({&bystander, &target}, [&] { return target.clean(); }));
}

INSTANTIATE_TEST_SUITE_P(Over, HostileUcxPeer, ::testing::Values("tcp", kRdma),
                         [](const auto& each) { return std::string(each.param); });

}  // namespace
}  // namespace godwit::fabric::ucx

#endif
