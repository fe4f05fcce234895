#include "qat/mask_tensors.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>

#include "base/error.h"

namespace terse {
namespace {

constexpr int64_t kMaskGrain = 1 << 14;  // elements a thread takes at least

template <typename Body>
void each_rows(const at::Tensor& t, const Body& body) {
  if (!t.is_cpu())
    fail(ExitCode::usage, "[sparsity] runs on the CPU only; set [train] device = \"cpu\"");
  TERSE_CHECK(t.dim() == 2 && t.is_contiguous(), "contiguous matrix");
  const int64_t grain = std::max<int64_t>(1, kMaskGrain / std::max<int64_t>(t.size(1), 1));
  at::parallel_for(0, t.size(0), grain, body);
}

const uint16_t* bf16_data(const at::Tensor& t) {
  TERSE_CHECK(t.scalar_type() == at::kBFloat16, "fp32 or bf16, not {}",
              c10::toString(t.scalar_type()));
  return static_cast<const uint16_t*>(t.const_data_ptr());
}

MaskedIn read_from(const at::Tensor& t, int64_t element) {
  if (t.scalar_type() == at::kFloat) return {.f32 = t.const_data_ptr<float>() + element};
  return {.bf16 = bf16_data(t) + element};
}

MaskedOut write_to(const at::Tensor& t, int64_t element) {
  if (t.scalar_type() == at::kFloat) return {.f32 = t.mutable_data_ptr<float>() + element};
  TERSE_CHECK(t.scalar_type() == at::kBFloat16, "fp32 or bf16");
  return {.bf16 = static_cast<uint16_t*>(t.mutable_data_ptr()) + element};
}

}  // namespace

at::Tensor select_mask_tensor(const Pattern& pattern, const at::Tensor& weight) {
  const int64_t rows = weight.size(0), columns = weight.size(1), stride = mask_stride(columns);
  at::Tensor mask = at::empty({rows, stride}, weight.options().dtype(at::kByte));
  const float* w = weight.const_data_ptr<float>();
  uint8_t* bits = mask.mutable_data_ptr<uint8_t>();
  std::atomic<bool> finite = true;
  const auto select = [&](int64_t begin, int64_t end) {
    if (!select_mask(pattern, w + begin * columns, end - begin, columns, bits + begin * stride))
      finite = false;
  };
  if (pattern.unstructured() && weight.is_cpu())
    select(0, rows);  // the threshold is the matrix's
  else
    each_rows(weight, select);
  return finite ? mask : at::Tensor();
}

void blend_tensor(const at::Tensor& in, const at::Tensor& mask, float beta, const at::Tensor& out) {
  const int64_t columns = in.size(1);
  TERSE_CHECK(out.sizes() == in.sizes() && out.is_contiguous(), "another shape");
  each_rows(in, [&](int64_t begin, int64_t end) {
    blend_rows(read_from(in, begin * columns),
               mask.const_data_ptr<uint8_t>() + begin * mask_stride(columns), beta, end - begin,
               columns, write_to(out, begin * columns));
  });
}

void add_pruned_tensor(const at::Tensor& in, const at::Tensor& mask, float factor,
                       const at::Tensor& out) {
  const int64_t columns = in.size(1);
  TERSE_CHECK(out.sizes() == in.sizes() && out.is_contiguous(), "another shape");
  each_rows(in, [&](int64_t begin, int64_t end) {
    add_pruned_rows(in.const_data_ptr<float>() + begin * columns,
                    mask.const_data_ptr<uint8_t>() + begin * mask_stride(columns), factor,
                    end - begin, columns, out.mutable_data_ptr<float>() + begin * columns);
  });
}

}  // namespace terse
