#include "comm/codec/onebit.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "base/isa.h"
#include "comm/codec/kernels/onebit_kernels.h"
#include "comm/codec/layout.h"

namespace terse {
namespace {

int64_t words_of(int64_t n) {
  return (n + 63) / 64;
}

// Where one part's bits and scales lie inside its payload, whose length is a multiple of 8, so that
// messages back to back stay aligned.
struct PartPlan {
  Range range;
  Range groups;
  int64_t scale_offset() const { return words_of(range.size()) * 8; }
  int64_t scale_end() const { return scale_offset() + groups.size() * 4; }
  int64_t payload() const { return (scale_end() + 7) / 8 * 8; }
};

bool all_zero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

// Sums in fp32 overflow or vanish far outside the usual range: then the piece is added in fp64.
PieceSum exact_sum(const OneBitArrays& in, const Piece& piece, bool squares, int64_t count) {
  PieceSum result{0, count};
  for (int64_t i = piece.begin; i < piece.end; ++i) {
    if (in.live != nullptr && (in.live[i / 64] >> (i % 64) & 1) == 0) continue;
    float x = in.message[i];
    if (in.residual != nullptr) x += in.residual[i];
    const double wide = static_cast<double>(x);
    result.sum += squares ? wide * wide : std::abs(wide);
  }
  return result;
}

class BoundOneBit final : public BoundCodec {
 public:
  BoundOneBit(const Bucket& bucket, std::vector<Range> parts, const OneBitOptions& options)
      : BoundCodec(parts), options_(options), layout_(bucket, options.block) {
    for (const Range range : parts) plans_.push_back({range, layout_.groups_of(range)});
    sums_.resize(layout_.pieces().size());
    scales_.resize(static_cast<size_t>(layout_.groups()));
    words_.resize(plans_.size());
  }

  int64_t bytes(int64_t j) const override { return kHeaderBytes + plan(j).payload(); }

  void encode(const MessageTag& tag, const EncodeInput& in,
              std::span<const std::span<std::byte>> out, std::span<int64_t> used) override {
    for (size_t j = 0; j < plans_.size(); ++j) {
      TERSE_CHECK(static_cast<int64_t>(out[j].size()) >= bytes(static_cast<int64_t>(j)),
                  "room of {} for part {}", out[j].size(), j);
      words_[j] = reinterpret_cast<uint64_t*>(out[j].data() + kHeaderBytes);
    }
    run_steps({in.message, in.residual, in.shadow, in.live});
    for (size_t j = 0; j < plans_.size(); ++j) finish_part(tag, j, out[j], used[j]);
  }

  void decode_sum(int64_t j, std::span<const MessageTag> tags,
                  std::span<const std::span<const std::byte>> messages, float factor,
                  const uint64_t* live, float* out) override;

 private:
  struct Source {
    const uint64_t* words;
    const std::byte* scales;
    float scale(int64_t group) const {
      float value;
      std::memcpy(&value, scales + group * 4, sizeof value);
      return value;
    }
  };

  const PartPlan& plan(int64_t j) const { return plans_[static_cast<size_t>(j)]; }
  void run_steps(const OneBitArrays& in);
  void sum_window(const OneBitArrays& in, int64_t w);
  void finish_group(int64_t g);
  void pack_window(const OneBitArrays& in, int64_t w);
  void finish_part(const MessageTag& tag, size_t j, std::span<std::byte> out, int64_t& used);
  void decode_window(const PartPlan& part, int64_t w, float factor, const uint64_t* live,
                     float* out) const;

  OneBitOptions options_;
  Layout layout_;
  std::vector<PartPlan> plans_;
  std::vector<PieceSum> sums_;
  std::vector<float> scales_;
  std::vector<uint64_t*> words_;  // of each part, during encode()
  std::vector<Source> sources_;   // during decode_sum()
};

void BoundOneBit::run_steps(const OneBitArrays& in) {
  const bool parallel = layout_.windows() > 8;
#pragma omp parallel if (parallel)
  {
    for (const LayoutStep& step : layout_.steps()) {
#pragma omp for schedule(static)
      for (int64_t w = step.sum.begin; w < step.sum.end; ++w) {
        sum_window(in, w);
        if (layout_.closed(w)) pack_window(in, w);
      }
#pragma omp for schedule(static)
      for (int64_t g = step.groups.begin; g < step.groups.end; ++g) {
        const Range pieces = layout_.pieces_of_group(g);
        if (!layout_.pieces()[static_cast<size_t>(pieces.begin)].whole) finish_group(g);
      }
#pragma omp for schedule(static)
      for (int64_t w = step.pack.begin; w < step.pack.end; ++w)
        if (!layout_.closed(w)) pack_window(in, w);
    }
    TERSE_DISPATCH(onebit_fence());
  }
}

void BoundOneBit::sum_window(const OneBitArrays& in, int64_t w) {
  const bool squares = options_.scale == ScaleKind::rms;
  const Range pieces = layout_.pieces_of_window(w);
  for (int64_t p = pieces.begin; p < pieces.end; ++p) {
    const Piece& piece = layout_.pieces()[static_cast<size_t>(p)];
    PieceSum sum = TERSE_DISPATCH(onebit_sum(in, piece.begin, piece.end, squares));
    if (!(sum.sum > 1e-25 && sum.sum < 1e37)) sum = exact_sum(in, piece, squares, sum.count);
    sums_[static_cast<size_t>(p)] = sum;
    if (piece.whole) finish_group(piece.group);
  }
}

void BoundOneBit::finish_group(int64_t g) {
  const Range pieces = layout_.pieces_of_group(g);
  PieceSum total;
  for (int64_t p = pieces.begin; p < pieces.end; ++p) {
    total.sum += sums_[static_cast<size_t>(p)].sum;
    total.count += sums_[static_cast<size_t>(p)].count;
  }
  const double mean = total.count == 0 ? 0.0 : total.sum / static_cast<double>(total.count);
  scales_[static_cast<size_t>(g)] =
      static_cast<float>(options_.scale == ScaleKind::rms ? std::sqrt(mean) : mean);
}

void BoundOneBit::pack_window(const OneBitArrays& in, int64_t w) {
  const Range pieces = layout_.pieces_of_window(w);
  const auto ends_after = [](int64_t at, const PartPlan& part) { return at < part.range.end; };
  auto part = std::upper_bound(plans_.begin(), plans_.end(), w * kWindow, ends_after);
  for (int64_t p = pieces.begin; p < pieces.end; ++p) {
    const Piece& piece = layout_.pieces()[static_cast<size_t>(p)];
    for (int64_t at = piece.begin; at < piece.end;) {
      while (at >= part->range.end) ++part;
      const int64_t stop = std::min(piece.end, part->range.end);
      const int64_t base = part->range.begin;
      TERSE_DISPATCH(onebit_pack(in.from(base), at - base, stop - base,
                                 scales_[static_cast<size_t>(piece.group)],
                                 words_[static_cast<size_t>(part - plans_.begin())]));
      at = stop;
    }
  }
}

void BoundOneBit::finish_part(const MessageTag& tag, size_t j, std::span<std::byte> out,
                              int64_t& used) {
  const PartPlan& part = plans_[j];
  used = kHeaderBytes + part.payload();
  const auto message = out.first(static_cast<size_t>(used));
  const auto scales = message.subspan(static_cast<size_t>(kHeaderBytes + part.scale_offset()));
  std::fill(scales.begin(), scales.end(), std::byte{0});
  if (part.groups.size() > 0)
    std::memcpy(scales.data(), scales_.data() + part.groups.begin,
                static_cast<size_t>(part.groups.size()) * 4);
  write_header(CodecId::onebit, tag, part.range, message, options_.checksum);
}

void BoundOneBit::decode_sum(int64_t j, std::span<const MessageTag> tags,
                             std::span<const std::span<const std::byte>> messages, float factor,
                             const uint64_t* live, float* out) {
  TERSE_CHECK(!messages.empty() && tags.size() == messages.size(), "{} messages", messages.size());
  const PartPlan& part = plan(j);
  const int64_t n = part.range.size();
  sources_.clear();
  for (size_t k = 0; k < messages.size(); ++k) {
    const auto payload =
        check_message(CodecId::onebit, tags[k], part.range, messages[k], part.payload());
    const auto* words = reinterpret_cast<const uint64_t*>(payload.data());
    TERSE_CHECK(reinterpret_cast<uintptr_t>(words) % 8 == 0, "message not aligned to 8 bytes");
    if ((n % 64 != 0 && words[n / 64] >> (n % 64) != 0) ||
        !all_zero(payload.subspan(static_cast<size_t>(part.scale_end()))))
      fail(ExitCode::disagree, "message from rank {} for bucket {}: padding is not zero",
           tags[k].sender, tags[k].bucket);
    sources_.push_back({words, payload.data() + part.scale_offset()});
  }
  if (n == 0) return;
  const int64_t first = part.range.begin / kWindow;
  const int64_t last = (part.range.end - 1) / kWindow;
#pragma omp parallel if (last - first > 8)
  {
#pragma omp for schedule(static)
    for (int64_t w = first; w <= last; ++w) decode_window(part, w, factor, live, out);
    TERSE_DISPATCH(onebit_fence());
  }
}

void BoundOneBit::decode_window(const PartPlan& part, int64_t w, float factor, const uint64_t* live,
                                float* out) const {
  const int64_t base = part.range.begin;
  const uint64_t* part_live = live == nullptr ? nullptr : live + base / 64;
  const bool scaled = factor != 1.0f;
  const bool alone = sources_.size() == 1 && !scaled;  // written once, past the cache
  alignas(64) float sum[kWindow + 64];
  const int64_t from = std::max(w * kWindow, base) - base;  // a multiple of 64
  const int64_t to = std::min((w + 1) * kWindow, part.range.end) - base;
  float* target = alone ? out + from : sum;
  const Range pieces = layout_.pieces_of_window(w);
  for (size_t k = 0; k < sources_.size(); ++k) {
    const Source& source = sources_[k];
    for (int64_t p = pieces.begin; p < pieces.end; ++p) {
      const Piece& piece = layout_.pieces()[static_cast<size_t>(p)];
      const int64_t begin = std::max(piece.begin - base, from);
      const int64_t end = std::min(piece.end - base, to);
      if (begin >= end) continue;
      const float scale = source.scale(piece.group - part.groups.begin);
      TERSE_DISPATCH(onebit_unpack(source.words + from / 64,
                                   part_live == nullptr ? nullptr : part_live + from / 64,
                                   begin - from, end - from, scale, k > 0, target));
    }
  }
  if (!alone)
    for (int64_t i = 0; i < to - from; ++i) out[from + i] = sum[i] * factor;
}

class OneBitCodec final : public Codec {
 public:
  explicit OneBitCodec(const OneBitOptions& options) : options_(options) {}
  CodecId id() const override { return CodecId::onebit; }
  std::string name() const override { return "onebit"; }
  bool lossy() const override { return true; }
  std::unique_ptr<BoundCodec> bind(const Bucket& bucket, std::vector<Range> parts,
                                   std::span<const double> parameters) const override {
    refuse(parameters);
    return std::make_unique<BoundOneBit>(bucket, std::move(parts), options_);
  }

 private:
  OneBitOptions options_;
};

}  // namespace

std::unique_ptr<Codec> make_onebit_codec(const OneBitOptions& options) {
  return std::make_unique<OneBitCodec>(options);
}

void decode_onebit_message(std::span<const std::byte> message, const MessageTag& tag,
                           const Bucket& bucket, const OneBitOptions& options,
                           std::span<float> out) {
  TERSE_CHECK(static_cast<int64_t>(out.size()) == bucket.size, "{} floats", out.size());
  // A copy: bytes from outside may lie anywhere.
  std::vector<uint64_t> aligned(message.size() / 8 + 1);
  std::memcpy(aligned.data(), message.data(), message.size());
  const std::span<const std::byte> copy(reinterpret_cast<const std::byte*>(aligned.data()),
                                        message.size());
  BoundOneBit bound(bucket, {{0, bucket.size}}, options);
  bound.decode_sum(0, std::span(&tag, 1), std::span(&copy, 1), 1.0f, nullptr, out.data());
}

}  // namespace terse
