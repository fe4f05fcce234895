#include "comm/codec/grouped_codec.h"

#include <algorithm>

#include "base/error.h"
#include "base/isa.h"
#include "comm/codec/kernels/fence.h"

namespace terse {
namespace {
constexpr int64_t kFewWindows = 8;  // not worth a second thread
}

BoundGrouped::BoundGrouped(const Bucket& bucket, std::vector<Range> parts, int64_t block,
                           CodecId id, bool checksum)
    : BoundCodec(std::move(parts)), id_(id), checksum_(checksum), layout_(bucket, block) {
  for (const Range range : all_parts()) part_groups_.push_back(layout_.groups_of(range));
  writing_.resize(all_parts().size());
  int64_t j = 0;
  for (int64_t w = 0; w < layout_.windows(); ++w) {
    while (part(j).end <= w * kWindow) ++j;
    first_part_.push_back(j);
  }
}

void BoundGrouped::encode(const MessageTag& tag, const EncodeInput& in,
                          std::span<const std::span<std::byte>> out, std::span<int64_t> used) {
  for (int64_t j = 0; j < parts(); ++j) {
    const auto room = out[static_cast<size_t>(j)];
    TERSE_CHECK(static_cast<int64_t>(room.size()) >= bytes(j), "room of {} for part {}",
                room.size(), j);
    writing_[static_cast<size_t>(j)] = room.data() + kHeaderBytes;
  }
  start(tag);
  run_steps({in.message, in.residual, in.shadow, in.live});
  for (int64_t j = 0; j < parts(); ++j) {
    const auto message = out[static_cast<size_t>(j)].first(static_cast<size_t>(bytes(j)));
    finish_payload(j, message.subspan(kHeaderBytes));
    write_header(id_, tag, part(j), message, checksum_);
    used[static_cast<size_t>(j)] = bytes(j);
  }
}

void BoundGrouped::run_steps(const CodecArrays& in) {
  const bool parallel = layout_.windows() > kFewWindows;
#pragma omp parallel if (parallel)
  {
    for (const LayoutStep& step : layout_.steps()) {
#pragma omp for schedule(static)
      for (int64_t w = step.sum.begin; w < step.sum.end; ++w)
        layout_.closed(w) ? encode_closed(in, w) : measure_window(in, w);
#pragma omp for schedule(static)
      for (int64_t g = step.groups.begin; g < step.groups.end; ++g) {
        const Range pieces = layout_.pieces_of_group(g);
        if (!layout_.pieces()[static_cast<size_t>(pieces.begin)].whole) finish_group(g);
      }
#pragma omp for schedule(static)
      for (int64_t w = step.pack.begin; w < step.pack.end; ++w) {
        if (layout_.closed(w)) continue;
        const Range pieces = layout_.pieces_of_window(w);
        for (int64_t p = pieces.begin; p < pieces.end; ++p) pack_piece(in, p);
      }
    }
    TERSE_DISPATCH(codec_fence());
  }
}

// Group by group: a group is packed while it lies in the first cache.
void BoundGrouped::encode_closed(const CodecArrays& in, int64_t w) {
  const Range pieces = layout_.pieces_of_window(w);
  for (int64_t p = pieces.begin; p < pieces.end; ++p) {
    measure(in, p);
    finish_group(layout_.pieces()[static_cast<size_t>(p)].group);
    pack_piece(in, p);
  }
}

void BoundGrouped::measure_window(const CodecArrays& in, int64_t w) {
  const Range pieces = layout_.pieces_of_window(w);
  for (int64_t p = pieces.begin; p < pieces.end; ++p) {
    const Piece& piece = layout_.pieces()[static_cast<size_t>(p)];
    measure(in, p);
    if (piece.whole) finish_group(piece.group);
  }
}

void BoundGrouped::pack_piece(const CodecArrays& in, int64_t p) {
  const Piece& piece = layout_.pieces()[static_cast<size_t>(p)];
  int64_t j = first_part_[static_cast<size_t>(piece.begin / kWindow)];
  while (part(j).end <= piece.begin) ++j;
  for (int64_t at = piece.begin; at < piece.end; ++j) {
    const int64_t stop = std::min(piece.end, part(j).end);
    if (at < stop) pack(in, {{at, stop}, piece.group, j}, writing_[static_cast<size_t>(j)]);
    at = stop;
  }
}

void BoundGrouped::decode_sum(int64_t j, std::span<const MessageTag> tags,
                              std::span<const std::span<const std::byte>> messages, float factor,
                              const uint64_t* live, float* out) {
  TERSE_CHECK(!messages.empty() && tags.size() == messages.size(), "{} messages", messages.size());
  const Range range = part(j);
  reading_.clear();
  for (size_t k = 0; k < messages.size(); ++k) {
    const auto payload = check_message(id_, tags[k], range, messages[k], payload_bytes(j));
    TERSE_CHECK(reinterpret_cast<uintptr_t>(payload.data()) % 8 == 0,
                "message not aligned to 8 bytes");
    check_payload(j, payload, tags[k]);
    reading_.push_back(payload.data());
  }
  if (range.size() == 0) return;
  const int64_t first = range.begin / kWindow;
  const int64_t last = (range.end - 1) / kWindow;
#pragma omp parallel if (last - first > kFewWindows)
  {
#pragma omp for schedule(static)
    for (int64_t w = first; w <= last; ++w) decode_window(j, w, factor, live, out);
    TERSE_DISPATCH(codec_fence());
  }
}

void BoundGrouped::decode_window(int64_t j, int64_t w, float factor, const uint64_t* live,
                                 float* out) const {
  const bool alone = reading_.size() == 1 && factor == 1.0f;  // written once, past the cache
  alignas(64) float sum[kWindow];
  const int64_t from = std::max(w * kWindow, part(j).begin);
  const int64_t to = std::min((w + 1) * kWindow, part(j).end);
  float* target = out + (from - part(j).begin);
  const Range pieces = layout_.pieces_of_window(w);
  for (size_t k = 0; k < reading_.size(); ++k)
    for (int64_t p = pieces.begin; p < pieces.end; ++p) {
      const Piece& piece = layout_.pieces()[static_cast<size_t>(p)];
      const Range range{std::max(piece.begin, from), std::min(piece.end, to)};
      if (range.size() <= 0) continue;
      unpack(reading_[k], {range, piece.group, j},
             {live == nullptr ? nullptr : live + from / 64, alone ? target : sum, from, k > 0});
    }
  if (!alone)
    for (int64_t i = 0; i < to - from; ++i) target[i] = sum[i] * factor;
}

void fail_padding(const MessageTag& tag) {
  fail(ExitCode::disagree, "message from rank {} for bucket {}: padding is not zero", tag.sender,
       tag.bucket);
}

bool all_zero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace terse
