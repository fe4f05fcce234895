#include "comm/codec/bits_part.h"

#include <algorithm>

namespace terse {

const BitsRun& BitsPart::run_of(int64_t element) const {
  const auto ends_after = [](int64_t at, const BitsRun& run) { return at < run.range.end; };
  return *std::upper_bound(runs.begin(), runs.end(), element, ends_after);
}

std::vector<BitsRun> bits_runs(const Bucket& bucket, const std::vector<int>& bits) {
  std::vector<BitsRun> runs;
  for (size_t s = 0; s < bits.size(); ++s) {
    const Segment& segment = bucket.segments[s];
    if (segment.size > 0)
      runs.push_back({{segment.offset, segment.offset + segment.size}, bits[s], 0});
  }
  return runs;
}

BitsPart cut_bits_part(std::span<const BitsRun> segments, Range range, Range groups, bool norm) {
  BitsPart part{.groups = groups, .norm = norm, .runs = {}};
  for (BitsRun run : segments) {
    run.range = {std::max(run.range.begin, range.begin), std::min(run.range.end, range.end)};
    if (run.range.size() > 0) part.runs.push_back(run);
  }
  part.scales = part.width_bytes();
  for (BitsRun& run : part.runs) {
    run.offset = part.scales;
    part.scales += run.bytes();
  }
  return part;
}

PhiloxStream bits_noise(uint64_t seed, const MessageTag& tag) {
  PhiloxStream noise;
  noise.key[0] = static_cast<uint32_t>(seed);
  noise.key[1] = static_cast<uint32_t>(seed >> 32);
  noise.counter[0] = static_cast<uint32_t>(tag.step);
  noise.counter[1] = tag.bucket * 2 + tag.stage;
  noise.counter[2] = tag.sender;
  return noise;
}

}  // namespace terse
