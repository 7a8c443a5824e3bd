// SettledWrite: decides what to do about one write (or multi) until its outcome is
// known, however often the connection is lost under it. A pure state machine: the
// answers of the store in, the next step out; no socket, no clock, no thread.
//
// Why it is needed: a write answered by "connection lost" may have happened, may still
// have failed, or may never have reached the store. To issue it again blindly could
// do it twice; to report failure could be a lie. So each write leaves a nonce in its
// records, and after a loss one of them, the witness, is read (behind a sync, on a
// session whose earlier requests can no longer take effect) and judged:
//
//   nonce in the witness's trail          → it happened: finished, ok
//   witness still at the expected version → it did not: issue it again
//   trail complete, nonce not in it       → it did not and no longer can: bad_version
//                                           or node_exists
//   trail incomplete                      → outcome_unknown
//
// A re-issued write that is refused is judged once more, since the refusal may come
// from the first issue having succeeded.
//
// Owner: ZooKeeperCoordinator, on its callback thread.
#pragma once

#include <godwit/coord/coordinator.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace godwit::coord {

class SettledWrite {
 public:
  enum class Step {
    issue,     // send ops() to the store, then answered() or lost()
    verify,    // sync and read witness(), then witnessed() or lost()
    finished,  // take_result()
  };

  // `nonce` is unique among all writes of all participants. ops() are the operations
  // as they are to be stored, data in envelopes.
  SettledWrite(std::vector<WriteOp> ops, std::uint64_t nonce);

  const std::vector<WriteOp>& ops() const { return ops_; }
  // To be told at each issue; from the first on the write may have happened.
  void issued() { ++issues_; }
  bool was_issued() const { return issues_ > 0; }

  // The store's answer to an issue: the records' versions, one for each operation, or
  // an error that means "not executed by this issue".
  Step answered(Result<std::vector<std::int32_t>> versions, SessionId session);
  // No answer to an issue or a verify. `session_ended`: the session in which it was
  // issued no longer exists.
  Step lost(bool session_ended);
  // The witness as read: a record in its envelope's terms, or no_node. (Any other
  // failure to read: lost().)
  const std::string& witness() const;
  Step witnessed(const Result<Record>& record);

  Result<std::vector<Stat>> take_result() { return std::move(*result_); }

 private:
  enum class Verdict { happened, not_yet, refused, unknown };
  Verdict judge(const Result<Record>& record, Error& refusal) const;
  Step finish(Result<std::vector<Stat>> result);
  Step after_loss();
  std::vector<Stat> stats(const std::vector<std::int32_t>& versions, SessionId session) const;
  std::vector<Stat> stats_of_witness(const Record& record) const;

  std::vector<WriteOp> ops_;
  std::vector<WriteTrail> trails_;  // that each op leaves; empty for remove and check
  std::uint64_t nonce_;
  int witness_ = -1;  // index in ops_; -1: no op leaves a nonce
  bool has_ephemeral_ = false;
  bool session_ended_ = false;
  bool was_lost_ = false;
  int issues_ = 0;
  std::optional<Error> refusal_;  // of a re-issue, being judged
  std::optional<Result<std::vector<Stat>>> result_;
};

}  // namespace godwit::coord
