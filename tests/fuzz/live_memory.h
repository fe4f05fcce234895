// What a reader may hold at any moment: 64 MiB and its input. libFuzzer's own limits are of one
// allocation (-malloc_limit_mb) and of the whole process, sanitizers' memory included.
#pragma once
#include <cstddef>
#include <cstdint>

namespace terse {

inline constexpr int64_t kLiveBytes = int64_t{64} << 20;

// From here to the end of the scope: aborts, which libFuzzer reports with the input, where more
// bytes are allocated and not freed. One at a time. Linked with AddressSanitizer only.
class LiveMemory {
 public:
  explicit LiveMemory(size_t input);
  ~LiveMemory();
  LiveMemory(const LiveMemory&) = delete;
  LiveMemory& operator=(const LiveMemory&) = delete;
};

}  // namespace terse
