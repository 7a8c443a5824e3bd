// A TCP proxy on loopback that cuts connections at planted moments: after it has passed
// a number of bytes of requests on, and before it passes their answers back. So the
// server has what the client will never know.
//
// Owner: a test. Its thread forwards; cut_next() may be called from any thread.
#pragma once

#include <atomic>
#include <string>
#include <thread>

namespace godwit::coord {

class CuttingProxy {
 public:
  explicit CuttingProxy(int server_port);
  CuttingProxy(const CuttingProxy&) = delete;
  CuttingProxy& operator=(const CuttingProxy&) = delete;
  ~CuttingProxy();

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  // From now on no answers pass; when `requests` bytes more were passed on, the
  // connection is cut. Then the proxy serves again.
  void cut_after(std::size_t requests) { cut_after_ = static_cast<long>(requests); }
  // While set, connections are cut at once.
  void set_refusing(bool refusing) { refusing_ = refusing; }
  int cuts() const { return cuts_; }

 private:
  void run();
  void serve(int client);

  int listener_ = -1;
  int port_ = 0;
  const int server_port_;
  std::atomic<long> cut_after_{-1};
  std::atomic<int> cuts_{0};
  std::atomic<bool> refusing_{false};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace godwit::coord
