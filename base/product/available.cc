#include <cpuid.h>

#include "base/isa.h"
#include "base/product/product.h"

namespace terse {
namespace {

// CPUID leaf 7: AVX512_BF16 is bit 5 of EAX in subleaf 1; in subleaf 0 AVX512_VNNI is bit 11 of ECX
// and AMX-BF16 bit 22 of EDX.
bool detect() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  const bool amx = (d >> 22 & 1u) != 0, vnni = (c >> 11 & 1u) != 0;
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d) == 0) return false;
  return !amx && vnni && (a >> 5 & 1u) != 0;
}

}  // namespace

bool product_available() {
  static const bool processor = detect();
  return processor && isa() == Isa::avx512;
}

}  // namespace terse
