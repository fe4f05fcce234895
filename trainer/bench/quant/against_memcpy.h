// Kernels on tensors as multiples of a memcpy of their input on the same threads, in alternating
// pairs; a ratio is the median over pairs.
#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "trainer/bench/core/bench_result.h"

namespace terse {

class AgainstMemcpy {
 public:
  // `threads`: that at::parallel_for uses.
  AgainstMemcpy(int threads, int pairs) : threads_(threads), pairs_(pairs) {}

  // `work` reads `input` once; small inputs are worked on several times a pair. The figure's value
  // is ns an element: wall time times threads over elements.
  void add(const std::string& name, const at::Tensor& input, const std::function<void()>& work);

  const std::vector<BenchResult>& figures() const { return figures_; }

 private:
  int threads_, pairs_;
  std::vector<BenchResult> figures_;
};

}  // namespace terse
