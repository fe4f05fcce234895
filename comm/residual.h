// Residual: error feedback, kept per rank and parameter name.
//
// Two buffers a bucket: current(), what the last committed step left, and shadow(), what the step
// under way would leave. commit() swaps those that were written; rollback() forgets them. The
// worker residual covers whole buckets, the server residual this rank's chunk of each.
//
// State: "PREFIX/NAME", fp32, Scope::own, one tensor per parameter (its part inside the range), and
// "PREFIX/NAME.begin", where in the parameter it begins. Where ranks share as those that saved
// (comm/saved_ranks.h) loading is bitwise. Otherwise every element becomes the mean over the saved
// ranks that kept it (all ranks for a worker's, one for a server's, one a node under hierarchy), so
// that what future averages still owe is unchanged.
// Memory: 8 bytes an element covered, 4 in bf16. Not thread-safe.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/state.h"
#include "comm/bucket.h"

namespace terse {

// Prefixes of what exchanges keep of their buckets: every rank of its messages, owners of averages.
inline constexpr const char* kWorkerResidual = "exchange/residual";
inline constexpr const char* kServerResidual = "exchange/server_residual";

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
  // `own`: every rank takes back what it saved itself. Error(invalid_file) if something is missing.
  void load(const StateReader& state, bool own);
  // Whether some rank has saved anything of this residual.
  bool saved(const StateReader& state) const;

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
