#include "comm/codec/topk_message.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/half.h"
#include "base/isa.h"
#include "comm/codec/dense_arrays.h"
#include "comm/codec/index_code.h"
#include "comm/codec/kernels/fence.h"
#include "comm/codec/kernels/topk_kernels.h"
#include "comm/codec/layout.h"

namespace terse {
namespace {

constexpr uint32_t kBitmap = uint32_t{1} << 31;

float value_at(const std::byte* values, int64_t i, bool bf16) {
  if (bf16) {
    uint16_t half;
    std::memcpy(&half, values + i * 2, sizeof half);
    return bf16_to_float(half);
  }
  float value;
  std::memcpy(&value, values + i * 4, sizeof value);
  return value;
}

// Where a window's sum is taken: zero everywhere between windows.
class WindowSum {
 public:
  WindowSum(const TopKPart& part, std::span<const TopKSource> sources)
      : part_(part), sources_(sources), bf16_(part.value_bytes == 2) {
    std::fill_n(sum_, kWindow, 0.0f);
  }

  void run(int64_t w, float factor, const uint64_t* live, float* out) {
    const Range window{w * kWindow, std::min((w + 1) * kWindow, part_.range.size())};
    const bool dense = add_dense(window);
    for (size_t k = 0; k < sources_.size(); ++k) add_sparse(k, w, window.begin);
    if (live != nullptr) clear_dead(window, live);
    TERSE_DISPATCH(topk_store(sum_, window.size(), factor, out + window.begin));
    if (dense)
      std::fill_n(sum_, kWindow, 0.0f);
    else
      for (const TopKSource& source : sources_)
        for (uint32_t e = source.first[w]; e < source.first[w + 1]; ++e)
          sum_[source.indices[e] - window.begin] = 0;
  }

 private:
  bool add_dense(Range window) {
    int64_t before = 0;  // elements of dense pieces in front
    bool any = false;
    for (const TopKPiece& piece : part_.dense) {
      const Range inside{piece.range.begin - part_.range.begin,
                         piece.range.end - part_.range.begin};
      if (inside.begin >= window.end) break;
      const int64_t begin = std::max(inside.begin, window.begin);
      const int64_t end = std::min(inside.end, window.end);
      for (size_t k = 0; k < sources_.size() && begin < end; ++k)
        for (int64_t i = begin; i < end; ++i) {
          float& sum = sum_[i - window.begin];
          const float value = value_at(sources_[k].dense, before + i - inside.begin, bf16_);
          sum = k == 0 ? value : sum + value;
        }
      any |= begin < end;
      before += piece.range.size();
    }
    return any;
  }

  void add_sparse(size_t k, int64_t w, int64_t begin) {
    const TopKSource& source = sources_[k];
    for (uint32_t e = source.first[w]; e < source.first[w + 1]; ++e) {
      float& sum = sum_[source.indices[e] - begin];
      const float value = value_at(source.values, e, bf16_);
      sum = k == 0 ? value : sum + value;
    }
  }

  void clear_dead(Range window, const uint64_t* live) {
    live += part_.range.begin / 64;
    for (int64_t i = window.begin; i < window.end; ++i)
      if ((live[i / 64] >> (i % 64) & 1) == 0) sum_[i - window.begin] = 0;
  }

  const TopKPart& part_;
  std::span<const TopKSource> sources_;
  bool bf16_;
  alignas(64) float sum_[kWindow];
};

}  // namespace

TopKPart cut_topk_part(std::span<const TopKSegment> segments, Range range, bool bf16_values) {
  TopKPart part;
  part.range = range;
  part.value_bytes = bf16_values ? 2 : 4;
  int64_t index_bytes = 0;
  for (const TopKSegment& segment : segments) {
    const Range inside{std::max(segment.range.begin, range.begin),
                       std::min(segment.range.end, range.end)};
    if (inside.size() <= 0) continue;
    if (segment.dense) {
      part.dense.push_back({inside, 0});
      part.dense_elements += inside.size();
      continue;
    }
    part.sparse.push_back({inside, std::min(segment.most, inside.size())});
    part.most_entries += part.sparse.back().most;
    index_bytes += most_index_bytes(part.sparse.back().most, inside.size());
  }
  part.most_bytes =
      (part.sparse_offset() + part.most_entries * part.value_bytes + index_bytes + 7) / 8 * 8;
  return part;
}

void write_head(std::byte* payload, size_t piece, TopKHead head) {
  const uint32_t bits = static_cast<uint32_t>(head.count) | (head.bitmap ? kBitmap : 0);
  std::memcpy(payload + piece * 4, &bits, sizeof bits);
}

TopKHead read_head(const std::byte* payload, size_t piece) {
  uint32_t bits;
  std::memcpy(&bits, payload + piece * 4, sizeof bits);
  return {bits & ~kBitmap, (bits & kBitmap) != 0};
}

TopKEntries TopKEntries::take(int64_t end) {
  const auto count =
      static_cast<size_t>(std::lower_bound(indices.begin(), indices.end(), end) - indices.begin());
  const TopKEntries taken{indices.first(count), values.first(count)};
  *this = {indices.subspan(count), values.subspan(count)};
  return taken;
}

int64_t write_topk_entries(const TopKPart& part, const TopKEntries& entries, std::byte* payload) {
  const auto count = static_cast<int64_t>(entries.indices.size());
  std::byte* at = payload + part.sparse_offset();
  if (part.value_bytes == 2)
    to_bf16(entries.values.data(), nullptr, count, reinterpret_cast<uint16_t*>(at), nullptr);
  else if (count > 0)
    std::memcpy(at, entries.values.data(), entries.values.size_bytes());
  at += count * part.value_bytes;
  TopKEntries left = entries;
  for (size_t p = 0; p < part.sparse.size(); ++p) {
    const Range range = part.sparse[p].range;
    const auto inside = left.take(range.end).indices;
    const IndexCode code = choose_index_code(inside, range);
    write_head(payload, p, {static_cast<int64_t>(inside.size()), code.bitmap});
    write_indices(code, inside, range, at);
    at += code.bytes;
  }
  for (; (at - payload) % 8 != 0; ++at) *at = std::byte{0};
  return at - payload;
}

void write_topk_dense(Range piece, const EncodeInput& in, bool bf16, std::byte* values) {
  const int64_t n = piece.size(), width = bf16 ? 2 : 4;
  if (bf16) {
    to_bf16(in.message, in.residual, n, reinterpret_cast<uint16_t*>(values), in.shadow);
  } else {
    add_rows(in.message, in.residual, n, reinterpret_cast<float*>(values));
    if (in.shadow != nullptr) std::fill_n(in.shadow, n, 0.0f);
  }
  for (int64_t i = 0; i < n && in.live != nullptr; ++i) {
    const int64_t element = piece.begin + i;
    if ((in.live[element / 64] >> (element % 64) & 1) != 0) continue;
    std::fill_n(values + i * width, width, std::byte{0});
    if (in.shadow != nullptr) in.shadow[i] = 0;
  }
}

const char* read_topk_payload(const TopKPart& part, std::span<const std::byte> payload,
                              uint32_t* indices, uint32_t* first, TopKSource& source) {
  const auto length = static_cast<int64_t>(payload.size());
  if (length < part.sparse_offset()) return "shorter than its heads and dense values";
  source = {payload.data() + part.heads_bytes(), payload.data() + part.sparse_offset(), indices,
            first, 0};
  for (size_t p = 0; p < part.sparse.size(); ++p) {
    const TopKHead head = read_head(payload.data(), p);
    if (head.count > part.sparse[p].most) return "more entries than the density allows";
    source.count += head.count;
  }
  const int64_t values_end = part.sparse_offset() + source.count * part.value_bytes;
  if (length < values_end) return "shorter than its values";
  auto rest = payload.subspan(static_cast<size_t>(values_end));
  int64_t entry = 0;
  for (size_t p = 0; p < part.sparse.size(); ++p) {
    const TopKHead head = read_head(payload.data(), p);
    const Range range = part.sparse[p].range;
    const int64_t used =
        read_indices(head.bitmap, rest, head.count, range.size(),
                     static_cast<uint32_t>(range.begin - part.range.begin), indices + entry);
    if (used < 0) return "indices that are malformed, cut short or outside their segment";
    rest = rest.subspan(static_cast<size_t>(used));
    entry += head.count;
  }
  if (length % 8 != 0 || rest.size() >= 8) return "longer or shorter than its entries";
  for (const std::byte b : rest)
    if (b != std::byte{0}) return "padding that is not zero";
  int64_t e = 0;
  for (int64_t w = 0; w <= part.windows(); ++w) {
    while (e < source.count && indices[e] < w * kWindow) ++e;
    first[w] = static_cast<uint32_t>(e);
  }
  return nullptr;
}

TopKSource read_topk_message(const TopKPart& part, const MessageTag& tag,
                             std::span<const std::byte> message, uint32_t* indices,
                             uint32_t* first) {
  const auto payload = check_message(CodecId::topk, tag, part.range, message, -1);
  TopKSource source;
  const char* defect = read_topk_payload(part, payload, indices, first, source);
  if (defect != nullptr)
    fail(ExitCode::disagree,
         "message from rank {} for bucket {}, step {}: its payload has {}; do all ranks run the "
         "same recipe and version of terse?",
         tag.sender, tag.bucket, tag.step, defect);
  return source;
}

void read_topk_values(const std::byte* values, int64_t count, int64_t value_bytes, float* out) {
  for (int64_t e = 0; e < count; ++e) out[e] = value_at(values, e, value_bytes == 2);
}

void sum_topk_sources(const TopKPart& part, std::span<const TopKSource> sources, float factor,
                      const uint64_t* live, float* out) {
  const int64_t windows = part.windows();
#pragma omp parallel if (windows > 8)
  {
    WindowSum sum(part, sources);
#pragma omp for schedule(static)
    for (int64_t w = 0; w < windows; ++w) sum.run(w, factor, live, out);
    TERSE_DISPATCH(codec_fence());
  }
}

}  // namespace terse
