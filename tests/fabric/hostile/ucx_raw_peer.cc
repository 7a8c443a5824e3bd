#ifdef GODWIT_HAVE_UCX

#include "fabric/hostile/ucx_raw_peer.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <utility>

#include "fabric/test_engine.h"

namespace godwit::fabric::testing {

using namespace std::chrono_literals;
using ucx::kFrameAm;
using ucx::kGoodbyeAm;
using ucx::kHandshakeAm;
using ucx::WireHeader;

namespace {

// What a corpus entry is sent as: as much of a header as there is, and the rest.
std::string header_of(const CorpusEntry& entry) {
  std::string header = entry.bytes.substr(0, sizeof(WireHeader));
  header.resize(sizeof(WireHeader));
  return header;
}

}  // namespace

UcxRawPeer::UcxRawPeer(const UcxOptions& options, EngineAddress target, std::function<void()> step)
    : target_(std::move(target)), step_(std::move(step)) {
  auto made = ucx::Worker::create(options);
  if (!made) {
    ADD_FAILURE() << made.error().to_string();
    return;
  }
  worker_ = std::move(*made);
  for (const unsigned id : {kHandshakeAm, kFrameAm, kGoodbyeAm})
    EXPECT_TRUE(worker_->set_handler(id, &UcxRawPeer::on_message, this));
}

bool UcxRawPeer::dial() {
  hang_up();
  heard_.clear();
  if (worker_ == nullptr) return false;
  const auto address = ucx::UcxSockaddr::parse(target_.ucx.front());
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_ERR_HANDLER | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE |
                      UCP_EP_PARAM_FIELD_FLAGS | UCP_EP_PARAM_FIELD_SOCK_ADDR;
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  params.err_handler.cb = [](void*, ucp_ep_h, ucs_status_t) {};  // it is hung up on: as it should
  params.flags = UCP_EP_PARAMS_FLAGS_CLIENT_SERVER;
  params.sockaddr = address->view();
  return ucp_ep_create(worker_->get(), &params, &endpoint_) == UCS_OK;
}

void UcxRawPeer::hang_up() {
  if (endpoint_ == nullptr) return;
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
  param.flags = UCP_EP_CLOSE_FLAG_FORCE;
  finish(ucp_ep_close_nbx(std::exchange(endpoint_, nullptr), &param));
}

void UcxRawPeer::step() {
  ucp_worker_progress(worker_->get());
  step_();
}

std::optional<ucx::ConnectionKey> UcxRawPeer::become_member(std::uint32_t dc) {
  const Identity identity{EngineId::random(), "hostile",
                          [](std::uint32_t) { return std::optional(key_of(1)); }};
  Handshake::Offer offer;
  offer.transport_data = ucx::encode_key(77);
  Handshake handshake = Handshake::dial(identity, dc, offer, target_.engine);
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
  return ucx::decode_key(handshake.peer_transport_data());
}

void UcxRawPeer::send_as_stranger(const CorpusEntry& entry) {
  constexpr unsigned kEager = UCP_AM_SEND_FLAG_EAGER, kReply = UCP_AM_SEND_FLAG_REPLY;
  const std::string header = header_of(entry);
  const std::string rest = entry.bytes.substr(std::min(entry.bytes.size(), sizeof(WireHeader)));
  // A frame first, of no connection: it is dropped. Then everything that is no handshake.
  send(kFrameAm, header, rest, kEager);
  send(kFrameAm, header, entry.bytes, UCP_AM_SEND_FLAG_RNDV);
  send(kFrameAm, entry.bytes.substr(0, 100), rest, kEager);
  send(kHandshakeAm, header, entry.bytes, UCP_AM_SEND_FLAG_RNDV | kReply);
  send(kHandshakeAm, {}, entry.bytes, kEager);
  send(kGoodbyeAm, header, rest, kEager);
  send(kHandshakeAm, {}, entry.bytes, kEager | kReply);
  send(kGoodbyeAm, header, entry.bytes, kEager | kReply);
}

void UcxRawPeer::send_as_member(const CorpusEntry& entry, ucx::ConnectionKey key) {
  std::string header = header_of(entry);
  std::memcpy(header.data() + offsetof(WireHeader, key), &key, sizeof key);
  // Lengths and numbers as they come from the corpus, by each of the ways.
  send(kFrameAm, header, entry.bytes, UCP_AM_SEND_FLAG_EAGER);
  send(kFrameAm, header, entry.bytes, UCP_AM_SEND_FLAG_RNDV);
  // A number that was there before, or is far away.
  WireHeader sound;
  sound.key = key;
  sound.frame.length = static_cast<std::uint32_t>(entry.bytes.size());
  sound.frame.fabric = 1'000'000;
  send(kFrameAm, {reinterpret_cast<const char*>(&sound), sizeof sound}, entry.bytes,
       UCP_AM_SEND_FLAG_EAGER);
}

ucs_status_t UcxRawPeer::on_message(void* self, const void*, std::size_t, void* data,
                                    std::size_t length, const ucp_am_recv_param_t* param) {
  if ((param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) == 0)
    static_cast<UcxRawPeer*>(self)->heard_.emplace_back(static_cast<const char*>(data), length);
  return UCS_OK;
}

void UcxRawPeer::send(unsigned id, std::string_view header, std::string_view data, unsigned flags) {
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
  param.flags = flags;
  finish(ucp_am_send_nbx(endpoint_, id, header.data(), header.size(), data.data(), data.size(),
                         &param));
}

void UcxRawPeer::finish(ucs_status_ptr_t request) {
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

}  // namespace godwit::fabric::testing

#endif
