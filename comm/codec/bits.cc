#include "comm/codec/bits.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/isa.h"
#include "comm/codec/grouped_codec.h"
#include "comm/codec/kernels/bits_kernels.h"

namespace terse {
namespace {

// The codes of one segment inside one part: words of 64 elements, aligned in the bucket.
struct Run {
  Range range;
  int bits = 0;
  int64_t offset = 0;  // in the payload, bytes
  int64_t first_word() const { return range.begin / 64; }
  int64_t bytes() const { return ((range.end + 63) / 64 - first_word()) * bits * 8; }
};

// Payload: the runs' widths, their codes, the groups' scales, padding.
struct PartPlan {
  std::vector<Run> runs;
  int64_t scales = 0;  // where they begin
  int64_t end = 0;     // of the scales
};

int64_t up_to_8(int64_t bytes) {
  return (bytes + 7) / 8 * 8;
}

bool zero_bits(const uint64_t* words, int64_t from, int64_t to) {
  for (int64_t bit = from; bit < to; ++bit)
    if ((words[bit / 64] >> (bit % 64) & 1) != 0) return false;
  return true;
}

bool padding_is_zero(const Run& run, const std::byte* payload) {
  const auto* words = reinterpret_cast<const uint64_t*>(payload + run.offset);
  const int64_t last = run.range.end - run.first_word() * 64;
  return zero_bits(words, 0, run.range.begin % 64 * run.bits) &&
         zero_bits(words, last * run.bits, run.bytes() * 8);
}

class BoundBits final : public BoundGrouped {
 public:
  BoundBits(const Bucket& bucket, std::vector<Range> parts, const BitsOptions& options,
            const std::vector<int>& bits);

 private:
  bool norm() const { return options_.scaling == BitsOptions::Scaling::norm; }
  int64_t scale_bytes() const { return norm() ? 4 : 8; }
  std::byte width_byte(int bits) const {
    return static_cast<std::byte>(norm() ? 128 + bits : bits);
  }
  const PartPlan& plan(int64_t j) const { return plans_[static_cast<size_t>(j)]; }
  const Run& run_of(const Cut& cut) const;
  int64_t scale_offset(const Cut& cut) const {
    return plan(cut.part).scales + (cut.group - groups_of(cut.part).begin) * scale_bytes();
  }
  PartPlan plan_part(int64_t j, const std::vector<Run>& segments) const;

  int64_t payload_bytes(int64_t j) const override { return up_to_8(plan(j).end); }
  void start(const MessageTag& tag) override;
  void measure(const CodecArrays& in, int64_t piece) override;
  void finish_group(int64_t group) override;
  void pack(const CodecArrays& in, const Cut& cut, std::byte* payload) override;
  void finish_payload(int64_t j, std::span<std::byte> payload) override;
  void check_payload(int64_t j, std::span<const std::byte> payload,
                     const MessageTag& tag) const override;
  void unpack(const std::byte* payload, const Cut& cut, const Target& to) const override;

  BitsOptions options_;
  std::vector<PartPlan> plans_;
  std::vector<BitsExtent> extents_;  // of pieces
  std::vector<BitsGrid> grids_;      // of groups
  PhiloxStream noise_;
};

BoundBits::BoundBits(const Bucket& bucket, std::vector<Range> parts, const BitsOptions& options,
                     const std::vector<int>& bits)
    : BoundGrouped(bucket, std::move(parts), options.block, CodecId::bits, options.checksum),
      options_(options),
      extents_(layout().pieces().size()) {
  std::vector<Run> segments;
  for (size_t s = 0; s < bits.size(); ++s) {
    const Segment& segment = bucket.segments[s];
    if (segment.size > 0)
      segments.push_back({{segment.offset, segment.offset + segment.size}, bits[s], 0});
  }
  for (int64_t j = 0; j < this->parts(); ++j) plans_.push_back(plan_part(j, segments));
  auto segment = segments.begin();
  for (int64_t g = 0; g < layout().groups(); ++g) {
    if (layout().group(g).begin >= segment->range.end) ++segment;
    grids_.push_back(empty_grid(segment->bits, norm()));
  }
}

PartPlan BoundBits::plan_part(int64_t j, const std::vector<Run>& segments) const {
  PartPlan plan;
  for (Run run : segments) {
    run.range = {std::max(run.range.begin, part(j).begin), std::min(run.range.end, part(j).end)};
    if (run.range.size() > 0) plan.runs.push_back(run);
  }
  int64_t at = up_to_8(static_cast<int64_t>(plan.runs.size()));
  for (Run& run : plan.runs) {
    run.offset = at;
    at += run.bytes();
  }
  plan.scales = at;
  plan.end = at + groups_of(j).size() * scale_bytes();
  return plan;
}

const Run& BoundBits::run_of(const Cut& cut) const {
  const auto& runs = plan(cut.part).runs;
  const auto ends_after = [](int64_t at, const Run& run) { return at < run.range.end; };
  return *std::upper_bound(runs.begin(), runs.end(), cut.range.begin, ends_after);
}

void BoundBits::start(const MessageTag& tag) {
  noise_.key[0] = static_cast<uint32_t>(options_.seed);
  noise_.key[1] = static_cast<uint32_t>(options_.seed >> 32);
  noise_.counter[0] = static_cast<uint32_t>(tag.step);
  noise_.counter[1] = tag.bucket * 2 + tag.stage;
  noise_.counter[2] = tag.sender;
}

void BoundBits::measure(const CodecArrays& in, int64_t p) {
  const Piece& piece = layout().pieces()[static_cast<size_t>(p)];
  extents_[static_cast<size_t>(p)] = TERSE_DISPATCH(bits_extent(in, piece.begin, piece.end));
}

void BoundBits::finish_group(int64_t g) {
  const Range pieces = layout().pieces_of_group(g);
  BitsExtent all;
  for (int64_t p = pieces.begin; p < pieces.end; ++p) {
    all.low = std::min(all.low, extents_[static_cast<size_t>(p)].low);
    all.high = std::max(all.high, extents_[static_cast<size_t>(p)].high);
  }
  BitsGrid& grid = grids_[static_cast<size_t>(g)];
  grid = fit_grid(grid.bits, norm(), all);
}

void BoundBits::pack(const CodecArrays& in, const Cut& cut, std::byte* payload) {
  const Run& run = run_of(cut);
  const BitsGrid& grid = grids_[static_cast<size_t>(cut.group)];
  auto* codes = reinterpret_cast<uint64_t*>(payload + run.offset) +
                (cut.range.begin / 64 - run.first_word()) * run.bits;
  const bool noise = options_.rounding == BitsOptions::Rounding::stochastic;
  TERSE_DISPATCH(
      bits_pack(in, cut.range.begin, cut.range.end, grid, noise ? &noise_ : nullptr, codes));
  const int64_t first = std::max(layout().group(cut.group).begin, part(cut.part).begin);
  if (cut.range.begin != first) return;
  const float scales[] = {grid.low, grid.step};
  std::memcpy(payload + scale_offset(cut), norm() ? scales + 1 : scales,
              static_cast<size_t>(scale_bytes()));
}

void BoundBits::finish_payload(int64_t j, std::span<std::byte> payload) {
  const auto& runs = plan(j).runs;
  const auto widths =
      payload.first(static_cast<size_t>(up_to_8(static_cast<int64_t>(runs.size()))));
  std::fill(widths.begin(), widths.end(), std::byte{0});
  for (size_t r = 0; r < runs.size(); ++r) widths[r] = width_byte(runs[r].bits);
  const auto tail = payload.subspan(static_cast<size_t>(plan(j).end));
  std::fill(tail.begin(), tail.end(), std::byte{0});
}

void BoundBits::check_payload(int64_t j, std::span<const std::byte> payload,
                              const MessageTag& tag) const {
  const auto& runs = plan(j).runs;
  for (size_t r = 0; r < runs.size(); ++r)
    if (payload[r] != width_byte(runs[r].bits))
      fail(ExitCode::disagree,
           "message from rank {} for bucket {}, step {}: its segment {} has width {}, expected {} "
           "(bits, and 128 with norm scaling); do all ranks run the same recipe?",
           tag.sender, tag.bucket, tag.step, r, static_cast<int>(payload[r]),
           static_cast<int>(width_byte(runs[r].bits)));
  const auto count = static_cast<int64_t>(runs.size());
  const auto slack = payload.subspan(runs.size(), static_cast<size_t>(up_to_8(count) - count));
  if (!all_zero(slack) || !all_zero(payload.subspan(static_cast<size_t>(plan(j).end))))
    fail_padding(tag);
  for (const Run& run : runs)
    if (!padding_is_zero(run, payload.data())) fail_padding(tag);
}

void BoundBits::unpack(const std::byte* payload, const Cut& cut, const Target& to) const {
  const Run& run = run_of(cut);
  BitsGrid grid = empty_grid(run.bits, norm());
  float scales[2] = {};
  std::memcpy(norm() ? scales + 1 : scales, payload + scale_offset(cut),
              static_cast<size_t>(scale_bytes()));
  grid.low = scales[0];
  grid.step = scales[1];
  const auto* codes = reinterpret_cast<const uint64_t*>(payload + run.offset) +
                      (cut.range.begin / 64 - run.first_word()) * run.bits;
  TERSE_DISPATCH(bits_unpack(codes, to.live, cut.range.begin - to.origin, cut.range.end - to.origin,
                             grid, to.add, to.out));
}

class BitsCodec final : public Codec {
 public:
  explicit BitsCodec(const BitsOptions& options) : options_(options) {
    check(options.bits, "all segments");
  }
  CodecId id() const override { return CodecId::bits; }
  std::string name() const override { return "bits"; }
  bool lossy() const override { return true; }
  std::unique_ptr<BoundCodec> bind(const Bucket& bucket, std::vector<Range> parts,
                                   std::span<const double> parameters) const override {
    if (!parameters.empty() && parameters.size() != bucket.segments.size())
      fail(ExitCode::usage, "bucket {} has {} segments, but bits are given for {}", bucket.index,
           bucket.segments.size(), parameters.size());
    std::vector<int> bits(bucket.segments.size(), options_.bits);
    for (size_t s = 0; s < parameters.size(); ++s) {
      check(parameters[s], bucket.segments[s].name);
      bits[s] = static_cast<int>(parameters[s]);
    }
    return std::make_unique<BoundBits>(bucket, std::move(parts), options_, bits);
  }

 private:
  void check(double bits, const std::string& where) const {
    const double least = options_.scaling == BitsOptions::Scaling::norm ? 2 : 1;
    if (!(bits >= least && bits <= 8) || bits != std::floor(bits))
      fail(ExitCode::usage, "codec bits: {} bits for {}, but {} to 8 are possible", bits, where,
           least);
  }

  BitsOptions options_;
};

}  // namespace

std::unique_ptr<Codec> make_bits_codec(const BitsOptions& options) {
  return std::make_unique<BitsCodec>(options);
}

}  // namespace terse
