#include "comm/codec/onebit.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/isa.h"
#include "comm/codec/grouped_codec.h"
#include "comm/codec/kernels/onebit_kernels.h"
#include "comm/codec/onebit_device.h"
#include "comm/codec/onebit_part.h"

namespace terse {
namespace {

// Sums in fp32 overflow or vanish far outside the usual range: then the piece is added in fp64.
PieceSum exact_sum(const CodecArrays& in, const Piece& piece, bool squares, int64_t count) {
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

// Payload: bits, scales, padding.
class BoundOneBit final : public BoundGrouped {
 public:
  BoundOneBit(const Bucket& bucket, std::vector<Range> parts, const OneBitOptions& options)
      : BoundGrouped(bucket, std::move(parts), options.block, CodecId::onebit, options.checksum),
        squares_(options.scale == ScaleKind::rms),
        sums_(layout().pieces().size()),
        scales_(static_cast<size_t>(layout().groups())) {}

 private:
  OneBitPart place(int64_t j) const { return {part(j), groups_of(j)}; }
  int64_t scale_offset(int64_t j) const { return place(j).scale_offset(); }
  int64_t scale_end(int64_t j) const { return place(j).scale_end(); }
  int64_t payload_bytes(int64_t j) const override { return place(j).payload(); }

  void measure(const CodecArrays& in, int64_t piece) override;
  void finish_group(int64_t group) override;
  void pack(const CodecArrays& in, const Cut& cut, std::byte* payload) override;
  void finish_payload(int64_t j, std::span<std::byte> payload) override;
  void check_payload(int64_t j, std::span<const std::byte> payload,
                     const MessageTag& tag) const override;
  void unpack(const std::byte* payload, const Cut& cut, const Target& to) const override;
  std::optional<bool> finite(int64_t j, std::span<const std::byte> message) const override;

  bool squares_;
  std::vector<PieceSum> sums_;
  std::vector<float> scales_;
};

void BoundOneBit::measure(const CodecArrays& in, int64_t p) {
  const Piece& piece = layout().pieces()[static_cast<size_t>(p)];
  PieceSum sum = TERSE_DISPATCH(onebit_sum(in, piece.begin, piece.end, squares_));
  if (!(sum.sum > 1e-25 && sum.sum < 1e37)) sum = exact_sum(in, piece, squares_, sum.count);
  sums_[static_cast<size_t>(p)] = sum;
}

void BoundOneBit::finish_group(int64_t g) {
  const Range pieces = layout().pieces_of_group(g);
  PieceSum total;
  for (int64_t p = pieces.begin; p < pieces.end; ++p) {
    total.sum += sums_[static_cast<size_t>(p)].sum;
    total.count += sums_[static_cast<size_t>(p)].count;
  }
  const double mean = total.count == 0 ? 0.0 : total.sum / static_cast<double>(total.count);
  scales_[static_cast<size_t>(g)] = static_cast<float>(squares_ ? std::sqrt(mean) : mean);
}

void BoundOneBit::pack(const CodecArrays& in, const Cut& cut, std::byte* payload) {
  const int64_t base = part(cut.part).begin;
  TERSE_DISPATCH(onebit_pack(in.from(base), cut.range.begin - base, cut.range.end - base,
                             scales_[static_cast<size_t>(cut.group)],
                             reinterpret_cast<uint64_t*>(payload)));
}

void BoundOneBit::finish_payload(int64_t j, std::span<std::byte> payload) {
  const auto tail = payload.subspan(static_cast<size_t>(scale_offset(j)));
  std::fill(tail.begin(), tail.end(), std::byte{0});
  const Range groups = groups_of(j);
  if (groups.size() > 0)
    std::memcpy(tail.data(), scales_.data() + groups.begin, static_cast<size_t>(groups.size()) * 4);
}

void BoundOneBit::check_payload(int64_t j, std::span<const std::byte> payload,
                                const MessageTag& tag) const {
  const int64_t n = part(j).size();
  const auto* words = reinterpret_cast<const uint64_t*>(payload.data());
  if (n % 64 != 0 && words[n / 64] >> (n % 64) != 0) fail_padding(tag);
  if (!all_zero(payload.subspan(static_cast<size_t>(scale_end(j))))) fail_padding(tag);
}

void BoundOneBit::unpack(const std::byte* payload, const Cut& cut, const Target& to) const {
  float scale;
  const int64_t group = cut.group - groups_of(cut.part).begin;
  std::memcpy(&scale, payload + scale_offset(cut.part) + group * 4, sizeof scale);
  const auto* words = reinterpret_cast<const uint64_t*>(payload);
  TERSE_DISPATCH(onebit_unpack(words + (to.origin - part(cut.part).begin) / 64, to.live,
                               cut.range.begin - to.origin, cut.range.end - to.origin, scale,
                               to.add, to.out));
}

std::optional<bool> BoundOneBit::finite(int64_t j, std::span<const std::byte> message) const {
  const auto scales = message.subspan(kHeaderBytes)
                          .subspan(static_cast<size_t>(scale_offset(j)),
                                   static_cast<size_t>(groups_of(j).size()) * 4);
  for (size_t at = 0; at < scales.size(); at += 4) {
    float scale;
    std::memcpy(&scale, &scales[at], sizeof scale);
    if (!std::isfinite(scale)) return false;
  }
  return true;
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
  std::unique_ptr<BoundCodec> bind_device(const Bucket& bucket, std::vector<Range> parts,
                                          DeviceStream stream,
                                          std::span<const double> parameters) const override {
    refuse(parameters);
    return bind_onebit_device(bucket, std::move(parts), options_, std::move(stream));
  }

 private:
  OneBitOptions options_;
};

}  // namespace

std::unique_ptr<Codec> make_onebit_codec(const OneBitOptions& options) {
  return std::make_unique<OneBitCodec>(options);
}

}  // namespace terse
