#include "trainer/model/ops/rotary.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cstring>

#include "trainer/model/ops/kernels.h"
#include "trainer/model/ops/typed.h"

namespace terse {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Shape {
  int64_t batch, length, heads, kv, head;
  int64_t all() const { return heads + 2 * kv; }
};

// Calls move(packed head vector, split head vector, position, rotated) for every head vector.
template <typename T, typename Move>
void for_heads(const Shape& s, const at::Tensor& qkv, const Heads& h, const Move& move) {
  at::parallel_for(0, s.batch * s.length, row_grain(s.all() * s.head), [&](int64_t a, int64_t z) {
    for (int64_t row = a; row < z; ++row) {
      const int64_t b = row / s.length, t = row % s.length;
      T* packed = elements<T>(qkv) + row * s.all() * s.head;
      const auto block = [&](const at::Tensor& split, int64_t count, bool rotated) {
        for (int64_t i = 0; i < count; ++i, packed += s.head)
          move(packed, elements<T>(split) + ((b * count + i) * s.length + t) * s.head, t, rotated);
      };
      block(h.q, s.heads, true);
      block(h.k, s.kv, true);
      block(h.v, s.kv, false);
    }
  });
}

// `forward`: packed -> split; otherwise split gradients -> packed, rotated back.
void run(const Shape& s, const at::Tensor& qkv, const Heads& heads, const RotaryTable& table,
         bool forward) {
  const float* cosine = table.cosine.const_data_ptr<float>();
  const float* sine = table.sine.const_data_ptr<float>();
  const int64_t half = s.head / 2;
  for_compute_type(qkv.scalar_type(), [&](auto tag) {
    using T = decltype(tag);
    for_heads<T>(s, qkv, heads, [&](T* packed, T* split, int64_t t, bool rotated) {
      const T* from = forward ? packed : split;
      T* to = forward ? split : packed;
      if (rotated)
        TERSE_DISPATCH(rotate_head(from, cosine + t * half, sine + t * half, to, half,
                                   forward ? 1.0f : -1.0f));
      else
        std::memcpy(to, from, static_cast<size_t>(s.head) * sizeof(T));
    });
  });
}

class RotarySplit : public torch::autograd::Function<RotarySplit> {
 public:
  static variable_list forward(AutogradContext* ctx, const at::Tensor& qkv,
                               const at::Tensor& cosine, const at::Tensor& sine, int64_t heads,
                               int64_t kv) {
    const Shape s{qkv.size(0), qkv.size(1), heads, kv, qkv.size(2) / (heads + 2 * kv)};
    const auto make = [&](int64_t count) {
      return at::empty({s.batch, count, s.length, s.head}, qkv.options());
    };
    const Heads h{make(heads), make(kv), make(kv)};
    run(s, qkv, h, {cosine, sine}, true);
    ctx->save_for_backward({cosine, sine});
    return {h.q, h.k, h.v};
  }

  static variable_list backward(AutogradContext* ctx, variable_list d) {
    const auto saved = ctx->get_saved_variables();
    const Heads h{d[0].contiguous(), d[1].contiguous(), d[2].contiguous()};
    const Shape s{h.q.size(0), h.q.size(2), h.q.size(1), h.k.size(1), h.q.size(3)};
    const at::Tensor dqkv = at::empty({s.batch, s.length, s.all() * s.head}, h.q.options());
    run(s, dqkv, h, {saved[0], saved[1]}, false);
    return {dqkv, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

at::Tensor rotate(const at::Tensor& x, const RotaryTable& table) {
  const int64_t length = x.size(2);
  const at::Tensor c = table.cosine.narrow(0, 0, length), s = table.sine.narrow(0, 0, length);
  const auto halves = x.to(at::kFloat).chunk(2, -1);
  return at::cat({halves[0] * c - halves[1] * s, halves[1] * c + halves[0] * s}, -1)
      .to(x.scalar_type());
}

}  // namespace

RotaryTable rotary_table(int64_t positions, int64_t head, double theta, at::Device device) {
  const auto f64 = at::TensorOptions().dtype(at::kDouble);
  const at::Tensor exponent = at::arange(0, head, 2, f64) / static_cast<double>(head);
  const at::Tensor angle =
      at::outer(at::arange(positions, f64), at::pow(at::scalar_tensor(theta, f64), -exponent));
  return {at::cos(angle).to(at::kFloat).to(device), at::sin(angle).to(at::kFloat).to(device)};
}

Heads rotary_split(const at::Tensor& qkv, const RotaryTable& table, int64_t heads,
                   int64_t kv_heads) {
  if (!qkv.is_cpu()) return composed_rotary_split(qkv, table, heads, kv_heads);
  TERSE_CHECK(qkv.size(1) <= table.cosine.size(0), "{} positions, the table has {}", qkv.size(1),
              table.cosine.size(0));
  variable_list out =
      RotarySplit::apply(qkv.contiguous(), table.cosine, table.sine, heads, kv_heads);
  return {out[0], out[1], out[2]};
}

Heads composed_rotary_split(const at::Tensor& qkv, const RotaryTable& table, int64_t heads,
                            int64_t kv_heads) {
  const int64_t head = qkv.size(2) / (heads + 2 * kv_heads);
  const auto split = [&](int64_t first, int64_t count) {
    return qkv.narrow(2, first * head, count * head)
        .view({qkv.size(0), qkv.size(1), count, head})
        .transpose(1, 2);
  };
  return {rotate(split(0, heads), table), rotate(split(heads, kv_heads), table),
          split(heads + kv_heads, kv_heads).contiguous()};
}

}  // namespace terse
