
#include "comm/allocation/error_tables.h"

namespace terse {
namespace {

// What `bound`, which has one part, leaves of x. Returns the bytes of its message.
int64_t encode_shadow(BoundCodec& bound, const float* x, std::vector<float>& shadow) {
  std::vector<uint64_t> storage(static_cast<size_t>(bound.bytes(0) + 7) / 8);
  const std::span<std::byte> room(reinterpret_cast<std::byte*>(storage.data()),
                                  static_cast<size_t>(bound.bytes(0)));
  int64_t used = 0;
  bound.encode(MessageTag{}, {x, nullptr, shadow.data(), nullptr}, std::span(&room, 1),
               std::span(&used, 1));
  return used;
}

}  // namespace

std::vector<std::vector<double>> codec_errors(const Codec& codec, const Bucket& bucket,
                                              std::span<const double> parameters, const float* x) {
  std::vector<std::vector<double>> errors(bucket.segments.size());
  std::vector<float> shadow(static_cast<size_t>(bucket.size));
  for (const double parameter : parameters) {
    const std::vector<double> everywhere(bucket.segments.size(), parameter);
    encode_shadow(*codec.bind(bucket, {{0, bucket.size}}, everywhere), x, shadow);
    for (size_t s = 0; s < errors.size(); ++s) {
      const Segment& segment = bucket.segments[s];
      errors[s].push_back(norm(std::span(shadow).subspan(static_cast<size_t>(segment.offset),
                                                         static_cast<size_t>(segment.size))));
    }
  }
  return errors;
}

std::vector<double> codec_bytes(const Codec& codec, int64_t rows, int64_t columns,
                                std::span<const double> parameters, const float* x) {
  const int64_t size = rows * columns;
  const Bucket bucket{0, size, {{"segment", 0, size, rows, columns, true}}};
  std::vector<float> shadow(static_cast<size_t>(size));
  std::vector<double> bytes;
  for (const double& parameter : parameters)
    bytes.push_back(static_cast<double>(
        encode_shadow(*codec.bind(bucket, {{0, size}}, std::span(&parameter, 1)), x, shadow) -
        kHeaderBytes));
  return bytes;
}

}  // namespace terse
