#include "qat/packed_product.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "base/product/product.h"

namespace terse {
namespace {

const uint16_t* bits(const at::Tensor& t) {
  return reinterpret_cast<const uint16_t*>(t.const_data_ptr());
}
uint32_t* words(const at::Tensor& panels) {
  return reinterpret_cast<uint32_t*>(panels.data_ptr<int32_t>());
}

// For k x n elements.
at::Tensor empty_panels(int64_t k, int64_t n) {
  return at::empty({panel_words(k, n)}, at::kInt);
}

bool fits(const at::Tensor& matrix) {
  return matrix.is_cpu() && matrix.scalar_type() == at::kBFloat16 && matrix.is_contiguous() &&
         matrix.size(1) % kPanelColumns == 0 && product_available();
}

at::Tensor panels_of(const at::Tensor& x) {
  const int64_t rows = x.size(0), columns = x.size(1);
  at::Tensor panels = empty_panels(rows, columns);
  at::parallel_for(0, (rows + 1) / 2, 16, [&](int64_t begin, int64_t end) {
    pack_pairs(bits(x), rows, columns, begin, end, words(panels));
  });
  return panels;
}

// a [rows, k] times panels of [k, n].
at::Tensor product(const at::Tensor& a, const at::Tensor& panels, int64_t n) {
  const int64_t k = a.size(1);
  at::Tensor out = at::empty({a.size(0), n}, a.options());
  auto* to = static_cast<uint16_t*>(out.data_ptr());
  at::parallel_for(0, a.size(0), 12, [&](int64_t begin, int64_t end) {
    multiply(bits(a) + begin * k, words(panels), end - begin, k, n, to + begin * n);
  });
  return out;
}

}  // namespace

void PackedWeight::pack(const at::Tensor& weight) {
  if (!fits(weight) || weight.size(0) % kPanelColumns != 0) return;
  if (!packed()) {
    out_ = weight.size(0), in_ = weight.size(1);
    transposed_ = empty_panels(in_, out_);
    straight_ = empty_panels(out_, in_);
  }
  at::parallel_for(0, out_ / kPanelColumns, 1, [&](int64_t begin, int64_t end) {
    pack_transposed(bits(weight), in_, begin * 4, end * 4, words(transposed_));
    pack_pairs(bits(weight), out_, in_, begin * 32, end * 32, words(straight_));
  });
}

at::Tensor PackedWeight::forward(const at::Tensor& x) const {
  return product(x, transposed_, out_);
}

at::Tensor PackedWeight::input_gradient(const at::Tensor& dy) const {
  return product(dy, straight_, in_);
}

bool can_pack(const at::Tensor& dy, const at::Tensor& x) {
  return fits(dy) && fits(x);
}

void packed_weight_gradient(const at::Tensor& dy, const at::Tensor& x, bool add,
                            const at::Tensor& gradient) {
  const int64_t rows = dy.size(0), out = dy.size(1), in = x.size(1);
  const at::Tensor left = panels_of(dy), right = panels_of(x);
  const int64_t tiles = (out / kPanelColumns) * (in / kPanelColumns);
  at::parallel_for(0, tiles, 1, [&](int64_t begin, int64_t end) {
    multiply_transposed(words(left), words(right), rows, in, begin, end, add,
                        gradient.data_ptr<float>());
  });
}

}  // namespace terse
