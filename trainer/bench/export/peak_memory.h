// The most memory that the process held while a piece of work ran.
#pragma once
#include <cstdint>
#include <functional>

namespace terse {

struct PeakMemory {
  // Bytes resident, pages of mapped files and of the program included (VmHWM; where the kernel
  // cannot restart it, the most that a look every millisecond found).
  int64_t resident = 0;
  // Those that no file backs: what the kernel cannot take back. By a look every millisecond.
  int64_t anonymous = 0;
};

// Of the whole process, not only of what the work adds. Gives free heap back to the kernel first.
PeakMemory peak_memory(const std::function<void()>& work);

}  // namespace terse
