#include "comm/codec/codec.h"

#include <algorithm>

#include "base/error.h"

namespace terse {

void Codec::refuse(std::span<const double> parameters) const {
  if (!parameters.empty())
    fail(ExitCode::usage,
         "codec {} has no parameter that could differ by segment, but {} were given; choose bits "
         "or topk",
         name(), parameters.size());
}

std::vector<double> Codec::densities(const Bucket&, double density) const {
  fail(ExitCode::usage,
       "codec {} drops no elements, so a density of {} means nothing to it; choose topk", name(),
       density);
}

void decode_message(const Codec& codec, std::span<const std::byte> message, const MessageTag& tag,
                    const Bucket& bucket, std::span<float> out,
                    std::span<const double> parameters) {
  TERSE_CHECK(static_cast<int64_t>(out.size()) == bucket.size, "{} floats", out.size());
  // A copy: bytes from outside may lie anywhere.
  std::vector<uint64_t> aligned(message.size() / 8 + 1);
  std::ranges::copy(message, std::as_writable_bytes(std::span(aligned)).begin());
  const std::span<const std::byte> copy(reinterpret_cast<const std::byte*>(aligned.data()),
                                        message.size());
  codec.bind(bucket, {{0, bucket.size}}, parameters)
      ->decode_sum(0, std::span(&tag, 1), std::span(&copy, 1), 1.0f, nullptr, out.data());
}

// NOLINTBEGIN(performance-unnecessary-value-param): those that override it keep them
std::unique_ptr<BoundCodec> Codec::bind_device(const Bucket&, std::vector<Range>, DeviceStream,
                                               std::span<const double>) const {
  // NOLINTEND(performance-unnecessary-value-param)
  fail(ExitCode::usage,
       "[exchange] codec = \"{}\" has no kernels for GPUs; use onebit, fp32 or bf16, or [train] "
       "device = \"cpu\"",
       name());
}

Bucket slice_bucket(const Bucket& bucket, Range range) {
  Bucket slice{.index = bucket.index, .size = range.size(), .segments = {}};
  for (const Segment& segment : bucket.segments) {
    const int64_t begin = std::max(segment.offset, range.begin);
    const int64_t end = std::min(segment.offset + segment.size, range.end);
    if (begin >= end) continue;
    Segment cut = segment;
    cut.offset = begin - range.begin;
    cut.size = end - begin;
    if (cut.size < segment.size) {  // a cut has no shape of its own
      cut.rows = 1;
      cut.columns = cut.size;
      cut.part_of_matrix = segment.matrix();
    }
    cut.begin = segment.begin + begin - segment.offset;
    slice.segments.push_back(std::move(cut));
  }
  return slice;
}

std::vector<double> slice_parameters(const Bucket& bucket, Range range,
                                     std::span<const double> parameters) {
  std::vector<double> cut;
  for (size_t s = 0; s < parameters.size(); ++s) {
    const Segment& segment = bucket.segments.at(s);
    if (std::max(segment.offset, range.begin) < std::min(segment.offset + segment.size, range.end))
      cut.push_back(parameters[s]);
  }
  return cut;
}

}  // namespace terse
