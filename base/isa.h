// Picks the instruction set for kernels that are compiled once per set (cmake/Terse.cmake,
// terse_kernels). A kernel file wraps its code in `namespace terse::TERSE_ISA { ... }`; callers go
// through a table picked by `isa()`.
//
//   #define TERSE_DISPATCH(call) ...      e.g.  TERSE_DISPATCH(onebit_encode(args...))
#pragma once

namespace terse {

enum class Isa { scalar, avx2, avx512 };

// The best set of this processor; the environment variable TERSE_ISA = scalar | avx2 | avx512
// lowers it (never raises it). Decided once.
Isa isa();
const char* isa_name(Isa isa);
// For tests: every set this processor can run, scalar first.
bool isa_supported(Isa isa);
// For tests only: makes isa() answer `forced` from now on in this process. Not thread-safe.
void force_isa(Isa forced);

}  // namespace terse

#define TERSE_DISPATCH(call)                                      \
  (::terse::isa() == ::terse::Isa::avx512 ? ::terse::avx512::call \
   : ::terse::isa() == ::terse::Isa::avx2 ? ::terse::avx2::call   \
                                          : ::terse::scalar::call)
