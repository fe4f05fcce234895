#include "trainer/model/allocator.h"

#include <malloc.h>

#include <climits>

namespace terse {

void tune_allocator() {
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, INT_MAX);
  mallopt(M_TOP_PAD, 256 << 20);
}

}  // namespace terse
