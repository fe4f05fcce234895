// How top-k sends a bucket: which segments are sparse, how many elements of each, and the parts.
// Shared by the codecs of CPUs and GPUs.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "comm/codec/codec.h"
#include "comm/codec/topk.h"
#include "comm/codec/topk_message.h"

namespace terse {

// With values in bf16 a smaller magnitude rounds to zero, which is never sent.
inline constexpr int32_t kLeastBf16 = 0x8001;

class TopKPlan {
 public:
  // `densities`: one a segment, in (0, 1]; 1 is sent whole.
  TopKPlan(const Bucket& bucket, std::span<const Range> parts, const TopKOptions& options,
           std::span<const double> densities);

  const std::vector<TopKPart>& parts() const { return parts_; }
  const TopKPart& part(int64_t j) const { return parts_[static_cast<size_t>(j)]; }
  const std::vector<Range>& ranges() const { return ranges_; }  // of the sparse segments
  // k of each when all elements are live.
  const std::vector<int64_t>& most() const { return most_; }
  // k of each under a mask as EncodeInput::live; valid until the next call.
  std::span<const int64_t> counts(const uint64_t* live);

 private:
  std::vector<TopKPart> parts_;
  std::vector<Range> ranges_;
  std::vector<double> densities_;
  std::vector<int64_t> most_;
  std::vector<int64_t> counts_;
};

}  // namespace terse
