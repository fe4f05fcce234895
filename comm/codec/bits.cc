#include "comm/codec/bits.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/isa.h"
#include "comm/codec/bits_device.h"
#include "comm/codec/bits_part.h"
#include "comm/codec/grouped_codec.h"
#include "comm/codec/kernels/bits_kernels.h"

namespace terse {
namespace {

bool zero_bits(const uint64_t* words, int64_t from, int64_t to) {
  for (int64_t bit = from; bit < to; ++bit)
    if ((words[bit / 64] >> (bit % 64) & 1) != 0) return false;
  return true;
}

bool padding_is_zero(const BitsRun& run, const std::byte* payload) {
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
  const BitsPart& place(int64_t j) const { return places_[static_cast<size_t>(j)]; }

  int64_t payload_bytes(int64_t j) const override { return place(j).payload(); }
  void start(const MessageTag& tag) override { noise_ = bits_noise(options_.seed, tag); }
  void measure(const CodecArrays& in, int64_t piece) override;
  void finish_group(int64_t group) override;
  void pack(const CodecArrays& in, const Cut& cut, std::byte* payload) override;
  void finish_payload(int64_t j, std::span<std::byte> payload) override;
  void check_payload(int64_t j, std::span<const std::byte> payload,
                     const MessageTag& tag) const override;
  void unpack(const std::byte* payload, const Cut& cut, const Target& to) const override;

  BitsOptions options_;
  std::vector<BitsPart> places_;
  std::vector<BitsExtent> extents_;  // of pieces
  std::vector<BitsGrid> grids_;      // of groups
  PhiloxStream noise_;
};

BoundBits::BoundBits(const Bucket& bucket, std::vector<Range> parts, const BitsOptions& options,
                     const std::vector<int>& bits)
    : BoundGrouped(bucket, std::move(parts), options.block, CodecId::bits, options.checksum),
      options_(options),
      extents_(layout().pieces().size()) {
  const std::vector<BitsRun> segments = bits_runs(bucket, bits);
  for (int64_t j = 0; j < this->parts(); ++j)
    places_.push_back(cut_bits_part(segments, part(j), groups_of(j), norm()));
  auto segment = segments.begin();
  for (int64_t g = 0; g < layout().groups(); ++g) {
    if (layout().group(g).begin >= segment->range.end) ++segment;
    grids_.push_back(empty_grid(segment->bits, norm()));
  }
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
  const BitsPart& to = place(cut.part);
  const BitsGrid& grid = grids_[static_cast<size_t>(cut.group)];
  auto* codes =
      reinterpret_cast<uint64_t*>(payload + to.run_of(cut.range.begin).offset_of(cut.range.begin));
  const bool noise = options_.rounding == BitsOptions::Rounding::stochastic;
  TERSE_DISPATCH(
      bits_pack(in, cut.range.begin, cut.range.end, grid, noise ? &noise_ : nullptr, codes));
  const int64_t first = std::max(layout().group(cut.group).begin, part(cut.part).begin);
  if (cut.range.begin != first) return;
  const float scales[] = {grid.low, grid.step};
  std::memcpy(payload + to.scale_offset(cut.group), norm() ? scales + 1 : scales,
              static_cast<size_t>(to.scale_bytes()));
}

void BoundBits::finish_payload(int64_t j, std::span<std::byte> payload) {
  const auto widths = payload.first(static_cast<size_t>(place(j).width_bytes()));
  std::fill(widths.begin(), widths.end(), std::byte{0});
  for (size_t r = 0; r < place(j).runs.size(); ++r) widths[r] = place(j).width_byte(r);
  const auto tail = payload.subspan(static_cast<size_t>(place(j).scale_end()));
  std::fill(tail.begin(), tail.end(), std::byte{0});
}

void BoundBits::check_payload(int64_t j, std::span<const std::byte> payload,
                              const MessageTag& tag) const {
  const BitsPart& from = place(j);
  for (size_t r = 0; r < from.runs.size(); ++r)
    if (payload[r] != from.width_byte(r))
      fail(ExitCode::disagree,
           "message from rank {} for bucket {}, step {}: its segment {} has width {}, expected {} "
           "(bits, and 128 with norm scaling); do all ranks run the same recipe?",
           tag.sender, tag.bucket, tag.step, r, static_cast<int>(payload[r]),
           static_cast<int>(from.width_byte(r)));
  const auto widths = payload.first(static_cast<size_t>(from.width_bytes()));
  if (!all_zero(widths.subspan(from.runs.size())) ||
      !all_zero(payload.subspan(static_cast<size_t>(from.scale_end()))))
    fail_padding(tag);
  for (const BitsRun& run : from.runs)
    if (!padding_is_zero(run, payload.data())) fail_padding(tag);
}

void BoundBits::unpack(const std::byte* payload, const Cut& cut, const Target& to) const {
  const BitsPart& from = place(cut.part);
  const BitsRun& run = from.run_of(cut.range.begin);
  BitsGrid grid = empty_grid(run.bits, norm());
  float scales[2] = {};
  std::memcpy(norm() ? scales + 1 : scales, payload + from.scale_offset(cut.group),
              static_cast<size_t>(from.scale_bytes()));
  grid.low = scales[0];
  grid.step = scales[1];
  const auto* codes = reinterpret_cast<const uint64_t*>(payload + run.offset_of(cut.range.begin));
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
    return std::make_unique<BoundBits>(bucket, std::move(parts), options_,
                                       widths(bucket, parameters));
  }
  std::unique_ptr<BoundCodec> bind_device(const Bucket& bucket, std::vector<Range> parts,
                                          DeviceStream stream,
                                          std::span<const double> parameters) const override {
    return bind_bits_device(bucket, std::move(parts), options_, widths(bucket, parameters),
                            std::move(stream));
  }

 private:
  std::vector<int> widths(const Bucket& bucket, std::span<const double> parameters) const {
    if (!parameters.empty() && parameters.size() != bucket.segments.size())
      fail(ExitCode::usage, "bucket {} has {} segments, but bits are given for {}", bucket.index,
           bucket.segments.size(), parameters.size());
    std::vector<int> bits(bucket.segments.size(), options_.bits);
    for (size_t s = 0; s < parameters.size(); ++s) {
      check(parameters[s], bucket.segments[s].name);
      bits[s] = static_cast<int>(parameters[s]);
    }
    return bits;
  }
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
