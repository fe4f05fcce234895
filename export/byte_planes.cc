#include "export/byte_planes.h"

#include <algorithm>

#include "base/error.h"
#include "base/isa.h"
#include "export/kernels/declarations.h"
#include "export/parallel_rows.h"
#include "export/rans.h"

namespace terse {
namespace {

constexpr size_t kTogether = 8;  // parts side by side

bool rotated(DType dtype) {
  return dtype == DType::bf16 || dtype == DType::f32;
}

// Bytes of a whole part.
size_t part_bytes(DType dtype) {
  return static_cast<size_t>(dtype_size(dtype) * kRansRun);
}

std::vector<uint8_t>& planes_of_thread(size_t bytes) {
  static thread_local std::vector<uint8_t> planes;
  if (planes.size() < bytes) planes.resize(bytes);
  return planes;
}

void encode_part(DType dtype, std::span<const std::byte> part, std::vector<std::byte>& out) {
  const int64_t width = dtype_size(dtype);
  const int64_t count = static_cast<int64_t>(part.size()) / width;
  if (width == 1)
    return rans_encode_run({reinterpret_cast<const uint8_t*>(part.data()), part.size()}, out);
  std::vector<uint8_t>& planes = planes_of_thread(part.size());
  TERSE_DISPATCH(split_planes(part.data(), static_cast<int>(width), rotated(dtype), count,
                              planes.data(), count));
  for (int64_t p = 0; p < width; ++p)
    rans_encode_run({planes.data() + p * count, static_cast<size_t>(count)}, out);
}

void decode_part(DType dtype, int64_t count, ByteCursor in, std::byte* out) {
  const int64_t width = dtype_size(dtype);
  if (width == 1)
    return rans_decode_run(in, {reinterpret_cast<uint8_t*>(out), static_cast<size_t>(count)});
  std::vector<uint8_t>& planes = planes_of_thread(static_cast<size_t>(count * width));
  for (int64_t p = 0; p < width; ++p)
    rans_decode_run(in, {planes.data() + p * count, static_cast<size_t>(count)});
  TERSE_DISPATCH(
      merge_planes(planes.data(), count, static_cast<int>(width), rotated(dtype), count, out));
}

}  // namespace

PlaneEncoder::PlaneEncoder(DType dtype) : dtype_(dtype) {}

// Whole parts, or the last one.
void PlaneEncoder::encode(std::span<const std::byte> parts, std::vector<std::byte>& out) {
  const size_t part = part_bytes(dtype_);
  while (!parts.empty()) {
    const size_t count = std::min(kTogether, (parts.size() + part - 1) / part);
    coded_.resize(std::max(coded_.size(), count));
    each_row(static_cast<int64_t>(count), kRansRun, [&](int64_t p) {
      const auto rest = parts.subspan(static_cast<size_t>(p) * part);
      std::vector<std::byte>& coded = coded_[static_cast<size_t>(p)];
      coded.clear();
      encode_part(dtype_, rest.first(std::min(part, rest.size())), coded);
    });
    for (size_t p = 0; p < count; ++p) out.insert(out.end(), coded_[p].begin(), coded_[p].end());
    parts = parts.subspan(std::min(parts.size(), count * part));
  }
}

void PlaneEncoder::add(std::span<const std::byte> piece, std::vector<std::byte>& out) {
  const size_t part = part_bytes(dtype_);
  if (!pending_.empty()) {
    const size_t taken = std::min(piece.size(), part - pending_.size());
    pending_.insert(pending_.end(), piece.begin(), piece.begin() + static_cast<int64_t>(taken));
    piece = piece.subspan(taken);
    if (pending_.size() < part) return;
    encode(pending_, out);
    pending_.clear();
  }
  const size_t whole = piece.size() / part * part;
  encode(piece.first(whole), out);
  pending_.assign(piece.begin() + static_cast<int64_t>(whole), piece.end());
}

void PlaneEncoder::finish(std::vector<std::byte>& out) {
  if (pending_.size() % static_cast<size_t>(dtype_size(dtype_)) != 0)
    fail(ExitCode::invalid_file, "{} bytes are no whole number of {} elements", pending_.size(),
         dtype_name(dtype_));
  if (!pending_.empty()) encode(pending_, out);
  pending_.clear();
}

void decode_planes(DType dtype, int64_t elements, ByteCursor& in, std::byte* out) {
  const int64_t width = dtype_size(dtype);
  const auto count_of = [&](int64_t p) { return std::min(kRansRun, elements - p * kRansRun); };
  std::vector<ByteCursor> parts;  // where each begins
  for (int64_t p = 0; p * kRansRun < elements; ++p) {
    parts.push_back(in);
    for (int64_t plane = 0; plane < width; ++plane)
      rans_skip_run(in, static_cast<size_t>(count_of(p)));
  }
  each_row(static_cast<int64_t>(parts.size()), kRansRun, [&](int64_t p) {
    decode_part(dtype, count_of(p), parts[static_cast<size_t>(p)], out + p * kRansRun * width);
  });
}

void decode_planes(DType dtype, int64_t elements, ByteCursor& in,
                   const std::function<void(std::span<const std::byte>)>& sink) {
  const int64_t width = dtype_size(dtype), together = static_cast<int64_t>(kTogether) * kRansRun;
  std::vector<std::byte> values(static_cast<size_t>(std::min(elements, together) * width));
  for (int64_t left = elements; left > 0; left -= std::min(left, together)) {
    const int64_t now = std::min(left, together), part = kRansRun * width;
    decode_planes(dtype, now, in, values.data());
    for (int64_t at = 0; at < now * width; at += part)
      sink(std::span(values).subspan(static_cast<size_t>(at),
                                     static_cast<size_t>(std::min(part, now * width - at))));
  }
}

}  // namespace terse
