// Tiled attention against composed operations in fp32, and rotary_attention where tiles do not fit.
#include "trainer/model/ops/rotary_attention.h"

#include <fmt/format.h>

#include <cstdint>
#include <limits>

#include "tests/trainer/model/compare.h"
#include "trainer/model/ops/attention.h"

namespace terse::test {
namespace {

struct Shape {
  int64_t batch, length, heads, kv_heads, head;
  bool causal;
};

RotaryTable table(const Shape& s) {
  return rotary_table(s.length + 3, s.head, 10000.0, at::kCPU);
}

at::Tensor packed(const Shape& s, at::ScalarType type) {
  at::manual_seed(11);
  return random_tensor({s.batch, s.length, (s.heads + 2 * s.kv_heads) * s.head}, type);
}

Operation fused(const Shape& s) {
  return [s](const Tensors& in) -> Tensors {
    return {rotary_attention(in[0], table(s), s.heads, s.kv_heads, s.causal)};
  };
}

// The same in fp32 from the same bf16 values.
Operation composed(const Shape& s) {
  return [s](const Tensors& in) -> Tensors {
    const at::Tensor exact = in[0].to(at::kFloat);
    const Heads h = composed_rotary_split(exact, table(s), s.heads, s.kv_heads);
    return {composed_attention(h, s.causal).to(in[0].scalar_type())};
  };
}

// Lengths below, at and beside the blocks of 64; groups of query heads; heads of two panels; and a
// head that does not fit the tiles.
const std::vector<Shape> kShapes{{2, 64, 2, 2, 64, true},   {1, 1, 1, 1, 64, true},
                                 {1, 67, 2, 1, 64, true},   {2, 130, 4, 2, 64, false},
                                 {1, 200, 1, 1, 128, true}, {1, 256, 2, 2, 64, true},
                                 {1, 63, 1, 1, 64, false},  {2, 40, 2, 1, 32, true}};

TEST(RotaryAttention, EqualsComposedOperations) {
  for (const Shape& s : kShapes) {
    SCOPED_TRACE(fmt::format("{} positions, {} / {} heads of {}, causal {}", s.length, s.heads,
                             s.kv_heads, s.head, s.causal));
    const at::Tensor qkv = packed(s, at::kBFloat16);
    expect_close(outputs_and_gradients(fused(s), {qkv}), outputs_and_gradients(composed(s), {qkv}),
                 kBfloatTolerance, 0.0);
  }
}

TEST(RotaryAttention, SameBitsOnAnyNumberOfThreads) {
  const Shape s{3, 130, 4, 2, 64, true};
  const at::Tensor qkv = packed(s, at::kBFloat16);
  const int threads = at::get_num_threads();
  const Tensors reference = outputs_and_gradients(fused(s), {qkv});
  for (const int count : {1, 2, 3}) {
    at::set_num_threads(count);
    expect_same_bits(outputs_and_gradients(fused(s), {qkv}), reference);
  }
  at::set_num_threads(threads);
}

TEST(RotaryAttention, FutureKeysDoNotReachAQuery) {
  const Shape s{1, 100, 2, 2, 64, true};
  const at::Tensor qkv = packed(s, at::kBFloat16);
  const at::Tensor before = fused(s)({qkv})[0];
  qkv.narrow(1, 70, 30).fill_(100.0);
  const at::Tensor after = fused(s)({qkv})[0];
  EXPECT_TRUE(at::equal(after.narrow(1, 0, 70), before.narrow(1, 0, 70)));
  EXPECT_FALSE(at::equal(after.narrow(1, 70, 30), before.narrow(1, 70, 30)));
}

TEST(RotaryAttention, NanReachesEveryLaterGradient) {
  const Shape s{1, 100, 1, 1, 64, true};
  const at::Tensor qkv = packed(s, at::kBFloat16);
  qkv.narrow(1, 0, 1).fill_(std::numeric_limits<float>::quiet_NaN());
  for (const at::Tensor& t : outputs_and_gradients(fused(s), {qkv}))
    EXPECT_TRUE(t.isnan().all().item<bool>());
}

TEST(RotaryAttention, LargeScoresStayFinite) {
  const Shape s{1, 80, 1, 1, 64, true};
  for (const at::Tensor& t : outputs_and_gradients(fused(s), {packed(s, at::kBFloat16) * 40}))
    EXPECT_TRUE(t.isfinite().all().item<bool>());
}

}  // namespace
}  // namespace terse::test
