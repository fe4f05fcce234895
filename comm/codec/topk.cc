#include "comm/codec/topk.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/half.h"
#include "comm/codec/dense_arrays.h"
#include "comm/codec/index_code.h"
#include "comm/codec/layout.h"
#include "comm/codec/topk_message.h"

namespace terse {
namespace {

// Below it a value rounds to a bf16 zero, which is never sent.
constexpr int32_t kLeastBf16 = 0x8001;

bool is_live(const uint64_t* live, int64_t i) {
  return live == nullptr || (live[i / 64] >> (i % 64) & 1) != 0;
}

int64_t count_live(const uint64_t* live, Range range) {
  int64_t count = 0;
  for (int64_t i = range.begin; i < range.end;) {
    if (i % 64 == 0 && i + 64 <= range.end) {
      count += std::popcount(live[i / 64]);
      i += 64;
    } else {
      count += is_live(live, i++) ? 1 : 0;
    }
  }
  return count;
}

class BoundTopK final : public BoundCodec {
 public:
  BoundTopK(const Bucket& bucket, std::vector<Range> parts, const TopKOptions& options,
            std::span<const double> densities)
      : BoundCodec(std::move(parts)), options_(options) {
    std::vector<TopKSegment> segments;
    std::vector<Range> ranges;
    for (size_t s = 0; s < bucket.segments.size(); ++s) {
      const Range range{bucket.segments[s].offset,
                        bucket.segments[s].offset + bucket.segments[s].size};
      if (range.size() == 0) continue;
      const int64_t k = topk_count(densities[s], range.size());
      const bool dense = densities[s] >= 1;
      segments.push_back({range, dense, most_selected(options.select, k, range.size())});
      if (dense) continue;
      ranges.push_back(range);
      densities_.push_back(densities[s]);
      counts_.push_back(k);
    }
    for (const Range part : all_parts())
      parts_.push_back(cut_topk_part(segments, part, options.bf16_values));
    selector_ = std::make_unique<TopKSelector>(
        ranges, counts_,
        SelectOptions{options.select, options.threshold, options.bf16_values ? kLeastBf16 : 1});
    ranges_ = std::move(ranges);
  }

  int64_t bytes(int64_t j) const override { return kHeaderBytes + topk_part(j).most_bytes; }
  bool fixed_size() const override { return false; }
  std::span<const int64_t> selected() const override { return selector_->indices(); }

  void encode(const MessageTag& tag, const EncodeInput& in,
              std::span<const std::span<std::byte>> out, std::span<int64_t> used) override {
    for (int64_t j = 0; j < parts(); ++j)
      TERSE_CHECK(static_cast<int64_t>(out[static_cast<size_t>(j)].size()) >= bytes(j),
                  "room of {} for part {}", out[static_cast<size_t>(j)].size(), j);
    for (size_t s = 0; s < ranges_.size(); ++s)
      if (in.live != nullptr)
        counts_[s] = topk_count(densities_[s], count_live(in.live, ranges_[s]));
    selector_->run(in, counts_);
    if (in.shadow != nullptr) subtract(in.shadow);
    int64_t entry = 0;
    for (size_t j = 0; j < parts_.size(); ++j) {
      const int64_t payload = write_payload(parts_[j], in, out[j].data() + kHeaderBytes, entry);
      used[j] = kHeaderBytes + payload;
      write_header(CodecId::topk, tag, parts_[j].range, out[j].first(static_cast<size_t>(used[j])),
                   options_.checksum);
    }
  }

  void decode_sum(int64_t j, std::span<const MessageTag> tags,
                  std::span<const std::span<const std::byte>> messages, float factor,
                  const uint64_t* live, float* out) override;

 private:
  const TopKPart& topk_part(int64_t j) const { return parts_[static_cast<size_t>(j)]; }
  void subtract(float* shadow) const;
  int64_t write_payload(const TopKPart& part, const EncodeInput& in, std::byte* payload,
                        int64_t& entry) const;
  void write_dense(const TopKPart& part, const EncodeInput& in, std::byte* values) const;
  void reserve(const TopKPart& part, size_t messages);

  TopKOptions options_;
  std::vector<Range> ranges_;  // of the sparse segments, with density and k
  std::vector<double> densities_;
  std::vector<int64_t> counts_;
  std::vector<TopKPart> parts_;
  std::unique_ptr<TopKSelector> selector_;
  std::vector<TopKSource> sources_;  // during decode_sum()
  std::unique_ptr<uint32_t[]> scratch_;
  int64_t scratch_size_ = 0;
};

// The shadow holds x: what was sent leaves it.
void BoundTopK::subtract(float* shadow) const {
  const auto indices = selector_->indices();
  const auto values = selector_->values();
  const auto count = static_cast<int64_t>(indices.size());
#pragma omp parallel for schedule(static) if (count > 1000)
  for (int64_t e = 0; e < count; ++e) {
    const float x = values[static_cast<size_t>(e)];
    const float sent = options_.bf16_values ? bf16_to_float(bf16_from_float(x)) : x;
    // Not x - x: an infinity would leave a NaN.
    shadow[indices[static_cast<size_t>(e)]] = sent == x ? 0 : x - sent;
  }
}

// `entry`: the part's first among all selected; moved on behind its last.
int64_t BoundTopK::write_payload(const TopKPart& part, const EncodeInput& in, std::byte* payload,
                                 int64_t& entry) const {
  const auto indices = selector_->indices();
  const int64_t first = entry;
  const auto entries_of = [&](const TopKPiece& piece) {
    const auto end = std::lower_bound(indices.begin() + entry, indices.end(), piece.range.end);
    const auto inside = indices.subspan(static_cast<size_t>(entry),
                                        static_cast<size_t>(end - indices.begin() - entry));
    entry += static_cast<int64_t>(inside.size());
    return inside;
  };
  for (size_t p = 0; p < part.sparse.size(); ++p) {
    const auto inside = entries_of(part.sparse[p]);
    const IndexCode code = choose_index_code(inside, part.sparse[p].range);
    write_head(payload, p, {static_cast<int64_t>(inside.size()), code.bitmap});
  }
  write_dense(part, in, payload + part.heads_bytes());
  std::byte* at = payload + part.sparse_offset();
  const auto values =
      selector_->values().subspan(static_cast<size_t>(first), static_cast<size_t>(entry - first));
  if (options_.bf16_values)
    to_bf16(values.data(), nullptr, entry - first, reinterpret_cast<uint16_t*>(at), nullptr);
  else if (!values.empty())
    std::memcpy(at, values.data(), values.size_bytes());
  at += (entry - first) * part.value_bytes;
  entry = first;
  for (const TopKPiece& piece : part.sparse) {
    const auto inside = entries_of(piece);
    const IndexCode code = choose_index_code(inside, piece.range);
    write_indices(code, inside, piece.range, at);
    at += code.bytes;
  }
  for (; (at - payload) % 8 != 0; ++at) *at = std::byte{0};
  return at - payload;
}

void BoundTopK::write_dense(const TopKPart& part, const EncodeInput& in, std::byte* values) const {
  for (const TopKPiece& piece : part.dense) {
    const int64_t b = piece.range.begin, n = piece.range.size();
    const float* residual = in.residual == nullptr ? nullptr : in.residual + b;
    float* shadow = in.shadow == nullptr ? nullptr : in.shadow + b;
    if (options_.bf16_values) {
      to_bf16(in.message + b, residual, n, reinterpret_cast<uint16_t*>(values), shadow);
    } else {
      add_rows(in.message + b, residual, n, reinterpret_cast<float*>(values));
      if (shadow != nullptr) std::fill_n(shadow, n, 0.0f);
    }
    for (int64_t i = 0; i < n && in.live != nullptr; ++i) {
      if (is_live(in.live, b + i)) continue;
      std::fill_n(values + i * part.value_bytes, part.value_bytes, std::byte{0});
      if (shadow != nullptr) shadow[i] = 0;
    }
    values += n * part.value_bytes;
  }
}

void BoundTopK::reserve(const TopKPart& part, size_t messages) {
  const int64_t windows = (part.range.size() + kWindow - 1) / kWindow;
  const int64_t wanted = static_cast<int64_t>(messages) * (part.most_entries + windows + 1);
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
  const TopKPart& part = topk_part(j);
  reserve(part, messages.size());
  const int64_t each = scratch_size_ / static_cast<int64_t>(messages.size());
  for (size_t k = 0; k < messages.size(); ++k) {
    const auto payload = check_message(CodecId::topk, tags[k], part.range, messages[k], -1);
    uint32_t* indices = scratch_.get() + static_cast<int64_t>(k) * each;
    const char* defect =
        read_topk_payload(part, payload, indices, indices + part.most_entries, sources_[k]);
    if (defect != nullptr)
      fail(ExitCode::disagree,
           "message from rank {} for bucket {}, step {}: its payload has {}; do all ranks run the "
           "same recipe and version of terse?",
           tags[k].sender, tags[k].bucket, tags[k].step, defect);
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
    std::vector<double> densities(parameters.begin(), parameters.end());
    if (parameters.empty()) densities = topk_densities(bucket, options_);
    if (densities.size() != bucket.segments.size())
      fail(ExitCode::usage, "bucket {} has {} segments, but {} densities were given", bucket.index,
           bucket.segments.size(), densities.size());
    for (size_t s = 0; s < densities.size(); ++s)
      if (!(densities[s] > 0 && densities[s] <= 1))
        fail(ExitCode::usage, "density {} of {}: must lie in (0, 1]", densities[s],
             bucket.segments[s].name);
    return std::make_unique<BoundTopK>(bucket, std::move(parts), options_, densities);
  }
  std::vector<double> densities(const Bucket& bucket, double density) const override {
    TopKOptions options = options_;
    options.density = density;
    return topk_densities(bucket, options);
  }

 private:
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
