#include "comm/codec/onebit_device.h"

#include <algorithm>

#include "comm/codec/device_memory.h"
#include "comm/codec/device_messages.h"
#include "comm/codec/onebit_launch.h"
#include "comm/codec/onebit_part.h"

namespace terse {
namespace {

std::vector<cuda::OneBitMessage> messages_of(const Layout& layout, std::span<const Range> parts) {
  std::vector<cuda::OneBitMessage> messages;
  for (const Range range : parts) {
    const OneBitPart part{range, layout.groups_of(range)};
    messages.push_back({.begin = range.begin,
                        .end = range.end,
                        .first_group = part.groups.begin,
                        .groups = part.groups.size(),
                        .scale_offset = part.scale_offset(),
                        .payload = part.payload()});
  }
  return messages;
}

std::vector<int64_t> first_pieces(const Layout& layout) {
  std::vector<int64_t> first;
  for (int64_t w = 0; w < layout.windows(); ++w) first.push_back(layout.pieces_of_window(w).begin);
  return first;
}

std::vector<int64_t> first_pieces_of_groups(const Layout& layout) {
  std::vector<int64_t> first;
  for (int64_t g = 0; g < layout.groups(); ++g) first.push_back(layout.pieces_of_group(g).begin);
  first.push_back(static_cast<int64_t>(layout.pieces().size()));
  return first;
}

// Of each window: the part that holds its first element.
std::vector<int64_t> first_parts(const Layout& layout, std::span<const Range> parts) {
  std::vector<int64_t> first;
  size_t part = 0;
  for (int64_t w = 0; w < layout.windows(); ++w) {
    while (parts[part].end <= w * kWindow) ++part;
    first.push_back(static_cast<int64_t>(part));
  }
  return first;
}

class BoundOneBitDevice final : public BoundCodec {
 public:
  BoundOneBitDevice(const Layout& layout, std::vector<Range> parts, const OneBitOptions& options,
                    DeviceStream stream)
      : BoundCodec(std::move(parts)),
        squares_(options.scale == ScaleKind::rms),
        messages_(messages_of(layout, all_parts())),
        piece_(layout.pieces()),
        first_piece_(first_pieces(layout)),
        first_piece_of_group_(first_pieces_of_groups(layout)),
        part_(messages_),
        first_part_(first_parts(layout, all_parts())),
        sums_(layout.pieces().size()),
        counts_(layout.pieces().size()),
        scales_(static_cast<size_t>(layout.groups())),
        headers_(CodecId::onebit, std::move(stream)) {
    tables_ = {.size = layout.size(),
               .windows = layout.windows(),
               .pieces = static_cast<int64_t>(layout.pieces().size()),
               .groups = layout.groups(),
               .parts = this->parts(),
               .piece = piece_.data(),
               .first_piece = first_piece_.data(),
               .first_piece_of_group = first_piece_of_group_.data(),
               .part = part_.data(),
               .first_part = first_part_.data()};
  }

  int64_t bytes(int64_t j) const override { return kHeaderBytes + message(j).payload; }

  void encode(const MessageTag& tag, const EncodeInput& in,
              std::span<const std::span<std::byte>> out, std::span<int64_t> used) override {
    headers_.throw_if_wrong();
    void* stream = headers_.stream();
    const CodecArrays arrays{in.message, in.residual, in.shadow, in.live};
    cuda::check(cuda::onebit_scales(arrays, tables_, squares_, sums_.data(), counts_.data(),
                                    scales_.data(), stream),
                "1-bit scales");
    for (int64_t first = 0; first < parts(); first += cuda::kMostPayloads) {
      const int64_t count = std::min(cuda::kMostPayloads, parts() - first);
      cuda::Payloads payloads{};
      for (int64_t k = 0; k < count; ++k) {
        const auto j = static_cast<size_t>(first + k);
        used[j] = bytes(first + k);
        const auto room = out[j].first(static_cast<size_t>(used[j]));
        payloads.at[k] = reinterpret_cast<unsigned char*>(room.data() + kHeaderBytes);
        headers_.write(tag, part(first + k), room);
      }
      cuda::check(
          cuda::onebit_pack(arrays, tables_, scales_.data(), payloads, first, count, stream),
          "1-bit encoding");
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
      cuda::check(cuda::onebit_unpack(tables_, message(j), payloads, count, first > 0,
                                      last ? factor : 1.0f, live, out, headers_.stream()),
                  "1-bit decoding");
    }
    headers_.flush();
  }

  void settle() override { headers_.settle(); }

 private:
  const cuda::OneBitMessage& message(int64_t j) const { return messages_[static_cast<size_t>(j)]; }

  bool squares_;
  std::vector<cuda::OneBitMessage> messages_;
  cuda::DeviceArray<Piece> piece_;
  cuda::DeviceArray<int64_t> first_piece_, first_piece_of_group_;
  cuda::DeviceArray<cuda::OneBitMessage> part_;
  cuda::DeviceArray<int64_t> first_part_;
  cuda::DeviceArray<double> sums_;
  cuda::DeviceArray<int64_t> counts_;
  cuda::DeviceArray<float> scales_;
  cuda::OneBitTables tables_;
  cuda::DeviceMessages headers_;
};

}  // namespace

std::unique_ptr<BoundCodec> bind_onebit_device(const Bucket& bucket, std::vector<Range> parts,
                                               const OneBitOptions& options, DeviceStream stream) {
  return std::make_unique<BoundOneBitDevice>(Layout(bucket, options.block), std::move(parts),
                                             options, std::move(stream));
}

}  // namespace terse
