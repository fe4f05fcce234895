#include "qat/tensors.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "base/error.h"
#include "qat/lsq.h"
#include "qat/quantize_gpu.h"

namespace terse {
namespace {

constexpr int64_t kGrain = 1 << 14;  // elements a thread takes at least

int64_t columns_of(const at::Tensor& t) {
  return t.size(-1);
}
int64_t rows_of(const at::Tensor& t) {
  return t.numel() / std::max<int64_t>(columns_of(t), 1);
}

template <typename T>
T* data_or_null(const at::Tensor& t) {
  return t.defined() ? static_cast<T*>(t.mutable_data_ptr()) : nullptr;
}

// fp32 and bf16 destinations of a decoded tensor: one of them, or none.
struct Floats {
  float* f32 = nullptr;
  uint16_t* bf16 = nullptr;
  explicit Floats(const at::Tensor& t) {
    if (!t.defined()) return;
    TERSE_CHECK(t.is_contiguous(), "contiguous");
    if (t.scalar_type() == at::kFloat)
      f32 = data_or_null<float>(t);
    else if (t.scalar_type() == at::kBFloat16)
      bf16 = data_or_null<uint16_t>(t);
    else
      TERSE_CHECK(false, "fp32 or bf16, not {}", c10::toString(t.scalar_type()));
  }
  Floats from(int64_t element) const {
    Floats moved = *this;
    if (f32) moved.f32 += element;
    if (bf16) moved.bf16 += element;
    return moved;
  }
};

RowsIn rows_in(const at::Tensor& t) {
  TERSE_CHECK(t.is_contiguous(), "contiguous");
  RowsIn in{.rows = rows_of(t), .columns = columns_of(t)};
  if (t.scalar_type() == at::kFloat)
    in.f32 = t.const_data_ptr<float>();
  else
    in.bf16 = static_cast<const uint16_t*>(t.const_data_ptr());
  TERSE_CHECK(in.f32 || t.scalar_type() == at::kBFloat16, "fp32 or bf16, not {}",
              c10::toString(t.scalar_type()));
  return in;
}

RowsIn part(const RowsIn& in, int64_t begin, int64_t end) {
  RowsIn some = in;
  const int64_t skip = begin * in.columns;
  if (in.f32) some.f32 += skip;
  if (in.bf16) some.bf16 += skip;
  some.rows = end - begin;
  return some;
}

template <typename Body>
void each_rows(int64_t rows, int64_t columns, const Body& body) {
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(columns, 1));
  at::parallel_for(0, rows, grain, body);
}

template <typename T>
T* offset(T* p, int64_t by) {
  return p ? p + by : nullptr;
}

}  // namespace

namespace {

// The scale that `in` shares, or its second scale (qat/quantize.h).
float shared_scale_of(const Grid& grid, const RowsIn& in, const at::Tensor& like) {
  if (like.is_cuda()) {
    at::Tensor statistics = at::empty({in.rows}, like.options().dtype(at::kFloat));
    gpu::row_statistics(grid, in, statistics.data_ptr<float>(), gpu::stream_of(like));
    const at::Tensor host = statistics.cpu();
    return shared_scale(grid, host.const_data_ptr<float>(), in.rows);
  }
  std::vector<float> statistics(static_cast<size_t>(in.rows));
  each_rows(in.rows, in.columns, [&](int64_t begin, int64_t end) {
    row_statistics(grid, part(in, begin, end), statistics.data() + begin);
  });
  return shared_scale(grid, statistics.data(), in.rows);
}

}  // namespace

float quantize_tensor(const Quantizer& quantizer, const at::Tensor& in,
                      const QuantizedTensor& out) {
  const RowsIn source = rows_in(in);
  const Floats decoded(out.decoded);
  RowsOut to{.codes = data_or_null<int8_t>(out.codes),
             .scales = data_or_null<float>(out.scales),
             .f32 = decoded.f32,
             .bf16 = decoded.bf16,
             .mask = data_or_null<uint8_t>(out.mask),
             .tensor_scale = quantizer.grid.second};
  const Grid& grid = quantizer.grid;
  if (shares_scale(grid)) {
    const float scale = shared_scale_of(grid, source, in);
    if (grid.format.group < 0)
      out.scales.fill_(scale);
    else
      to.tensor_scale = scale;
  }
  if (in.is_cuda()) {
    gpu::quantize_rows(quantizer, source, to, gpu::stream_of(in));
    return to.tensor_scale;
  }
  const int64_t columns = source.columns;
  const int64_t groups = grid.format.group < 0 ? 0 : groups_of(grid.format, columns);
  each_rows(source.rows, columns, [&](int64_t begin, int64_t end) {
    const int64_t skip = begin * columns;
    quantize_rows(grid, quantizer.estimator, part(source, begin, end),
                  {.codes = offset(to.codes, skip),
                   .scales = offset(to.scales, begin * groups),
                   .f32 = offset(to.f32, skip),
                   .bf16 = offset(to.bf16, skip),
                   .mask = offset(to.mask, begin * mask_stride(columns)),
                   .tensor_scale = to.tensor_scale});
  });
  return to.tensor_scale;
}

void decode_tensor(const CodeFormat& format, const at::Tensor& codes, const at::Tensor& scales,
                   const at::Tensor& out, float tensor_scale) {
  const Floats to(out);
  const CodedRows in{.codes = codes.const_data_ptr<int8_t>(),
                     .scales = scales.const_data_ptr<float>(),
                     .rows = rows_of(codes),
                     .columns = columns_of(codes),
                     .group = format.group,
                     .offset = format.offset,
                     .unit = format.unit * tensor_scale};
  if (codes.is_cuda()) return gpu::decode_rows(in, to.f32, to.bf16, gpu::stream_of(codes));
  const int64_t groups = format.group < 0 ? 0 : groups_of(format, in.columns);
  each_rows(in.rows, in.columns, [&](int64_t begin, int64_t end) {
    CodedRows some = in;
    some.codes += begin * in.columns;
    some.scales += begin * groups;
    some.rows = end - begin;
    const Floats there = to.from(begin * in.columns);
    decode_rows(some, there.f32, there.bf16);
  });
}

namespace {

// The same sums by ATen, for devices without a kernel of ours; in another order.
at::Tensor composed_step_gradient(const CodeFormat& format, const QuantizedTensor& made,
                                  const at::Tensor& values, const at::Tensor& d) {
  const int64_t rows = values.size(0), columns = values.size(1);
  at::Tensor z = at::empty(values.sizes(), values.options().dtype(at::kFloat));
  rotate_tensor(values, {}, format.hadamard, z);
  const at::Tensor places = at::arange(8, made.mask.options());
  const at::Tensor bits = made.mask.unsqueeze(-1).bitwise_right_shift(places).bitwise_and(1);
  const at::Tensor inside = bits.view({rows, -1}).narrow(1, 0, columns);
  const int64_t groups = groups_of(format, columns);
  const at::Tensor inverse = made.scales.reciprocal().view({format.group < 0 ? 1 : rows, -1, 1});
  const at::Tensor place = (z.view({rows, groups, -1}) * inverse).view({rows, columns}) * inside;
  return (d * (made.codes + format.offset - place)).view({rows * groups, -1}).sum(1);
}

}  // namespace

at::Tensor step_gradient_tensor(const CodeFormat& format, const QuantizedTensor& made,
                                const at::Tensor& values, const at::Tensor& d) {
  if (values.is_cuda()) return composed_step_gradient(format, made, values, d);
  StepGradientIn in{.z = rows_in(values),
                    .d = rows_in(d),
                    .codes = made.codes.const_data_ptr<int8_t>(),
                    .mask = made.mask.const_data_ptr<uint8_t>(),
                    .scales = made.scales.const_data_ptr<float>(),
                    .format = &format};
  const int64_t columns = in.z.columns, groups = groups_of(format, columns);
  const int64_t scales = format.group < 0 ? 0 : groups;  // a row
  at::Tensor sums = at::empty({in.z.rows * groups}, at::kFloat);
  float* to = sums.mutable_data_ptr<float>();
  each_rows(in.z.rows, columns, [&](int64_t begin, int64_t end) {
    StepGradientIn some = in;
    some.z = part(in.z, begin, end);
    some.d = part(in.d, begin, end);
    some.codes += begin * columns;
    some.mask += begin * mask_stride(columns);
    some.scales += begin * scales;
    step_gradient_rows(some, to + begin * groups);
  });
  return sums;
}

void rotate_tensor(const at::Tensor& in, const at::Tensor& mask, int64_t hadamard,
                   const at::Tensor& out) {
  const RowsIn source = rows_in(in);
  const Floats to(out);
  const uint8_t* bits = mask.defined() ? mask.const_data_ptr<uint8_t>() : nullptr;
  if (in.is_cuda())
    return gpu::rotate_rows(source, bits, hadamard, to.f32, to.bf16, gpu::stream_of(in));
  each_rows(source.rows, source.columns, [&](int64_t begin, int64_t end) {
    const Floats there = to.from(begin * source.columns);
    rotate_rows(part(source, begin, end), offset(bits, begin * mask_stride(source.columns)),
                hadamard, there.f32, there.bf16);
  });
}

}  // namespace terse
