// What codecs with a scale per group share: the order of work over a Layout's windows, the cut into
// parts, the checks of a received message and the sum over messages. A codec adds its payload's
// layout and kernels that measure, pack and unpack one piece.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "comm/codec/codec.h"
#include "comm/codec/kernels/arrays.h"
#include "comm/codec/layout.h"

namespace terse {

class BoundGrouped : public BoundCodec {
 public:
  int64_t bytes(int64_t j) const final { return kHeaderBytes + payload_bytes(j); }
  void encode(const MessageTag& tag, const EncodeInput& in,
              std::span<const std::span<std::byte>> out, std::span<int64_t> used) final;
  void decode_sum(int64_t j, std::span<const MessageTag> tags,
                  std::span<const std::span<const std::byte>> messages, float factor,
                  const uint64_t* live, float* out) final;

 protected:
  BoundGrouped(const Bucket& bucket, std::vector<Range> parts, int64_t block, CodecId id,
               bool checksum);

  // Elements of one group inside one part and one window; coordinates are the bucket's.
  struct Cut {
    Range range;
    int64_t group = 0;
    int64_t part = 0;
  };
  // out[0] and the first bit of live[0] belong to the bucket's element `origin`, a multiple of 64.
  struct Target {
    const uint64_t* live = nullptr;
    float* out = nullptr;
    int64_t origin = 0;
    bool add = false;
  };

  const Layout& layout() const { return layout_; }
  Range groups_of(int64_t part) const { return part_groups_[static_cast<size_t>(part)]; }

  // A multiple of 8, so that messages back to back stay aligned.
  virtual int64_t payload_bytes(int64_t j) const = 0;
  // Before an encode, by one thread.
  virtual void start(const MessageTag&) {}
  // Statistics of a piece, then the group's scale from its pieces, then its bits: by any thread,
  // one for each piece or group.
  virtual void measure(const CodecArrays& in, int64_t piece) = 0;
  virtual void finish_group(int64_t group) = 0;
  virtual void pack(const CodecArrays& in, const Cut& cut, std::byte* payload) = 0;
  // What is no element's: scales, padding.
  virtual void finish_payload(int64_t j, std::span<std::byte> payload) = 0;
  // Error(disagree) if what is no element's is not as it must be; the length is checked already.
  virtual void check_payload(int64_t j, std::span<const std::byte> payload,
                             const MessageTag& tag) const = 0;
  virtual void unpack(const std::byte* payload, const Cut& cut, const Target& to) const = 0;

 private:
  void run_steps(const CodecArrays& in);
  void encode_closed(const CodecArrays& in, int64_t w);
  void measure_window(const CodecArrays& in, int64_t w);
  void pack_piece(const CodecArrays& in, int64_t p);
  void decode_window(int64_t j, int64_t w, float factor, const uint64_t* live, float* out) const;

  CodecId id_;
  bool checksum_;
  Layout layout_;
  std::vector<Range> part_groups_;
  std::vector<int64_t> first_part_;        // of each window
  std::vector<std::byte*> writing_;        // the parts' payloads, during encode()
  std::vector<const std::byte*> reading_;  // the messages' payloads, during decode_sum()
};

// Error(disagree): bytes that belong to no element are not zero.
[[noreturn]] void fail_padding(const MessageTag& tag);
bool all_zero(std::span<const std::byte> bytes);

}  // namespace terse
