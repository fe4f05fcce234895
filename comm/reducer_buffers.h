// The Reducer's flat memory: parameters and gradients re-homed into buckets, and the hooks that say
// when a bucket's gradient is final.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "comm/bucket.h"
#include "comm/optimizer.h"
#include "comm/parameter.h"

namespace terse {

class ReducerBuffers {
 public:
  // Buckets in reverse order of `parameters`, which come in forward order. Values are copied into
  // the buckets; each parameter's storage becomes a view of its bucket, each .grad a view of the
  // bucket's gradient, zeros.
  ReducerBuffers(std::vector<Parameter> parameters, int64_t bucket_bytes, bool rounded);
  ~ReducerBuffers();  // removes the hooks; values and gradients stay where they are
  ReducerBuffers(const ReducerBuffers&) = delete;
  ReducerBuffers& operator=(const ReducerBuffers&) = delete;

  const BucketPlan& plan() const { return plan_; }
  const std::vector<BucketTensors>& tensors() const { return tensors_; }
  BucketTensors& operator[](int64_t bucket) { return tensors_[static_cast<size_t>(bucket)]; }

  // From now on calls ready(bucket) when the last gradient of a bucket has been accumulated, on the
  // thread that runs backward; each parameter may accumulate once.
  void arm(std::function<void(int64_t)> ready);
  void disarm();
  void zero_gradients();
  // View of the bf16 copy of a parameter; undefined without one.
  at::Tensor rounded(const std::string& name) const;

 private:
  struct Member {
    Parameter parameter;
    at::Tensor gradient;  // view of the bucket
    int64_t bucket = 0;
    bool done = false;
  };
  class Hook;
  void make_plan(int64_t bucket_bytes);
  void rehome(bool rounded);
  void accumulated(size_t member);

  BucketPlan plan_;
  std::vector<BucketTensors> tensors_;
  std::vector<Member> members_;   // in the order of the plan
  std::vector<int64_t> missing_;  // by bucket: gradients still to come
  std::function<void(int64_t)> ready_;
};

}  // namespace terse
