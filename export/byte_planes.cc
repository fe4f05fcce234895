#include "export/byte_planes.h"

#include <algorithm>

#include "base/error.h"
#include "base/isa.h"
#include "export/kernels/declarations.h"
#include "export/rans.h"

namespace terse {
namespace {

bool rotated(DType dtype) {
  return dtype == DType::bf16 || dtype == DType::f32;
}

}  // namespace

PlaneEncoder::PlaneEncoder(DType dtype)
    : dtype_(dtype), planes_(static_cast<size_t>(dtype_size(dtype) * kRansRun)) {}

void PlaneEncoder::encode(std::span<const std::byte> part, std::vector<std::byte>& out) {
  const int64_t width = dtype_size(dtype_);
  const int64_t count = static_cast<int64_t>(part.size()) / width;
  TERSE_DISPATCH(split_planes(part.data(), static_cast<int>(width), rotated(dtype_), count,
                              planes_.data(), kRansRun));
  for (int64_t p = 0; p < width; ++p)
    rans_encode_run({planes_.data() + p * kRansRun, static_cast<size_t>(count)}, out);
}

void PlaneEncoder::add(std::span<const std::byte> piece, std::vector<std::byte>& out) {
  const auto part = static_cast<size_t>(dtype_size(dtype_) * kRansRun);
  if (!pending_.empty()) {
    const size_t taken = std::min(piece.size(), part - pending_.size());
    pending_.insert(pending_.end(), piece.begin(), piece.begin() + static_cast<int64_t>(taken));
    piece = piece.subspan(taken);
    if (pending_.size() < part) return;
    encode(pending_, out);
    pending_.clear();
  }
  for (; piece.size() >= part; piece = piece.subspan(part)) encode(piece.first(part), out);
  pending_.assign(piece.begin(), piece.end());
}

void PlaneEncoder::finish(std::vector<std::byte>& out) {
  if (pending_.size() % static_cast<size_t>(dtype_size(dtype_)) != 0)
    fail(ExitCode::invalid_file, "{} bytes are no whole number of {} elements", pending_.size(),
         dtype_name(dtype_));
  if (!pending_.empty()) encode(pending_, out);
  pending_.clear();
}

void decode_planes(DType dtype, int64_t elements, ByteCursor& in,
                   const std::function<void(std::span<const std::byte>)>& sink) {
  const int64_t width = dtype_size(dtype);
  const auto part = static_cast<size_t>(std::min(elements, kRansRun));
  std::vector<uint8_t> planes(part * static_cast<size_t>(width));
  std::vector<std::byte> merged(planes.size());
  for (int64_t left = elements; left > 0; left -= kRansRun) {
    const int64_t count = std::min(left, kRansRun);
    for (int64_t p = 0; p < width; ++p)
      rans_decode_run(in,
                      {planes.data() + static_cast<size_t>(p) * part, static_cast<size_t>(count)});
    TERSE_DISPATCH(merge_planes(planes.data(), static_cast<int64_t>(part), static_cast<int>(width),
                                rotated(dtype), count, merged.data()));
    sink({merged.data(), static_cast<size_t>(count * width)});
  }
}

}  // namespace terse
