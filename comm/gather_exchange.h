// Compressed average in one stage: every rank's message goes to everybody, and everybody adds them
// up in rank order:
//
//   x = message + residual; q = C(x)                                (ErrorControl keeps x - q)
//   answer = (1/N) sum_k q_k in rank order in fp32                  (all-gather of lengths, of q)
//
// One loss instead of two (comm/two_stage_exchange.h), but what a rank sends grows with the number
// of ranks: N - 1 copies of its message. For top-k of density d this is less than a dense ring as
// long as d (4 + index bytes) (N - 1) < 8 (N - 1) / N, about d < 1 / N.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "comm/codec/codec.h"
#include "comm/error_control.h"
#include "comm/exchange.h"
#include "comm/group.h"

namespace terse {

class GatherExchange final : public Exchange {
 public:
  // Error(usage) for another device than the CPU.
  GatherExchange(Group group, std::unique_ptr<Codec> codec, const FeedbackOptions& feedback = {},
                 at::Device device = at::kCPU);
  ~GatherExchange() override;

  std::string name() const override;
  void attach(const BucketPlan& plan) override;
  void set_live(int64_t bucket, const at::Tensor& words) override;
  void set_parameters(int64_t bucket, std::span<const double> parameters) override;
  void set_density(double density) override;
  bool keeps_message(int64_t) const override { return false; }
  int rounds() const override { return 2; }
  void start(int64_t bucket, const at::Tensor& message) override;
  void advance(int64_t bucket, int round) override;
  void finish(int64_t bucket, at::Tensor answer) override;

  bool selects() const override { return codec_->id() == CodecId::topk; }
  std::span<const int64_t> selected(int64_t bucket) const override;
  int64_t wire_bytes(int64_t bucket) const override;
  int64_t encodes() const override { return encodes_; }

  void commit() override;
  void rollback() override;
  void reset_residuals() override;
  double residual_norm() const override;

  void save(StateWriter& state) const override;
  void load(const StateReader& state) override;

  at::Tensor worker_residual(int64_t bucket) const override { return control_.residual(bucket); }

 private:
  struct Slot;
  Slot& slot(int64_t bucket) const { return *slots_.at(static_cast<size_t>(bucket)); }
  std::unique_ptr<Slot> make_slot(const Bucket& bucket, std::span<const double> parameters) const;
  void take_over_owners(const StateReader& state);

  Group group_;
  std::unique_ptr<Codec> codec_;
  at::Device device_;
  BucketPlan plan_;
  std::vector<std::unique_ptr<Slot>> slots_;
  ErrorControl control_;
  int64_t encodes_ = 0;
};

}  // namespace terse
