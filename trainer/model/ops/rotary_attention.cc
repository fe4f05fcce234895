#include "trainer/model/ops/rotary_attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/product/product.h"
#include "trainer/model/ops/attention.h"
#include "trainer/model/ops/tiled_attention.h"
#include "trainer/model/ops/typed.h"

namespace terse {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// f(sequence b, its description, key head, scratch memory) for all of them.
template <typename F>
void for_key_heads(const at::Tensor& qkv, Sequence s, const F& f) {
  at::parallel_for(0, qkv.size(0) * s.kv_heads, 1, [&](int64_t begin, int64_t end) {
    const at::Tensor scratch = at::empty({s.scratch() + 16}, at::kInt);
    const auto address = reinterpret_cast<uintptr_t>(scratch.data_ptr<int32_t>());
    auto* aligned = reinterpret_cast<uint32_t*>((address + 63) & ~uintptr_t{63});
    for (int64_t task = begin; task < end; ++task) {
      const int64_t b = task / s.kv_heads;
      Sequence one = s;
      one.qkv = elements<uint16_t>(qkv) + b * s.length * s.row();
      f(b, one, task % s.kv_heads, aligned);
    }
  });
}

Sequence describe(const at::Tensor& qkv, const at::Tensor& cosine, const at::Tensor& sine,
                  int64_t heads, int64_t kv_heads, bool causal) {
  return {nullptr,
          cosine.const_data_ptr<float>(),
          sine.const_data_ptr<float>(),
          qkv.size(1),
          heads,
          kv_heads,
          qkv.size(2) / (heads + 2 * kv_heads),
          causal};
}

class RotaryAttention : public torch::autograd::Function<RotaryAttention> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& qkv, const at::Tensor& cosine,
                            const at::Tensor& sine, int64_t heads, int64_t kv_heads, bool causal) {
    const Sequence s = describe(qkv, cosine, sine, heads, kv_heads, causal);
    const int64_t batch = qkv.size(0), out_step = s.length * heads * s.head;
    const at::Tensor out = at::empty({batch, s.length, heads * s.head}, qkv.options());
    const at::Tensor lse = at::empty({batch, heads, s.length}, cosine.options());
    for_key_heads(qkv, s, [&](int64_t b, const Sequence& one, int64_t kv, uint32_t* scratch) {
      tiled_attention_forward(one, kv, scratch, elements<uint16_t>(out) + b * out_step,
                              lse.data_ptr<float>() + b * heads * s.length);
    });
    for (const auto& [name, value] : {std::pair("heads", heads), std::pair("kv_heads", kv_heads)})
      ctx->saved_data[name] = value;
    ctx->saved_data["causal"] = causal;
    ctx->save_for_backward({qkv, cosine, sine, out, lse});
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &qkv = saved[0], &out = saved[3], &lse = saved[4];
    const Sequence s =
        describe(qkv, saved[1], saved[2], ctx->saved_data["heads"].toInt(),
                 ctx->saved_data["kv_heads"].toInt(), ctx->saved_data["causal"].toBool());
    const at::Tensor dout = gradients[0].contiguous(), dqkv = at::empty_like(qkv);
    const int64_t out_step = s.length * s.heads * s.head;
    for_key_heads(qkv, s, [&](int64_t b, const Sequence& one, int64_t kv, uint32_t* scratch) {
      tiled_attention_backward(one, kv, elements<uint16_t>(out) + b * out_step,
                               lse.const_data_ptr<float>() + b * s.heads * s.length,
                               elements<uint16_t>(dout) + b * out_step, scratch,
                               elements<uint16_t>(dqkv) + b * s.length * s.row());
    });
    return {dqkv, {}, {}, {}, {}, {}};
  }
};

}  // namespace

at::Tensor rotary_attention(const at::Tensor& qkv, const RotaryTable& table, int64_t heads,
                            int64_t kv_heads, bool causal) {
  const int64_t head = qkv.size(2) / (heads + 2 * kv_heads);
  const bool tiled = qkv.is_cpu() && qkv.scalar_type() == at::kBFloat16 && head % 64 == 0 &&
                     qkv.size(1) > 0 && product_available();
  if (!tiled) return attention(rotary_split(qkv, table, heads, kv_heads), causal);
  TERSE_CHECK(qkv.size(1) <= table.cosine.size(0), "{} positions, the table has {}", qkv.size(1),
              table.cosine.size(0));
  return RotaryAttention::apply(qkv.contiguous(), table.cosine, table.sine, heads, kv_heads,
                                causal);
}

}  // namespace terse
