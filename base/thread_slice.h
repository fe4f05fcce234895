// How long a thread may run before the kernel looks for another one, asked for by threads that wake
// for a moment's work beside threads that compute all the time on the same core.
#pragma once
#include <chrono>

namespace terse {

// The calling thread asks for slices of this length (0.1 to 100 ms) instead of the kernel's usual
// 3 ms: its share of the core stays the same, but when it wakes its turn is over sooner and
// therefore comes first. Linux 6.12 and later (EEVDF with per-thread slices); older kernels and
// sandboxes ignore or refuse it, and nothing is changed. Needs no privilege. False: refused.
bool ask_for_slice(std::chrono::microseconds slice);

}  // namespace terse
