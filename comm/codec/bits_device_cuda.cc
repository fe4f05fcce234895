#include "comm/codec/bits_device.h"

#include <algorithm>
#include <cstring>

#include "comm/codec/bits_launch.h"
#include "comm/codec/bits_part.h"
#include "comm/codec/device_memory.h"
#include "comm/codec/device_messages.h"
#include "comm/codec/layout.h"

namespace terse {
namespace {

// What the kernels know of layout and parts, on the host.
struct HostTables {
  HostTables(const Bucket& bucket, const Layout& layout, std::span<const Range> parts, bool norm,
             const std::vector<int>& bits);

  std::vector<cuda::BitsPiece> pieces;
  std::vector<int64_t> first_piece_of_group;
  std::vector<cuda::BitsMessage> messages;
  std::vector<uint64_t> widths;

 private:
  void add_message(const BitsPart& part, int64_t begin);
  void add_pieces(const Layout& layout, std::span<const Range> parts,
                  const std::vector<BitsPart>& places);
};

HostTables::HostTables(const Bucket& bucket, const Layout& layout, std::span<const Range> parts,
                       bool norm, const std::vector<int>& bits) {
  const std::vector<BitsRun> segments = bits_runs(bucket, bits);
  std::vector<BitsPart> places;
  for (const Range range : parts) {
    places.push_back(cut_bits_part(segments, range, layout.groups_of(range), norm));
    add_message(places.back(), range.begin);
  }
  add_pieces(layout, parts, places);
}

void HostTables::add_message(const BitsPart& part, int64_t begin) {
  messages.push_back({.begin = begin,
                      .first_group = part.groups.begin,
                      .groups = part.groups.size(),
                      .first_width = static_cast<int64_t>(widths.size()),
                      .width_words = part.width_bytes() / 8,
                      .scale_offset = part.scales,
                      .payload = part.payload()});
  std::vector<std::byte> bytes(static_cast<size_t>(part.width_bytes()));
  for (size_t r = 0; r < part.runs.size(); ++r) bytes[r] = part.width_byte(r);
  for (size_t at = 0; at < bytes.size(); at += 8) {
    widths.push_back(0);
    std::memcpy(&widths.back(), &bytes[at], 8);
  }
}

void HostTables::add_pieces(const Layout& layout, std::span<const Range> parts,
                            const std::vector<BitsPart>& places) {
  size_t j = 0;
  for (const Piece& piece : layout.pieces()) {
    if (static_cast<int64_t>(first_piece_of_group.size()) == piece.group)
      first_piece_of_group.push_back(static_cast<int64_t>(pieces.size()));
    for (int64_t at = piece.begin; at < piece.end; at = pieces.back().end) {
      while (parts[j].end <= at) ++j;
      const BitsRun& run = places[j].run_of(at);
      if (messages[j].pieces++ == 0) messages[j].first_piece = static_cast<int64_t>(pieces.size());
      pieces.push_back({.begin = at,
                        .end = std::min(piece.end, parts[j].end),
                        .group = piece.group,
                        .part = static_cast<int64_t>(j),
                        .codes = run.offset_of(at),
                        .bits = run.bits});
    }
  }
  first_piece_of_group.push_back(static_cast<int64_t>(pieces.size()));
}

class BoundBitsDevice final : public BoundCodec {
 public:
  BoundBitsDevice(HostTables host, std::vector<Range> parts, const BitsOptions& options,
                  DeviceStream stream)
      : BoundCodec(std::move(parts)),
        options_(options),
        messages_(std::move(host.messages)),
        piece_(host.pieces),
        first_piece_of_group_(host.first_piece_of_group),
        part_(messages_),
        width_(host.widths),
        extents_(host.pieces.size()),
        grids_(host.first_piece_of_group.size() - 1),
        headers_(CodecId::bits, std::move(stream)) {
    tables_ = {.pieces = static_cast<int64_t>(host.pieces.size()),
               .groups = static_cast<int64_t>(host.first_piece_of_group.size()) - 1,
               .norm = options.scaling == BitsOptions::Scaling::norm,
               .piece = piece_.data(),
               .first_piece_of_group = first_piece_of_group_.data(),
               .part = part_.data(),
               .width = width_.data()};
  }

  int64_t bytes(int64_t j) const override { return kHeaderBytes + message(j).payload; }

  void encode(const MessageTag& tag, const EncodeInput& in,
              std::span<const std::span<std::byte>> out, std::span<int64_t> used) override {
    headers_.throw_if_wrong();
    const CodecArrays arrays{in.message, in.residual, in.shadow, in.live};
    void* stream = headers_.stream();
    cuda::check(cuda::bits_grids(arrays, tables_, extents_.data(), grids_.data(), stream),
                "b-bit scales");
    const PhiloxStream noise = bits_noise(options_.seed, tag);
    const bool stochastic = options_.rounding == BitsOptions::Rounding::stochastic;
    for (int64_t first = 0; first < parts(); first += cuda::kMostPayloads) {
      const int64_t count = std::min(cuda::kMostPayloads, parts() - first);
      cuda::Payloads payloads{};
      for (int64_t k = 0; k < count; ++k) {
        const auto j = static_cast<size_t>(first + k);
        TERSE_CHECK(static_cast<int64_t>(out[j].size()) >= bytes(first + k),
                    "room of {} for part {}", out[j].size(), j);
        used[j] = bytes(first + k);
        const auto room = out[j].first(static_cast<size_t>(used[j]));
        payloads.at[k] = reinterpret_cast<unsigned char*>(room.data() + kHeaderBytes);
        headers_.write(tag, part(first + k), room);
      }
      cuda::check(cuda::bits_pack(arrays, tables_, grids_.data(), stochastic ? &noise : nullptr,
                                  payloads, first, count, stream),
                  "b-bit encoding");
    }
    headers_.flush();
  }

  void decode_sum(int64_t j, std::span<const MessageTag> tags,
                  std::span<const std::span<const std::byte>> messages, float factor,
                  const uint64_t* live, float* out) override {
    TERSE_CHECK(!messages.empty() && tags.size() == messages.size(), "{} messages",
                messages.size());
    headers_.throw_if_wrong();
    const auto total = static_cast<int64_t>(messages.size());
    for (int64_t first = 0; first < total; first += cuda::kMostPayloads) {
      const int64_t count = std::min(cuda::kMostPayloads, total - first);
      cuda::Payloads payloads{};
      for (int64_t k = 0; k < count; ++k) {
        const auto m = static_cast<size_t>(first + k);
        headers_.expect(tags[m], part(j), messages[m], message(j).payload);
        // const_cast: unpacking only reads.
        payloads.at[k] = reinterpret_cast<unsigned char*>(
            const_cast<std::byte*>(messages[m].data() + kHeaderBytes));
      }
      const bool last = first + count == total;
      cuda::check(cuda::bits_unpack(tables_, message(j), payloads, count, first > 0,
                                    last ? factor : 1.0f, live, out, headers_.stream()),
                  "b-bit decoding");
    }
    headers_.flush();
  }

  void settle() override { headers_.settle(); }

 private:
  const cuda::BitsMessage& message(int64_t j) const { return messages_[static_cast<size_t>(j)]; }

  BitsOptions options_;
  std::vector<cuda::BitsMessage> messages_;
  cuda::DeviceArray<cuda::BitsPiece> piece_;
  cuda::DeviceArray<int64_t> first_piece_of_group_;
  cuda::DeviceArray<cuda::BitsMessage> part_;
  cuda::DeviceArray<uint64_t> width_;
  cuda::DeviceArray<BitsExtent> extents_;
  cuda::DeviceArray<BitsGrid> grids_;
  cuda::BitsTables tables_;
  cuda::DeviceMessages headers_;
};

}  // namespace

std::unique_ptr<BoundCodec> bind_bits_device(const Bucket& bucket, std::vector<Range> parts,
                                             const BitsOptions& options,
                                             const std::vector<int>& bits, DeviceStream stream) {
  const Layout layout(bucket, options.block);
  HostTables host(bucket, layout, parts, options.scaling == BitsOptions::Scaling::norm, bits);
  return std::make_unique<BoundBitsDevice>(std::move(host), std::move(parts), options,
                                           std::move(stream));
}

}  // namespace terse
