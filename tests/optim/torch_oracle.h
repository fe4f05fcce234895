// An optimizer of ours against LibTorch's on the same gradients.
#pragma once
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "tests/optim/flat.h"

namespace terse {

// Thirty steps of random gradients with learning rate 1e-2. `options(decay)`: LibTorch's; segments
// that decay get 0.1, others 0.
template <typename Torch, typename MakeOptions>
void expect_equals_torch(Flat& flat, const MakeOptions& options, double gradient_size,
                         double relative, double absolute) {
  using Options = decltype(options(0.0));
  std::vector<at::Tensor> decaying, others;
  for (const Segment* s : flat.segments())
    (s->decay ? decaying : others).push_back(flat.value(*s).clone().requires_grad_(true));
  Torch oracle({{decaying, std::make_unique<Options>(options(0.1))},
                {others, std::make_unique<Options>(options(0.0))}},
               options(0.0));
  for (int64_t step = 1; step <= 30; ++step) {
    size_t d = 0, n = 0;
    for (const Segment* s : flat.segments()) {
      const at::Tensor g = at::randn({s->size}) * gradient_size;
      flat.gradient(*s).copy_(g);
      (s->decay ? decaying[d++] : others[n++]).mutable_grad() = g;
    }
    oracle.step();
    flat.step(step, 1e-2);
  }
  size_t d = 0, n = 0;
  for (const Segment* s : flat.segments()) {
    const at::Tensor& wanted = s->decay ? decaying[d++] : others[n++];
    EXPECT_TRUE(at::allclose(flat.value(*s), wanted, relative, absolute)) << s->name;
  }
}

}  // namespace terse
