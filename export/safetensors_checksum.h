// Internal: the checksum convention of safetensors.h, shared by its writer and reader.
#pragma once
#include <cstdint>
#include <string_view>

#include "base/checksum.h"
#include "base/tensor_view.h"
#include "export/safetensors.h"

namespace terse::safetensors {

inline constexpr std::string_view kChecksumsKey = "terse.checksums";

inline void update(Checksum& sum, std::string_view text) {
  sum.update(bytes_of(text.data(), static_cast<int64_t>(text.size())));
  constexpr char kEnd = 0;
  sum.update(bytes_of(&kEnd, 1));
}

// Starts a tensor's checksum with what the header says of it, so that a changed name or shape
// shows.
inline void begin_tensor(Checksum& sum, std::string_view name, DType dtype,
                         const std::vector<int64_t>& shape) {
  update(sum, name);
  update(sum, dtype_name(dtype));
  sum.update(bytes_of(shape.data(), static_cast<int64_t>(shape.size())));
}

inline uint64_t metadata_checksum(const Metadata& metadata) {
  Checksum sum;
  for (const auto& [key, value] : metadata) {
    if (key == kChecksumsKey) continue;
    update(sum, key);
    update(sum, value);
  }
  return sum.value();
}

}  // namespace terse::safetensors
