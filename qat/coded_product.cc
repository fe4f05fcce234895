#include "qat/coded_product.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "base/product/product.h"
#include "qat/packed_product.h"
#include "qat/quantize.h"

namespace terse {
namespace {

constexpr int64_t kStrip = 64;  // rows that are unpacked at a time

// Twice the offset, where codes of this grid multiply.
std::optional<int32_t> doubled_offset(const CodeFormat& format) {
  const bool bytes = format.code_min >= -128 && format.code_max <= 127 && format.pattern.empty();
  if (!bytes || format.group > 0) return std::nullopt;
  if (format.offset == 0.0f) return 0;
  if (format.offset == 0.5f) return 1;
  return std::nullopt;
}

const float* scales_from(const CodedMatrix& m, int64_t row) {
  const int64_t a_row = m.scales.numel() == 1 ? 0 : m.scales.numel() / m.codes.rows();
  return m.scales.const_data_ptr<float>() + row * a_row;
}

// Rows [begin, end), decoded and rounded.
void decode_strip(const CodedMatrix& m, int64_t begin, int64_t end, int8_t* room, uint16_t* out) {
  const CodedRows rows{.codes = code_rows(m.format, m.codes, begin, end, room),
                       .scales = scales_from(m, begin),
                       .rows = end - begin,
                       .columns = m.codes.columns,
                       .group = m.format.group,
                       .offset = m.format.offset,
                       .unit = m.format.unit * m.tensor_scale};
  decode_rows(rows, nullptr, out);
}

// fp32, one a row.
at::Tensor row_scales(const at::Tensor& scales, int64_t rows) {
  return scales.numel() == 1 ? scales.view({1}).expand({rows}).contiguous() : scales.view({rows});
}

}  // namespace

bool codes_multiply(const CodeFormat& weight, const CodeFormat& input, const at::Tensor& like,
                    at::ScalarType compute) {
  return like.is_cpu() && compute == at::kBFloat16 && product_available() &&
         doubled_offset(weight) && doubled_offset(input) && input.group == 0 &&
         like.size(0) % kPanelColumns == 0 && like.size(1) % kPanelColumns == 0 &&
         like.size(1) <= kMostCodes;
}

void CodedWeight::pack(const CodedMatrix& weight, const CodeFormat& input) {
  const int64_t out = weight.codes.rows(), in = weight.codes.columns;
  weight_ = weight;
  offsets_ = {.left = *doubled_offset(input), .right = *doubled_offset(weight.format)};
  if (!packed()) {
    words_ = at::empty({out * in / 4}, at::kInt);
    terms_ = at::empty({out}, at::kInt);
  }
  // Powers of two all, so that nothing is rounded here.
  scales_ = row_scales(weight.scales, out) *
            (0.25f * weight.format.unit * weight.tensor_scale * input.unit);
  auto* words = reinterpret_cast<uint32_t*>(words_.data_ptr<int32_t>());
  at::parallel_for(0, out / kStrip, 1, [&](int64_t begin, int64_t end) {
    std::vector<int8_t> room(static_cast<size_t>(kStrip * in));
    for (int64_t strip = begin; strip < end; ++strip) {
      const int64_t row = strip * kStrip;
      const int8_t* codes = code_rows(weight.format, weight.codes, row, row + kStrip, room.data());
      pack_codes(codes, in, 0, kStrip / 16, words + row * in / 4);
      column_terms(codes, in, offsets_, 0, kStrip, terms_.data_ptr<int32_t>() + row);
    }
  });
}

at::Tensor CodedWeight::forward(const at::Tensor& codes, const at::Tensor& scales) const {
  const int64_t rows = codes.size(0), in = codes.size(1), out = terms_.size(0);
  const at::Tensor each = row_scales(scales, rows);
  at::Tensor y = at::empty({rows, out}, codes.options().dtype(at::kBFloat16));
  auto* to = static_cast<uint16_t*>(y.data_ptr());
  const CodePanels panels{reinterpret_cast<const uint32_t*>(words_.const_data_ptr<int32_t>()),
                          terms_.const_data_ptr<int32_t>(), scales_.const_data_ptr<float>(),
                          offsets_};
  at::parallel_for(0, rows, 12, [&](int64_t begin, int64_t end) {
    const CodeRows some{codes.const_data_ptr<int8_t>() + begin * in,
                        each.const_data_ptr<float>() + begin, end - begin};
    multiply_codes(some, panels, in, out, to + begin * out);
  });
  return y;
}

at::Tensor CodedWeight::input_gradient(const at::Tensor& dy) const {
  return times_panels(dy, decoded_panels(weight_), weight_.codes.columns);
}

at::Tensor decoded_panels(const CodedMatrix& matrix) {
  const int64_t rows = matrix.codes.rows(), columns = matrix.codes.columns;
  at::Tensor panels = empty_panels(rows, columns);
  auto* words = reinterpret_cast<uint32_t*>(panels.data_ptr<int32_t>());
  const int64_t strips = (rows + kStrip - 1) / kStrip;
  at::parallel_for(0, strips, 1, [&](int64_t begin, int64_t end) {
    std::vector<int8_t> room(static_cast<size_t>(kStrip * columns));
    std::vector<uint16_t> values(static_cast<size_t>(kStrip * columns));
    for (int64_t row = begin * kStrip; row < std::min(end * kStrip, rows); row += kStrip) {
      const int64_t count = std::min(kStrip, rows - row);
      decode_strip(matrix, row, row + count, room.data(), values.data());
      pack_pair_strip(values.data(), count, rows, columns, row / 2, words);
    }
  });
  return panels;
}

}  // namespace terse
