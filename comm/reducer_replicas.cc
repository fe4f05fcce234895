#include "comm/reducer_replicas.h"

#include <ATen/ATen.h>

#include <cstring>
#include <string>

#include "base/checksum.h"
#include "base/error.h"
#include "base/tensor_view.h"

namespace terse {
namespace {

std::vector<uint64_t> tensor_hashes(const BucketPlan& plan,
                                    const std::vector<BucketTensors>& tensors) {
  std::vector<uint64_t> hashes;
  for (const Bucket& bucket : plan.buckets) {
    const at::Tensor host = tensors[static_cast<size_t>(bucket.index)].value.cpu();
    const float* data = host.const_data_ptr<float>();
    for (const Segment& s : bucket.segments)
      hashes.push_back(checksum(bytes_of(data + s.offset, s.size)));
  }
  return hashes;
}

[[noreturn]] void name_difference(Group& group, const BucketPlan& plan,
                                  const std::vector<uint64_t>& own) {
  const auto all = group.all_gather_bytes(std::as_bytes(std::span(own)), "replica check");
  size_t index = 0;
  for (const Bucket& bucket : plan.buckets)
    for (const Segment& s : bucket.segments) {
      const size_t at = index++ * sizeof(uint64_t);
      std::string ranks;
      for (size_t rank = 1; rank < all.size(); ++rank)
        if (std::memcmp(&all[rank][at], &all[0][at], sizeof(uint64_t)) != 0)
          ranks += fmt::format(" {}", rank);
      if (!ranks.empty())
        fail(ExitCode::disagree,
             "'{}' is not the same on all ranks: rank(s){} differ from rank 0; resume all ranks "
             "from the same checkpoint",
             s.name, ranks);
    }
  TERSE_CHECK(false, "hashes differ, but no tensor's");
}

}  // namespace

void compare_replicas(Group& group, const BucketPlan& plan,
                      const std::vector<BucketTensors>& tensors) {
  const std::vector<uint64_t> hashes = tensor_hashes(plan, tensors);
  const uint64_t own = checksum(bytes_of(hashes.data(), static_cast<int64_t>(hashes.size())));
  const std::vector<uint64_t> all = group.all_gather_value(own, "replica check");
  for (uint64_t other : all)
    if (other != all[0]) name_difference(group, plan, hashes);
}

}  // namespace terse
