// What the exchange programs share: a rank's group, inputs, and failing loudly.
#pragma once
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cstring>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>

#include "comm/exchange.h"
#include "comm/group.h"

namespace terse::testing {

// Where tensors are exchanged; the program sets it.
inline at::Device exchange_device = at::kCPU;

inline void expect(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error(what);
}

// One bucket per inner list.
inline BucketPlan plan_of(const std::vector<std::vector<int64_t>>& sizes) {
  BucketPlan plan;
  for (const auto& segments : sizes) {
    Bucket bucket{static_cast<int64_t>(plan.buckets.size()), 0, {}};
    for (const int64_t size : segments) {
      const std::string name = fmt::format("b{}.s{}", bucket.index, bucket.segments.size());
      bucket.segments.push_back({name, bucket.size, size, 1, size, true});
      bucket.size += size;
    }
    plan.buckets.push_back(std::move(bucket));
  }
  return plan;
}

// [-1, 1) from element and stream number; tests/peers/deepspeed_onebit.py has the same function.
inline float uniform(int64_t i, int64_t stream) {
  auto h = static_cast<uint32_t>(static_cast<uint64_t>(i) * 2654435761u +
                                 static_cast<uint64_t>(stream) * 40503u + 12345u);
  h ^= h >> 16;
  h *= 0x85ebca6bu;
  h ^= h >> 13;
  h *= 0xc2b2ae35u;
  h ^= h >> 16;
  return static_cast<float>(h >> 8) * 0x1p-23f - 1.0f;
}

inline at::Tensor host_message(int64_t n, int64_t rank, int64_t call) {
  at::Tensor out = at::empty({n}, at::kFloat);
  float* x = out.mutable_data_ptr<float>();
  for (int64_t i = 0; i < n; ++i) {
    const float base = uniform(i, rank);
    x[i] = base * base * base + 0.25f * uniform(i, 100 + rank + 16 * call);
  }
  return out;
}

inline at::Tensor message(int64_t n, int64_t rank, int64_t call) {
  return host_message(n, rank, call).to(exchange_device);
}

// One whole average of one bucket, without commit. A message that need not be kept is spoilt.
inline at::Tensor average(Exchange& exchange, int64_t bucket, const at::Tensor& message) {
  at::Tensor answer = at::full_like(message, 77.0f);
  const at::Tensor lent = message.clone();
  exchange.start(bucket, lent);
  if (!exchange.keeps_message(bucket)) lent.fill_(std::numeric_limits<float>::quiet_NaN());
  for (int r = 1; r < exchange.rounds(); ++r) exchange.advance(bucket, r);
  exchange.finish(bucket, answer);
  return answer;
}

// Of all elements together, in fp64.
inline double relative_error(const at::Tensor& ours, const at::Tensor& wanted) {
  const at::Tensor reference = wanted.to(at::kDouble);
  return ((ours.to(at::kDouble) - reference).norm() / reference.norm()).item<double>();
}

inline uint64_t bytes_hash(const at::Tensor& tensor) {
  uint64_t h = 1469598103934665603u;
  const at::Tensor host = tensor.cpu();
  const auto* p = static_cast<const unsigned char*>(host.const_data_ptr());
  for (size_t i = 0; i < host.nbytes(); ++i) h = (h ^ p[i]) * 1099511628211u;
  return h;
}

// The same bytes on every rank.
inline void expect_replicas(Group& group, const at::Tensor& tensor, const std::string& what) {
  const auto hashes = group.all_gather_value(bytes_hash(tensor));
  for (const uint64_t h : hashes) expect(h == hashes[0], what + ": ranks differ");
}

// A SelectExchange that takes the next of `selections` at every commit, for two buckets: "fp32",
// "fp32*1 onebit*1", ... of fp32, onebit, bits, gather, scatter (top-k), lowrank.
std::unique_ptr<Exchange> make_switching(Group& group, const std::vector<std::string>& selections);
// The same between nodes.
std::unique_ptr<Exchange> make_switching_between(Group& group, int64_t ranks_per_node,
                                                 const std::vector<std::string>& selections);

// The parts of the test, each in a file of its own.
void check_dense(Group& group);
void check_two_stage(Group& group);
void check_compressed(Group& group);
void check_lgreco(Group& group);
void check_low_rank(Group& group);
void check_switching(Group& group);
void check_auto_between(Group& group);  // on 4 ranks
void check_resharding(Group& group);    // on 4 ranks
void check_state(Group& group);
void check_deepspeed(Group& group, const std::string& golden);
void check_powersgd(Group& group, const std::string& golden);
// Prints a hash of everything that was exchanged, equal for every backend and launcher, and one of
// the codecs that GPUs have kernels for, "portable", equal on every device as well.
void print_transport_hash(Group& group);

}  // namespace terse::testing
