// Lossless coding of numbers by byte planes: the exponents of trained weights take few of their 256
// values, so their plane shrinks to a third, and sign and mantissa stay as they are (DFloat11,
// arXiv 2504.11651; planes as in ZipNN, arXiv 2411.05239). Gaussian bf16 weights take 11 of 16
// bits, fp32 ones 27 of 32; fp32 values that are bf16 ones widened take 11, too.
//
// Elements come in parts of 2^18 (the last one shorter). bf16, fp32 are rotated left by one bit, so
// that the exponent fills the highest byte; then plane p holds byte p of every element, and each
// plane of a part is one run of export/rans.h, the lowest first. Exact for every bit pattern, NaN
// and all. Thread-safe; several parts at hand are coded side by side on all threads, to the same
// bytes.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/tensor_view.h"
#include "export/byte_cursor.h"

namespace terse {

// Codes data that arrive in pieces of any size.
class PlaneEncoder {
 public:
  explicit PlaneEncoder(DType dtype);
  // Appends whole parts to `out` as they fill. Pieces of several parts keep all threads busy.
  void add(std::span<const std::byte> piece, std::vector<std::byte>& out);
  // The last part. Error(invalid_file) if the bytes are no whole number of elements.
  void finish(std::vector<std::byte>& out);

 private:
  void encode(std::span<const std::byte> parts, std::vector<std::byte>& out);
  DType dtype_;
  std::vector<std::byte> pending_;
  std::vector<std::vector<std::byte>> coded_;  // of parts side by side
};

// Decodes `elements` numbers from the cursor and sends them a part (at most 2 MiB) at a time. The
// span is valid during the call. Memory: eight parts. Error(invalid_file) where the bytes are
// damaged.
void decode_planes(DType dtype, int64_t elements, ByteCursor& in,
                   const std::function<void(std::span<const std::byte>)>& sink);
// The same into `out`, which holds them all: nothing is copied, all parts side by side.
void decode_planes(DType dtype, int64_t elements, ByteCursor& in, std::byte* out);

}  // namespace terse
