#include <cpuid.h>

#include "base/isa.h"
#include "base/product/product.h"

namespace terse {
namespace {

// CPUID leaf 7: AVX512_BF16 is bit 5 of EAX in subleaf 1, AMX-BF16 bit 22 of EDX in subleaf 0.
bool detect() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  const bool amx = (d >> 22 & 1u) != 0;
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d) == 0) return false;
  return !amx && (a >> 5 & 1u) != 0;
}

}  // namespace

bool product_available() {
  static const bool processor = detect();
  return processor && isa() == Isa::avx512;
}

}  // namespace terse
