#include "comm/codec/topk.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/half.h"
#include "comm/codec/topk_device.h"
#include "comm/codec/topk_message.h"
#include "comm/codec/topk_plan.h"

namespace terse {
namespace {

class BoundTopK final : public BoundCodec {
 public:
  BoundTopK(const Bucket& bucket, std::vector<Range> parts, const TopKOptions& options,
            std::span<const double> densities)
      : BoundCodec(std::move(parts)),
        options_(options),
        plan_(bucket, all_parts(), options, densities),
        selector_(plan_.ranges(), plan_.most(),
                  {options.select, options.threshold, options.bf16_values ? kLeastBf16 : 1}) {}

  int64_t bytes(int64_t j) const override { return kHeaderBytes + plan_.part(j).most_bytes; }
  bool fixed_size() const override { return false; }
  std::span<const int64_t> selected() const override { return selector_.indices(); }

  void encode(const MessageTag& tag, const EncodeInput& in,
              std::span<const std::span<std::byte>> out, std::span<int64_t> used) override {
    for (int64_t j = 0; j < parts(); ++j)
      TERSE_CHECK(static_cast<int64_t>(out[static_cast<size_t>(j)].size()) >= bytes(j),
                  "room of {} for part {}", out[static_cast<size_t>(j)].size(), j);
    selector_.run(in, plan_.counts(in.live));
    if (in.shadow != nullptr) subtract(in.shadow);
    TopKEntries left{selector_.indices(), selector_.values()};
    for (size_t j = 0; j < plan_.parts().size(); ++j) {
      const TopKPart& part = plan_.parts()[j];
      std::byte* payload = out[j].data() + kHeaderBytes;
      write_dense(part, in, payload + part.heads_bytes());
      used[j] = kHeaderBytes + write_topk_entries(part, left.take(part.range.end), payload);
      write_header(CodecId::topk, tag, part.range, out[j].first(static_cast<size_t>(used[j])),
                   options_.checksum);
    }
  }

  void decode_sum(int64_t j, std::span<const MessageTag> tags,
                  std::span<const std::span<const std::byte>> messages, float factor,
                  const uint64_t* live, float* out) override;

 private:
  void subtract(float* shadow) const;
  void write_dense(const TopKPart& part, const EncodeInput& in, std::byte* values) const;
  void reserve(const TopKPart& part, size_t messages);

  TopKOptions options_;
  TopKPlan plan_;
  TopKSelector selector_;
  std::vector<TopKSource> sources_;  // during decode_sum()
  std::unique_ptr<uint32_t[]> scratch_;
  int64_t scratch_size_ = 0;
};

// The shadow holds x: what was sent leaves it.
void BoundTopK::subtract(float* shadow) const {
  const auto indices = selector_.indices();
  const auto values = selector_.values();
  const auto count = static_cast<int64_t>(indices.size());
#pragma omp parallel for schedule(static) if (count > 1000)
  for (int64_t e = 0; e < count; ++e) {
    const float x = values[static_cast<size_t>(e)];
    const float sent = options_.bf16_values ? bf16_to_float(bf16_from_float(x)) : x;
    // Not x - x: an infinity would leave a NaN.
    shadow[indices[static_cast<size_t>(e)]] = sent == x ? 0 : x - sent;
  }
}

void BoundTopK::write_dense(const TopKPart& part, const EncodeInput& in, std::byte* values) const {
  for (const TopKPiece& piece : part.dense) {
    const int64_t b = piece.range.begin;
    write_topk_dense(piece.range,
                     {.message = in.message + b,
                      .residual = in.residual == nullptr ? nullptr : in.residual + b,
                      .shadow = in.shadow == nullptr ? nullptr : in.shadow + b,
                      .live = in.live},
                     options_.bf16_values, values);
    values += piece.range.size() * part.value_bytes;
  }
}

void BoundTopK::reserve(const TopKPart& part, size_t messages) {
  const int64_t wanted = static_cast<int64_t>(messages) * (part.most_entries + part.windows() + 1);
  if (wanted > scratch_size_) {
    scratch_ = std::make_unique_for_overwrite<uint32_t[]>(static_cast<size_t>(wanted));
    scratch_size_ = wanted;
  }
  sources_.resize(messages);
}

void BoundTopK::decode_sum(int64_t j, std::span<const MessageTag> tags,
                           std::span<const std::span<const std::byte>> messages, float factor,
                           const uint64_t* live, float* out) {
  TERSE_CHECK(!messages.empty() && tags.size() == messages.size(), "{} messages", messages.size());
  const TopKPart& part = plan_.part(j);
  reserve(part, messages.size());
  const int64_t each = scratch_size_ / static_cast<int64_t>(messages.size());
  for (size_t k = 0; k < messages.size(); ++k) {
    uint32_t* indices = scratch_.get() + static_cast<int64_t>(k) * each;
    sources_[k] =
        read_topk_message(part, tags[k], messages[k], indices, indices + part.most_entries);
  }
  sum_topk_sources(part, sources_, factor, live, out);
}

class TopKCodec final : public Codec {
 public:
  explicit TopKCodec(const TopKOptions& options) : options_(options) {}
  CodecId id() const override { return CodecId::topk; }
  std::string name() const override { return "topk"; }
  bool lossy() const override { return true; }
  std::unique_ptr<BoundCodec> bind(const Bucket& bucket, std::vector<Range> parts,
                                   std::span<const double> parameters) const override {
    return std::make_unique<BoundTopK>(bucket, std::move(parts), options_,
                                       checked(bucket, parameters));
  }
  std::unique_ptr<BoundCodec> bind_device(const Bucket& bucket, std::vector<Range> parts,
                                          DeviceStream stream,
                                          std::span<const double> parameters) const override {
    if (options_.select != SelectRule::exact)
      fail(ExitCode::usage,
           "GPUs have kernels for the exact selection only: [exchange] select = \"exact\", or "
           "[train] device = \"cpu\"");
    return bind_topk_device(bucket, std::move(parts), options_, checked(bucket, parameters),
                            std::move(stream));
  }
  std::vector<double> densities(const Bucket& bucket, double density) const override {
    TopKOptions options = options_;
    options.density = density;
    return topk_densities(bucket, options);
  }

 private:
  std::vector<double> checked(const Bucket& bucket, std::span<const double> parameters) const {
    std::vector<double> densities(parameters.begin(), parameters.end());
    if (parameters.empty()) densities = topk_densities(bucket, options_);
    if (densities.size() != bucket.segments.size())
      fail(ExitCode::usage, "bucket {} has {} segments, but {} densities were given", bucket.index,
           bucket.segments.size(), densities.size());
    for (size_t s = 0; s < densities.size(); ++s)
      if (!(densities[s] > 0 && densities[s] <= 1))
        fail(ExitCode::usage, "density {} of {}: must lie in (0, 1]", densities[s],
             bucket.segments[s].name);
    return densities;
  }

  TopKOptions options_;
};

}  // namespace

std::unique_ptr<Codec> make_topk_codec(const TopKOptions& options) {
  if (!(options.density > 0 && options.density <= 1))
    fail(ExitCode::usage, "density {}: must lie in (0, 1]", options.density);
  if (options.select == SelectRule::threshold &&
      !(options.threshold > 0 && std::isfinite(options.threshold)))
    fail(ExitCode::usage, "threshold {}: must be a positive number", options.threshold);
  return std::make_unique<TopKCodec>(options);
}

std::vector<double> topk_densities(const Bucket& bucket, const TopKOptions& options) {
  std::vector<double> densities;
  for (const Segment& segment : bucket.segments)
    densities.push_back(!segment.matrix() || segment.size < options.dense_below ? 1
                                                                                : options.density);
  return densities;
}

int64_t topk_count(double density, int64_t n) {
  const double wanted = density * static_cast<double>(n);
  const auto k = static_cast<int64_t>(std::ceil(wanted * (1 - 1e-12)));
  return std::clamp<int64_t>(k, std::min<int64_t>(1, n), n);
}

}  // namespace terse
