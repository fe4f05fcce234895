// Two-stage compressed average with error feedback on both sides (1-bit Adam, arXiv:2102.02888,
// algorithm 1; comm/exchange.h has the rounds):
//
//   worker: x = message + e_w; q = C(x), scales over whole segments; e_w' = x - q;
//           chunk j of q goes to rank j                                          (all-to-all)
//   owner:  y = (1/N) sum_k q_k in rank order in fp32 + e_s; p = C(y), scales over its chunk;
//           e_s' = y - p; p goes to everybody                                    (all-gather)
//   answer: all ranks decode the same p, their own included.
//
// A codec whose messages vary in length (top-k) announces the lengths first, in a round of its own
// before each of the two; its owner selects again, which makes this a sparse reduce-scatter: what a
// rank sends does not grow with the number of ranks.
// The worker's side is an ErrorControl and may be EF21 or EControl (comm/error_control.h); shown is
// the classic policy. The owner's side is always classic.
//
// What is sent plus what is kept equals what came in: sum of answers + mean e_w + e_s = sum of mean
// messages, up to fp32 rounding. At size 1 codec and residuals run all the same and nothing is
// sent. Messages carry headers (docs/protocol.md); a wrong one is an Error(disagree).
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "comm/codec/codec.h"
#include "comm/error_control.h"
#include "comm/exchange.h"
#include "comm/group.h"
#include "comm/residual.h"

namespace terse {

class TwoStageExchange final : public Exchange {
 public:
  // On a GPU attach() throws Error(usage) unless the codec has kernels (Codec::bind_device) and
  // messages of fixed size, and the feedback is classic. The GPU must be the current one of every
  // thread that calls.
  TwoStageExchange(Group group, std::unique_ptr<Codec> codec, const FeedbackOptions& feedback = {},
                   at::Device device = at::kCPU);
  ~TwoStageExchange() override;

  std::string name() const override;
  void attach(const BucketPlan& plan) override;
  void set_parameters(int64_t bucket, std::span<const double> parameters) override;
  void set_density(double density) override;
  bool keeps_message(int64_t) const override { return false; }
  int rounds() const override { return fixed_size_ ? 2 : 4; }
  void start(int64_t bucket, const at::Tensor& message) override;
  void advance(int64_t bucket, int round) override;
  void finish(int64_t bucket, at::Tensor answer) override;
  bool finite(int64_t bucket, const at::Tensor& answer) const override;
  void set_live(int64_t bucket, const at::Tensor& words) override;

  bool selects() const override { return codec_->id() == CodecId::topk; }
  std::span<const int64_t> selected(int64_t bucket) const override;
  int64_t wire_bytes(int64_t bucket) const override;
  int64_t encodes() const override { return encodes_; }

  void commit() override;
  void rollback() override;
  void reset_residuals() override;
  double residual_norm() const override;  // of e_w

  void save(StateWriter& state) const override;
  void load(const StateReader& state) override;

  at::Tensor worker_residual(int64_t bucket) const override { return worker_.residual(bucket); }
  at::Tensor server_residual(int64_t bucket) const override { return server_.current(bucket); }

 private:
  struct Slot;
  Slot& slot(int64_t bucket) const { return *slots_.at(static_cast<size_t>(bucket)); }
  std::unique_ptr<Slot> make_slot(const Bucket& bucket, std::span<const double> parameters) const;
  void send_chunks(Slot& slot);
  void average_own_chunk(Slot& slot);
  void send_average(Slot& slot);
  std::unique_ptr<BoundCodec> bind(const Bucket& bucket, std::vector<Range> parts,
                                   std::span<const double> parameters) const;

  Group group_;
  std::unique_ptr<Codec> codec_;
  at::Device device_;
  BucketPlan plan_;
  std::vector<std::unique_ptr<Slot>> slots_;
  bool fixed_size_ = true;
  ErrorControl worker_;
  Residual server_;
  int64_t encodes_ = 0;
};

}  // namespace terse
