#include "qat/packed_product.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <vector>

#include "base/product/product.h"

namespace terse {
namespace {

const uint16_t* bits(const at::Tensor& t) {
  return static_cast<const uint16_t*>(t.const_data_ptr());
}
uint32_t* words(const at::Tensor& panels) {
  return reinterpret_cast<uint32_t*>(panels.data_ptr<int32_t>());
}

}  // namespace

at::Tensor empty_panels(int64_t k, int64_t n) {
  return at::empty({panel_words(k, n)}, at::kInt);
}

at::Tensor panels_of(const at::Tensor& x) {
  const int64_t rows = x.size(0), columns = x.size(1);
  at::Tensor panels = empty_panels(rows, columns);
  at::parallel_for(0, (rows + 1) / 2, 16, [&](int64_t begin, int64_t end) {
    pack_pairs(bits(x), rows, columns, begin, end, words(panels));
  });
  return panels;
}

at::Tensor times_panels(const at::Tensor& a, const at::Tensor& panels, int64_t n) {
  const int64_t k = a.size(1);
  at::Tensor out = at::empty({a.size(0), n}, a.options());
  auto* to = static_cast<uint16_t*>(out.data_ptr());
  at::parallel_for(0, a.size(0), 12, [&](int64_t begin, int64_t end) {
    multiply(bits(a) + begin * k, words(panels), end - begin, k, n, to + begin * n);
  });
  return out;
}

bool PackedWeight::fits(const at::Tensor& weight, at::ScalarType compute) {
  return weight.is_cpu() && compute == at::kBFloat16 && weight.size(0) % kPanelColumns == 0 &&
         weight.size(1) % kPanelColumns == 0 && product_available();
}

void PackedWeight::pack(const at::Tensor& weight) {
  if (!packed()) {
    out_ = weight.size(0), in_ = weight.size(1);
    transposed_ = empty_panels(in_, out_);
    straight_ = empty_panels(out_, in_);
  }
  const bool round = weight.scalar_type() == at::kFloat;
  const int64_t elements = kPanelColumns * in_;  // of a strip: the rows of one panel
  at::parallel_for(0, out_ / kPanelColumns, 1, [&](int64_t begin, int64_t end) {
    std::vector<uint16_t> room(static_cast<size_t>(round ? elements : 0));
    for (int64_t strip = begin; strip < end; ++strip) {
      const uint16_t* from = room.data();
      if (round)
        round_values(weight.const_data_ptr<float>() + strip * elements, elements, room.data());
      else
        from = bits(weight) + strip * elements;
      pack_transposed(from, in_, 0, 4, words(transposed_) + strip * elements / 2);
      pack_pair_strip(from, kPanelColumns, out_, in_, strip * kPanelColumns / 2, words(straight_));
    }
  });
}

at::Tensor PackedWeight::forward(const at::Tensor& x) const {
  return times_panels(x, transposed_, out_);
}

at::Tensor PackedWeight::input_gradient(const at::Tensor& dy) const {
  return times_panels(dy, straight_, in_);
}

at::Tensor PackedWeight::values() const {
  at::Tensor out = at::empty({out_, in_}, at::kBFloat16);
  auto* to = static_cast<uint16_t*>(out.data_ptr());
  const uint32_t* panels = words(straight_);
  for (int64_t row = 0; row < out_; ++row)
    for (int64_t column = 0; column < in_; ++column) {
      const int64_t panel = column / kPanelColumns, lane = column % kPanelColumns;
      const uint32_t word = panels[(panel * out_ / 2 + row / 2) * kPanelColumns + lane];
      to[row * in_ + column] = static_cast<uint16_t>(row % 2 == 0 ? word : word >> 16);
    }
  return out;
}

bool can_pack(const at::Tensor& dy, int64_t columns) {
  return dy.is_cpu() && dy.scalar_type() == at::kBFloat16 && dy.is_contiguous() &&
         dy.size(1) % kPanelColumns == 0 && columns % kPanelColumns == 0 && product_available();
}

void packed_weight_gradient(const at::Tensor& dy, const at::Tensor& x_panels, bool add,
                            const at::Tensor& gradient) {
  const int64_t rows = dy.size(0), out = dy.size(1), in = gradient.size(1);
  const at::Tensor left = panels_of(dy);
  const int64_t tiles = (out / kPanelColumns) * (in / kPanelColumns);
  at::parallel_for(0, tiles, 1, [&](int64_t begin, int64_t end) {
    multiply_transposed(words(left), words(x_panels), rows, in, begin, end, add,
                        gradient.data_ptr<float>());
  });
}

}  // namespace terse
