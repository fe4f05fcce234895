// Codec: turns a bucket of segments into bytes and back.
//
// A Codec holds options; bind() fits it to one bucket and one cut of that bucket into parts, and
// all that depends only on these (scale groups, sizes, tables) is computed there, so that encode()
// and decode_sum() allocate nothing. One message per part; its bytes are described in
// docs/protocol.md.
//
//   auto worker = codec.bind(bucket, chunks);          // chunk j of the bucket goes to rank j
//   worker->encode(tag, {message, residual, shadow}, out);
//   worker->decode_sum(j, tags, messages, 1.0f / ranks, nullptr, sum);
//
// How other codecs fit: top-k has messages shorter than their room (fixed_size() = false, `used`
// says how long each became); a low-rank exchange needs an all-reduce between its two products and
// is an Exchange of its own.
//
// Units: elements are fp32; sizes are in bytes. Pointers are borrowed for the call. A bound codec
// is used by one thread at a time and runs OpenMP inside; results depend neither on the number of
// threads nor on the instruction set. Free of torch.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "comm/bucket.h"
#include "comm/codec/message.h"

namespace terse {

// What is encoded: x = message + residual, where both are given for all elements of the bucket. On
// return shadow = x - decoded(x): the residual of the next call, once this one is committed.
struct EncodeInput {
  const float* message = nullptr;
  const float* residual = nullptr;  // null: zero
  float* shadow = nullptr;          // null: not wanted. May not overlap the two above.
  // Bit i % 64 of word i / 64 = element i is live; null: all are. A dead element decodes to 0, has
  // no residual and takes no part in a scale. Whoever decodes must be given the same mask.
  const uint64_t* live = nullptr;
};

class BoundCodec {
 public:
  virtual ~BoundCodec() = default;

  int64_t parts() const { return static_cast<int64_t>(parts_.size()); }
  Range part(int64_t j) const { return parts_[static_cast<size_t>(j)]; }
  std::span<const Range> all_parts() const { return parts_; }
  // Bytes of part j's message, header included: exact if fixed_size(), else the most it can take.
  // An empty part has a header all the same.
  virtual int64_t bytes(int64_t j) const = 0;
  virtual bool fixed_size() const { return true; }

  // Encodes every part; out[j] has bytes(j) of room, 8-byte aligned. used[j] = bytes written.
  virtual void encode(const MessageTag& tag, const EncodeInput& in,
                      std::span<const std::span<std::byte>> out, std::span<int64_t> used) = 0;

  // out[i] = factor * (decoded messages[0][i] + messages[1][i] + ...), added in this order in fp32,
  // for the elements of part j; out[0] is the part's first element. `live` is the bucket's mask.
  // tags[k] is what message k must claim to be; anything else is an Error(disagree) that says what
  // differs, and `out` is then unspecified. Never reads outside the given bytes.
  virtual void decode_sum(int64_t j, std::span<const MessageTag> tags,
                          std::span<const std::span<const std::byte>> messages, float factor,
                          const uint64_t* live, float* out) = 0;

  // The bucket coordinates that the last encode() sent, ascending: for codecs that choose
  // coordinates (DGC masks its velocity there); empty for all others. Valid until the next
  // encode().
  virtual std::span<const int64_t> selected() const { return {}; }

  // Whether all that a message of part j decodes to is finite, when its scales tell; else nothing
  // is known. For a message that decode_sum() has accepted.
  virtual std::optional<bool> finite(int64_t j, std::span<const std::byte> message) const {
    (void)j, (void)message;
    return std::nullopt;
  }

  // Bound to a GPU: waits for what was queued, and throws the Error(disagree) of a message that was
  // not what its tag says. On the CPU decode_sum() has thrown it already.
  virtual void settle() {}

 protected:
  explicit BoundCodec(std::vector<Range> parts) : parts_(std::move(parts)) {}

 private:
  std::vector<Range> parts_;
};

// The stream (a cudaStream_t) that GPU work is queued on, asked for at every call.
using DeviceStream = std::function<void*()>;

class Codec {
 public:
  virtual ~Codec() = default;
  virtual CodecId id() const = 0;
  virtual std::string name() const = 0;
  // Loses information: needs a residual, and counts as compression.
  virtual bool lossy() const = 0;
  // `parts` cover the bucket from 0 on, back to back; each begins at a multiple of 64.
  // parameters[s] is what segment s is given instead of the codec's own option (b-bit: bits, top-k:
  // density); empty: the option everywhere. Error(usage) if their number is not that of the
  // segments, one is out of range, or the codec has no parameter.
  virtual std::unique_ptr<BoundCodec> bind(const Bucket& bucket, std::vector<Range> parts,
                                           std::span<const double> parameters = {}) const = 0;
  // The parameters of a density as bind() takes them. Error(usage) unless the codec drops elements.
  virtual std::vector<double> densities(const Bucket& bucket, double density) const;
  // The same on the current GPU: all pointers and messages are its memory, work is queued on the
  // stream and nothing waits before settle(); the same bits, without checksums. Error(usage) also
  // if this codec has no kernels for GPUs, or this build none at all.
  virtual std::unique_ptr<BoundCodec> bind_device(const Bucket& bucket, std::vector<Range> parts,
                                                  DeviceStream stream,
                                                  std::span<const double> parameters = {}) const;

 protected:
  // For codecs without a parameter.
  void refuse(std::span<const double> parameters) const;
};

// The part [range) of a bucket as a bucket of its own: segments are cut, offsets count from its
// beginning. Empty pieces are left out.
Bucket slice_bucket(const Bucket& bucket, Range range);
// The parameters of the slice's segments; empty for empty.
std::vector<double> slice_parameters(const Bucket& bucket, Range range,
                                     std::span<const double> parameters);

// Decodes one message that covers a whole bucket, wherever its bytes lie; Error(disagree) unless it
// is what `codec`, `tag`, `bucket` and `parameters` announce. For fuzzers and tools.
void decode_message(const Codec& codec, std::span<const std::byte> message, const MessageTag& tag,
                    const Bucket& bucket, std::span<float> out,
                    std::span<const double> parameters = {});

}  // namespace terse
