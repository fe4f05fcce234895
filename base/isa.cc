#include "base/isa.h"

#include <cstdlib>
#include <string_view>

namespace terse {
namespace {

Isa detect() {
  Isa best = isa_supported(Isa::avx512) ? Isa::avx512
             : isa_supported(Isa::avx2) ? Isa::avx2
                                        : Isa::scalar;
  const char* wish = std::getenv("TERSE_ISA");
  if (wish == nullptr) return best;
  for (Isa candidate : {Isa::scalar, Isa::avx2, Isa::avx512})
    if (std::string_view(wish) == isa_name(candidate) && candidate <= best) return candidate;
  return best;
}

Isa& current() {
  static Isa value = detect();
  return value;
}

}  // namespace

bool isa_supported(Isa isa) {
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("bmi2");
  switch (isa) {
    case Isa::scalar:
      return true;
    case Isa::avx2:
      return avx2;
    case Isa::avx512:
      return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  }
  return false;
}

const char* isa_name(Isa isa) {
  return isa == Isa::avx512 ? "avx512" : isa == Isa::avx2 ? "avx2" : "scalar";
}

Isa isa() {
  return current();
}
void force_isa(Isa forced) {
  current() = forced;
}

}  // namespace terse
