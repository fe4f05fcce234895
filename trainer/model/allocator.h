// The process's memory allocator, tuned for large tensors that come and go: training steps,
// exports.
#pragma once

namespace terse {

// Keeps freed memory in the process: glibc otherwise returns large tensors to the kernel after
// every step and pays page faults for them in the next, a tenth to a third of a small model's step.
// Call once, early in main. The same for a child process: MALLOC_MMAP_MAX_=0
// MALLOC_TRIM_THRESHOLD_=2147483647 MALLOC_TOP_PAD_=268435456.
void tune_allocator();

}  // namespace terse
