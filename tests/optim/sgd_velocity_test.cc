// DGC's velocity against its formula (optim/dgc.h), rounded operation by operation: the same bits
// for every instruction set, alignment and with the message written over the gradient.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/isa.h"
#include "optim/kernels/sgd.h"
#include "tests/comm/codec/buckets.h"

namespace terse::testing {
namespace {

float* at_line(std::vector<float>& v, size_t shift) {
  const auto address = reinterpret_cast<uintptr_t>(v.data());
  return v.data() + (64 - address % 64) % 64 / 4 + shift;
}

void check(const SgdStep& step, size_t shift, bool in_place) {
  const int64_t n = 1003;
  const auto p = values(n, 1), gradient = values(n, 2), u = values(n, 3);
  std::vector<float> next_memory(gradient.size() + 32), out_memory(gradient.size() + 32);
  float* next = at_line(next_memory, shift);
  float* out = at_line(out_memory, shift);
  if (in_place) std::copy(gradient.begin(), gradient.end(), out);
  TERSE_DISPATCH(sgd_velocity(step, step.decay == 0 ? nullptr : p.data(),
                              in_place ? out : gradient.data(), u.data(), next, out, n));
  for (size_t i = 0; i < gradient.size(); ++i) {
    float g = step.scale * gradient[i];
    if (step.decay != 0) {
      const float decayed = step.decay * p[i];
      g += decayed;
    }
    const float inner = step.nesterov ? u[i] + g : u[i];
    const float scaled = step.momentum * inner;
    const float velocity = step.nesterov ? scaled : scaled + g;
    ASSERT_EQ(next[i], velocity) << i;
    ASSERT_EQ(out[i], step.nesterov ? velocity + g : velocity) << i;
  }
}

TEST(SgdVelocity, EqualsItsFormula) {
  for (const Isa isa : supported())
    for (const float decay : {0.0f, 0.01f})
      for (const bool nesterov : {false, true})
        for (const size_t shift : {0u, 1u})
          for (const bool in_place : {false, true}) {
            const WithIsa with(isa);
            check({.scale = 0.7f, .decay = decay, .momentum = 0.9f, .nesterov = nesterov}, shift,
                  in_place);
            if (HasFatalFailure()) return;
          }
}

}  // namespace
}  // namespace terse::testing
