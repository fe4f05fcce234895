// Residual: error feedback, kept per rank and parameter name.
//
// Two buffers a bucket: current(), what the last committed step left, and shadow(), what the step
// under way would leave. commit() swaps those that were written; rollback() forgets them. The
// worker residual covers whole buckets, the server residual this rank's chunk of each.
//
// State: "PREFIX/NAME", fp32, Scope::own, one tensor per parameter (its part inside the range), and
// "PREFIX/NAME.begin", where in the parameter it begins. Loading on the same number of ranks is
// bitwise. On another number: every element becomes the mean over the saved ranks that kept it (all
// ranks for a worker's, one for a server's, one a node under hierarchy), so that what future
// averages still owe is unchanged.
// Memory: 8 bytes an element covered, 4 in bf16. Not thread-safe.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/state.h"
#include "comm/bucket.h"

namespace terse {

class Residual {
 public:
  explicit Residual(std::string prefix) : prefix_(std::move(prefix)) {}

  // ranges[b]: the elements of bucket b that this rank keeps; starts at zero. `type`: fp32 or bf16;
  // a checkpoint holds fp32 in either case.
  void attach(const BucketPlan& plan, std::vector<Range> ranges, at::Device device,
              at::ScalarType type = at::kFloat);

  const at::Tensor& current(int64_t bucket) const;
  // To be filled completely; counts from commit() on.
  at::Tensor& shadow(int64_t bucket);

  void commit();
  void rollback();
  void zero();
  double squared_norm()
      const;  // of the committed buffers, in fp64, the same for every thread count

  void save(StateWriter& state) const;
  void load(const StateReader& state, int64_t ranks);

 private:
  struct Slot {
    Range range;
    at::Tensor current;
    at::Tensor shadow;
    bool written = false;
  };
  // A parameter's elements inside a slot's range.
  struct Part {
    size_t slot = 0;
    std::string name;
    Range inside;        // of the parameter
    int64_t offset = 0;  // of `inside` in the slot's buffers
  };

  void load_mean(const StateReader& state, const Part& part, float* out) const;

  std::string prefix_;
  std::vector<Slot> slots_;
  std::vector<Part> parts_;
};

}  // namespace terse
