// PowerSGD (Vogels, Karimireddy, Jaggi, arXiv:1905.13727): a matrix is averaged as a product of two
// thin factors, each of which can be averaged exactly. For every matrix of a bucket
//
//   M = message + residual                                   [rows, columns]
//   P = mean over ranks of M Q;  P <- orthonormal columns    [rows, rank]
//   Q = mean over ranks of M^T P                             [columns, rank], kept for the next
//   step answer = P Q^T;  left = M - answer                       (ErrorControl,
//   comm/error_control.h)
//
// Both averages are dense exchanges (rank-ordered sums); orthonormalisation and P Q^T are our own,
// in fixed order: ranks stay replicas whatever processor each has. Vectors, and matrices where
// rank (rows + columns) 2 > rows columns, travel whole with P and leave no residual.
//
// The first Q is drawn from a seed that all ranks share. set_parameters() changes ranks (0: whole):
// columns of Q are cut off or drawn anew, what was learned stays (but of a matrix that went whole).
//
// Cost: 4 rank rows columns multiply-adds by ATen's products plus 2 rank rows columns by ours.
// Memory: factors, one bucket of fp32, the ErrorControl. fp32 residuals only.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "comm/dense_exchange.h"
#include "comm/error_control.h"
#include "comm/exchange.h"
#include "comm/group.h"

namespace terse {

struct PowerSgdOptions {
  int64_t rank = 4;
  FeedbackOptions feedback;
  // The group is part of the run and others have other matrices (hierarchical): every rank saves
  // the factors of its own. Otherwise rank 0 saves them for all.
  bool own_matrices = false;
};

class LowRankExchange final : public Exchange {
 public:
  // Error(usage) for bf16 residuals or another device than the CPU.
  LowRankExchange(Group group, const PowerSgdOptions& options, at::Device device = at::kCPU);
  ~LowRankExchange() override;

  std::string name() const override;
  void attach(const BucketPlan& plan) override;
  void set_live(int64_t bucket, const at::Tensor& words) override;
  void set_parameters(int64_t bucket, std::span<const double> parameters) override;
  int rounds() const override { return 4; }
  void start(int64_t bucket, const at::Tensor& message) override;
  void advance(int64_t bucket, int round) override;
  void finish(int64_t bucket, at::Tensor answer) override;

  int64_t wire_bytes(int64_t bucket) const override;
  int64_t encodes() const override { return encodes_; }

  void commit() override;
  void rollback() override;
  void reset_residuals() override;
  double residual_norm() const override;

  void save(StateWriter& state) const override;
  void load(const StateReader& state) override;

  at::Tensor worker_residual(int64_t bucket) const override { return control_.residual(bucket); }
  // For tests: Q^T [rank, columns] of a segment; undefined: it travels whole.
  at::Tensor factor(int64_t bucket, const std::string& segment) const;

 private:
  struct Matrix;
  struct Slot;
  Slot& slot(int64_t bucket) const { return *slots_.at(static_cast<size_t>(bucket)); }
  void plan_slot(Slot& slot, std::span<const double> parameters) const;
  void attach_factors();
  void multiply_q(Slot& slot, const at::Tensor& message);
  void multiply_p(Slot& slot);

  Group group_;
  PowerSgdOptions options_;
  at::Device device_;
  BucketPlan plan_;
  std::vector<std::unique_ptr<Slot>> slots_;
  ErrorControl control_;
  std::unique_ptr<DenseExchange> first_, second_;  // averages of P and whole segments, of Q
  at::Tensor product_;                             // P Q^T of the bucket being finished
  int64_t encodes_ = 0;
};

}  // namespace terse
