#include "export/onnx_pack.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "export/parallel_rows.h"
#include "sparsity/mask.h"

namespace terse {
namespace {

constexpr int64_t kLeastBlock = 16, kMostBlock = 256;  // of MatMulNBits
constexpr const char* kTrainForOnnx =
    "train with [qat] grid = \"int_signed\", group = 32 and hadamard = 0";

Fit impossible(std::string reason) {
  return {Verdict::impossible, std::move(reason), 1, 0};
}

// The largest power of two up to kMostBlock that divides n.
int64_t block_of(int64_t n) {
  return std::min(n & -n, kMostBlock);
}

struct Range {
  int low, high;
};

Range stored_range(const CodeFormat& format) {
  const int multiply = format.offset == 0.5f ? 2 : 1, add = multiply - 1;
  Range range{format.code_min * multiply + add, format.code_max * multiply + add};
  if (!format.pattern.empty()) {  // the pruned are stored as 0
    range.low = std::min(range.low, 0);
    range.high = std::max(range.high, 0);
  }
  return range;
}

// The zero point that puts the range into `bits` unsigned bits; -1: there is none.
int zero_point_of(const Range& range, int bits) {
  const int middle = 1 << (bits - 1);
  if (range.low >= -middle && range.high < middle) return middle;
  const int least = std::max(-range.low, 0);
  return range.high + least < 2 * middle && least < 2 * middle ? least : -1;
}

// The fewest bits up to `most`; 0: none.
int bits_of(const Range& range, int most) {
  for (const int bits : {2, 4, 8})
    if (bits <= most && zero_point_of(range, bits) >= 0) return bits;
  return 0;
}

int most_bits(const std::string& type) {
  return type == "int2" ? 2 : type == "int4" ? 4 : 8;
}

bool kept(const Codes& codes, int64_t row, int64_t column) {
  const auto byte = static_cast<size_t>(row * mask_stride(codes.columns) + column / 8);
  return codes.mask.empty() || (codes.mask[byte] >> (column % 8) & 1) != 0;
}

// A row as numbers from 0 on; what the mask pruned, and columns that only fill the last block, are
// the zero point.
void stored_row(const Codes& codes, const OnnxPacking& packing, int64_t row,
                std::vector<uint8_t>& numbers) {
  const int8_t* from = codes.codes.data() + row * codes.columns;
  uint8_t* to = numbers.data();
  const auto add = static_cast<uint8_t>(packing.add + packing.zero_point);
  if (packing.multiply == 1)  // bytes, as vectors add them
    for (int64_t c = 0; c < codes.columns; ++c) to[c] = static_cast<uint8_t>(from[c] + add);
  else
    for (int64_t c = 0; c < codes.columns; ++c)
      to[c] = static_cast<uint8_t>(from[c] * packing.multiply + add);
  const auto zero = static_cast<uint8_t>(packing.zero_point);
  std::fill(numbers.begin() + codes.columns, numbers.end(), zero);
  if (codes.mask.empty()) return;
  for (int64_t c = 0; c < codes.columns; ++c)
    if (!kept(codes, row, c)) numbers[static_cast<size_t>(c)] = zero;
}

// Numbers of kBits bits, one a byte, pushed into bytes: those of one byte lie in one Word.
template <typename Word, int kBits>
void push_together(const std::vector<uint8_t>& numbers, std::byte* out) {
  for (size_t i = 0; i < numbers.size() / sizeof(Word); ++i) {
    Word word;
    std::memcpy(&word, numbers.data() + i * sizeof word, sizeof word);
    uint32_t all = 0;
    for (size_t k = 0; k < sizeof word; ++k) all |= uint32_t{word} >> (k * (8 - kBits));
    out[i] = static_cast<std::byte>(all & 0xff);
  }
}

void push_together(const std::vector<uint8_t>& numbers, int bits, std::byte* out) {
  if (bits == 2) return push_together<uint32_t, 2>(numbers, out);
  if (bits == 4) return push_together<uint16_t, 4>(numbers, out);
  push_together<uint8_t, 8>(numbers, out);
}

void set_bits(std::vector<uint8_t>& bytes, int64_t index, int bits, int value) {
  const auto byte = static_cast<size_t>(index * bits / 8);
  bytes[byte] = static_cast<uint8_t>(bytes[byte] | value << (index * bits % 8));
}

void pack_qdq(const Codes& codes, const OnnxPacking& packing, const ByteSink& sink) {
  send_rows(codes.columns, codes.rows, codes.rows, sink, [&](int64_t c, std::byte* out) {
    const int8_t* from = codes.codes.data() + c;
    for (int64_t r = 0; r < codes.rows; ++r)
      out[r] = static_cast<std::byte>(
          kept(codes, r, c) ? from[r * codes.columns] * packing.multiply + packing.add : 0);
  });
}

float stored_scale(const Codes& codes, int64_t row, int64_t column, const OnnxPacking& packing,
                   const std::string& name) {
  const float step = codes.format.unit * codes.tensor_scale / static_cast<float>(packing.multiply);
  const float scale = codes.scale_at(row, column), stored = scale * step;
  if (stored / step != scale)
    fail(ExitCode::invalid_file, "tensor \"{}\": the scale {} is too small to be stored as {}",
         name, scale, stored);
  return stored;
}

}  // namespace

Fit onnx_fit(const CodeFormat& format, const std::string& type) {
  if (format.hadamard != 0)
    return impossible(
        "the graph does not rotate activations; train with [qat] hadamard = 0 (the default of onnx "
        "targets)");
  if (format.offset != 0.0f && format.offset != 0.5f)
    return impossible(fmt::format("the grid is shifted by {}, zero points are whole numbers; {}",
                                  format.offset, kTrainForOnnx));
  const Range range = stored_range(format);
  if (type == "int8") {
    if (range.low < -128 || range.high > 127)
      return impossible(
          fmt::format("codes lie in [{}, {}], int8 holds [-128, 127]", range.low, range.high));
  } else {
    if (bits_of(range, most_bits(type)) == 0)
      return impossible(fmt::format(
          "codes lie in [{}, {}], which need more than {} bits; export onnx, which takes as many "
          "as they need",
          range.low, range.high, most_bits(type)));
    if (format.group > 0 && block_of(format.group) < kLeastBlock)
      return impossible(fmt::format("{} columns share a scale, MatMulNBits needs a multiple of {}",
                                    format.group, kLeastBlock));
  }
  if (format.offset == 0.5f)
    return {Verdict::exact_after, "stored as 2 code + 1 with half the scale", 2, 1};
  if (format.unit != 1.0f)
    return {Verdict::exact_after, fmt::format("stored with {} of the scale", format.unit), 1, 0};
  return {};
}

OnnxPacking onnx_packing(const CodeFormat& format, const std::string& type, int64_t columns) {
  const Fit fit = onnx_fit(format, type);
  TERSE_CHECK(fit.verdict != Verdict::impossible, "{}", fit.reason);
  OnnxPacking packing;
  packing.multiply = fit.multiply;
  packing.add = fit.add;
  packing.qdq = type == "int8";
  if (packing.qdq) {
    packing.bits = 8;
    packing.zero_point = 0;
    packing.block = format.group;
    return packing;
  }
  const Range range = stored_range(format);
  packing.bits = bits_of(range, most_bits(type));
  packing.zero_point = zero_point_of(range, packing.bits);
  packing.block = block_of(format.group > 0 ? format.group : columns);
  if (packing.block < kLeastBlock)
    packing.block = 32;  // a whole row shares: the last one is filled
  return packing;
}

int64_t onnx_blocks(const OnnxPacking& packing, int64_t columns) {
  return (columns + packing.block - 1) / packing.block;
}

void onnx_pack_codes(const Codes& codes, const OnnxPacking& packing, const ByteSink& sink) {
  if (packing.qdq) return pack_qdq(codes, packing, sink);
  const int64_t all = onnx_blocks(packing, codes.columns) * packing.block;
  send_rows(codes.rows, all * packing.bits / 8, all, sink, [&](int64_t r, std::byte* out) {
    static thread_local std::vector<uint8_t> numbers;
    numbers.resize(static_cast<size_t>(all));
    stored_row(codes, packing, r, numbers);
    push_together(numbers, packing.bits, out);
  });
}

void onnx_pack_scales(const Codes& codes, const OnnxPacking& packing, const std::string& name,
                      const ByteSink& sink) {
  const bool as_they_are = !packing.qdq && packing.block == codes.format.group &&
                           packing.multiply == 1 && codes.format.unit * codes.tensor_scale == 1.0f;
  if (as_they_are) return sink(std::as_bytes(std::span(codes.scales)));
  std::vector<float> scales;
  const auto add = [&](int64_t row, int64_t column) {
    scales.push_back(stored_scale(codes, row, column, packing, name));
  };
  if (!packing.qdq) {
    for (int64_t r = 0; r < codes.rows; ++r)
      for (int64_t c = 0; c < codes.columns; c += packing.block) add(r, c);
  } else {
    const int64_t step = packing.block > 0 ? packing.block : codes.columns;
    for (int64_t c = 0; c < codes.columns; c += step)
      for (int64_t r = 0; r < (packing.block < 0 ? 1 : codes.rows); ++r) add(r, c);
  }
  sink(std::as_bytes(std::span(scales)));
}

void onnx_pack_zero_points(int64_t rows, int64_t columns, const OnnxPacking& packing,
                           const ByteSink& sink) {
  const int64_t blocks = onnx_blocks(packing, columns);
  std::vector<uint8_t> row(static_cast<size_t>((blocks * packing.bits + 7) / 8));
  for (int64_t b = 0; b < blocks; ++b) set_bits(row, b, packing.bits, packing.zero_point);
  const auto size = static_cast<int64_t>(row.size());
  send_rows(rows, size, size, sink,
            [&](int64_t, std::byte* out) { std::memcpy(out, row.data(), row.size()); });
}

}  // namespace terse
