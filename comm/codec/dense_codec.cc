#include "comm/codec/dense_codec.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "comm/codec/dense_arrays.h"

namespace terse {
namespace {

// Zeroes what is dead; `first` is a multiple of 64 away from the mask's beginning.
template <typename T>
void zero_dead(const uint64_t* live, int64_t n, T* values) {
  if (live == nullptr) return;
  for (int64_t i = 0; i < n; ++i)
    if ((live[i / 64] >> (i % 64) & 1) == 0) values[i] = T{};
}

class BoundDense final : public BoundCodec {
 public:
  BoundDense(std::vector<Range> parts, CodecId id) : BoundCodec(std::move(parts)), id_(id) {}

  int64_t bytes(int64_t j) const override { return kHeaderBytes + part(j).size() * width(); }

  void encode(const MessageTag& tag, const EncodeInput& in,
              std::span<const std::span<std::byte>> out, std::span<int64_t> used) override {
    for (int64_t j = 0; j < parts(); ++j) {
      const auto message = out[static_cast<size_t>(j)].first(static_cast<size_t>(bytes(j)));
      encode_part(part(j), in, message.data() + kHeaderBytes);
      write_header(id_, tag, part(j), message, true);
      used[static_cast<size_t>(j)] = bytes(j);
    }
  }

  void decode_sum(int64_t j, std::span<const MessageTag> tags,
                  std::span<const std::span<const std::byte>> messages, float factor,
                  const uint64_t* live, float* out) override {
    const Range range = part(j);
    rows_.clear();
    for (size_t k = 0; k < messages.size(); ++k)
      rows_.push_back(
          check_message(id_, tags[k], range, messages[k], range.size() * width()).data());
    sum_rows(id_ == CodecId::bf16, rows_, range.size(), factor, out);
    zero_dead(live == nullptr ? nullptr : live + range.begin / 64, range.size(), out);
  }

 private:
  int64_t width() const { return id_ == CodecId::bf16 ? 2 : 4; }

  void encode_part(Range range, const EncodeInput& in, std::byte* out) const {
    const int64_t n = range.size();
    const float* message = in.message + range.begin;
    const float* residual = in.residual == nullptr ? nullptr : in.residual + range.begin;
    float* shadow = in.shadow == nullptr ? nullptr : in.shadow + range.begin;
    const uint64_t* live = in.live == nullptr ? nullptr : in.live + range.begin / 64;
    if (id_ == CodecId::bf16) {
      to_bf16(message, residual, n, reinterpret_cast<uint16_t*>(out), shadow);
      zero_dead(live, n, reinterpret_cast<uint16_t*>(out));
    } else {
      add_rows(message, residual, n, reinterpret_cast<float*>(out));
      zero_dead(live, n, reinterpret_cast<float*>(out));
      if (shadow != nullptr) std::fill_n(shadow, n, 0.0f);
    }
    if (shadow != nullptr) zero_dead(live, n, shadow);
  }

  CodecId id_;
  std::vector<const std::byte*> rows_;
};

class DenseCodec final : public Codec {
 public:
  explicit DenseCodec(CodecId id) : id_(id) {}
  CodecId id() const override { return id_; }
  std::string name() const override { return codec_name(id_); }
  bool lossy() const override { return id_ == CodecId::bf16; }
  std::unique_ptr<BoundCodec> bind(const Bucket& bucket, std::vector<Range> parts,
                                   std::span<const double> parameters) const override {
    refuse(parameters);
    TERSE_CHECK(parts.empty() || parts.back().end <= bucket.size, "parts beyond the bucket");
    return std::make_unique<BoundDense>(std::move(parts), id_);
  }

 private:
  CodecId id_;
};

}  // namespace

std::unique_ptr<Codec> make_dense_codec(CodecId id) {
  TERSE_CHECK(id == CodecId::fp32 || id == CodecId::bf16, "not a dense codec");
  return std::make_unique<DenseCodec>(id);
}

}  // namespace terse
