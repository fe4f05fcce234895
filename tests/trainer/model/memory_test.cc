#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "base/product/product.h"
#include "qat/quantized_linear.h"
#include "sparsity/mask.h"
#include "trainer/model/memory_counter.h"

namespace terse {
namespace {

constexpr int64_t kTokens = 512, kIn = 512, kOut = 256;

// Bytes alive after `work` that were not before, and those that were only while it ran.
struct Taken {
  int64_t kept, most;
};
template <typename Work>
Taken taken(const Work& work) {
  MemoryCounter::install();
  const int64_t before = MemoryCounter::live();
  MemoryCounter::restart_peak();
  const at::Tensor result = work();
  return {MemoryCounter::live() - before, MemoryCounter::peak() - before};
}

QatOptions quantized(int64_t bits) {
  QatOptions o;
  o.target = "none";
  o.weight_bits = bits;
  o.act_bits = bits;
  return o;
}

// What forward leaves behind of an input that nobody else holds, besides its result.
int64_t kept_of_input(const QatOptions& options) {
  const at::Tensor weight = at::randn({kOut, kIn}).requires_grad_();
  QuantizedLinear layer("l", weight, options, at::kBFloat16);
  layer.refresh();
  const Taken bytes = taken([&] {
    return layer.forward(at::randn({kTokens, kIn}).to(at::kBFloat16));
  });
  return bytes.kept - kTokens * kOut * 2;
}

TEST(Memory, CounterCountsWhatLivesAndTheMostThereWas) {
  MemoryCounter::install();
  const at::Tensor first = at::empty({1000}, at::kFloat);
  const Taken bytes = taken([] {
    const at::Tensor gone = at::empty({5000}, at::kByte);
    return at::empty({300}, at::kDouble);
  });
  EXPECT_EQ(bytes.kept, 2400);
  EXPECT_EQ(bytes.most, 7400);
}

TEST(Memory, BackwardKeepsHalfBytesOfCodeAndABitOfMask) {
  const int64_t elements = kTokens * kIn, scales = kTokens * 4, mask = elements / 8;
  EXPECT_EQ(kept_of_input({}), elements * 2);
  EXPECT_EQ(kept_of_input(quantized(4)), elements / 2 + mask + scales);
  EXPECT_EQ(kept_of_input(quantized(8)), elements + mask + scales);
}

TEST(Memory, AQuantizedWeightKeepsCodesAndNoFloatCopy) {
  if (!product_available()) GTEST_SKIP() << "decoded values are multiplied here";
  const at::Tensor weight = at::randn({kOut, kIn}).requires_grad_();
  for (const int64_t bits : {4, 8}) {
    QuantizedLinear layer("l", weight, quantized(bits), at::kBFloat16);
    const Taken bytes = taken([&] {
      layer.refresh();
      return at::Tensor();
    });
    // Codes, once as they are and once as the product reads them, the mask; scales and terms of
    // each output.
    const int64_t elements = kOut * kIn;
    EXPECT_EQ(bytes.kept, elements * bits / 8 + elements + elements / 8 + kOut * 12);
  }
}

}  // namespace
}  // namespace terse
