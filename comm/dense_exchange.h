// Dense average: all-to-all of chunks, each owner sums its chunk in rank order in fp32 and scales
// it by 1 / N, all-gather. A ring's volume, 2 n (N - 1) / N elements, and the same bytes on every
// backend, thread count and instruction set.
//
// bf16 on the wire: every rank's message is rounded once to bf16, summed in fp32, and the average
// is rounded once more for the way back: relative error at most 2^-8 of the largest message's share
// plus 2^-8 of the answer.
#pragma once
#include <cstdint>
#include <vector>

#include "comm/exchange.h"
#include "comm/group.h"

namespace terse {

struct DenseOptions {
  bool bf16 = false;
  // The backend's all-reduce instead, fp32 only: equal on all ranks, but the order of the sum is
  // the backend's.
  bool backend_all_reduce = false;
};

class DenseExchange final : public Exchange {
 public:
  DenseExchange(Group group, DenseOptions options, at::Device device = at::kCPU);

  std::string name() const override;
  void attach(const BucketPlan& plan) override;
  int rounds() const override { return options_.backend_all_reduce ? 1 : 2; }
  void start(int64_t bucket, const at::Tensor& message) override;
  void advance(int64_t bucket, int round) override;
  void finish(int64_t bucket, at::Tensor answer) override;
  int64_t wire_bytes(int64_t bucket) const override;

 private:
  struct Slot {
    int64_t size = 0;
    std::vector<int64_t> chunks;  // elements, by rank
    std::vector<int64_t> own;     // this rank's chunk, once per rank
    at::Tensor sent;              // bf16 only: the rounded message
    at::Tensor received;          // own chunk from every rank
    at::Tensor mean;              // own chunk
    at::Tensor gathered;          // all chunks, in the wire type
    Pending pending;
  };

  void average(Slot& slot) const;

  Group group_;
  DenseOptions options_;
  at::Device device_;
  std::vector<Slot> slots_;
};

}  // namespace terse
