#include "comm/codec/topk_device.h"

#include <optional>

#include "comm/codec/device_memory.h"
#include "comm/codec/device_selector.h"
#include "comm/codec/topk_launch.h"
#include "comm/codec/topk_plan.h"

namespace terse {
namespace {

size_t whole_words(int64_t bytes) {
  return static_cast<size_t>((bytes + 7) / 8);
}

// What encode() needs besides the bucket. Most of a two-stage exchange's bindings only decode.
struct Sender {
  Sender(const TopKPlan& plan, int64_t size, bool bf16)
      : selector(plan.ranges(), plan.most(), size, bf16),
        live(static_cast<size_t>((size + 63) / 64)),
        message(dense(plan)),
        residual(dense(plan)),
        shadow(dense(plan)),
        bytes(room(plan)) {}

  static size_t dense(const TopKPlan& plan) {
    int64_t elements = 0;
    for (const TopKPart& part : plan.parts()) elements += part.dense_elements;
    return static_cast<size_t>(elements);
  }
  static size_t room(const TopKPlan& plan) {
    size_t words = 0;
    for (const TopKPart& part : plan.parts()) words += whole_words(kHeaderBytes + part.most_bytes);
    return words;
  }

  cuda::DeviceSelector selector;
  cuda::HostArray<uint64_t> live;
  cuda::HostArray<float> message, residual, shadow;  // of what is sent whole, back to back
  cuda::HostArray<uint64_t> bytes;                   // the messages
};

// The same room on both sides.
template <typename T>
struct Both {
  void reserve(size_t count) {
    host = host_array.reserve(count);
    device = device_array.reserve(count);
  }
  void upload(size_t first, size_t count, void* stream) const {
    cuda::copy(device + first, host + first, count, stream);
  }

  T* host = nullptr;
  T* device = nullptr;
  cuda::Growing<cuda::HostArray<T>> host_array;
  cuda::Growing<cuda::DeviceArray<T>> device_array;
};

class BoundTopKDevice final : public BoundCodec {
 public:
  BoundTopKDevice(const Bucket& bucket, std::vector<Range> parts, const TopKOptions& options,
                  const std::vector<double>& densities, DeviceStream stream)
      : BoundCodec(std::move(parts)),
        size_(bucket.size),
        options_(options),
        plan_(bucket, all_parts(), options, densities),
        stream_(std::move(stream)) {}

  int64_t bytes(int64_t j) const override { return kHeaderBytes + plan_.part(j).most_bytes; }
  bool fixed_size() const override { return false; }
  std::span<const int64_t> selected() const override {
    return sender_ ? sender_->selector.entries().indices : std::span<const int64_t>();
  }

  void encode(const MessageTag& tag, const EncodeInput& in,
              std::span<const std::span<std::byte>> out, std::span<int64_t> used) override;
  void decode_sum(int64_t j, std::span<const MessageTag> tags,
                  std::span<const std::span<const std::byte>> messages, float factor,
                  const uint64_t* live, float* out) override;
  void settle() override { cuda::wait_for(stream_(), "adding up messages"); }

 private:
  template <typename F>
  void each_dense(F f) const;
  const uint64_t* fetch_live(const uint64_t* live, void* stream);
  void fetch_dense(const EncodeInput& in, void* stream);
  void write_dense(const TopKPart& part, const EncodeInput& in, int64_t& at, std::byte* values);
  void return_shadow(float* shadow, void* stream);
  const std::byte* fetch_messages(std::span<const std::span<const std::byte>> messages,
                                  void* stream);
  void list_dense(const TopKPart& part, void* stream);
  void add(const TopKPart& part, int64_t k, int64_t entries, float* out, void* stream);

  int64_t size_;
  TopKOptions options_;
  TopKPlan plan_;
  DeviceStream stream_;
  std::optional<Sender> sender_;
  cuda::Growing<cuda::HostArray<uint64_t>> received_;
  std::vector<uint32_t> first_;  // of each window, while a message is read
  // The places of what is sent whole, then one row a message.
  Both<uint32_t> indices_;
  // One row a message: what was sent whole, then the entries.
  Both<float> values_;
};

// f(piece, where its elements begin among all that are sent whole).
template <typename F>
void BoundTopKDevice::each_dense(F f) const {
  int64_t at = 0;
  for (const TopKPart& part : plan_.parts())
    for (const TopKPiece& piece : part.dense) {
      f(piece.range, at);
      at += piece.range.size();
    }
}

// k depends on how many are live.
const uint64_t* BoundTopKDevice::fetch_live(const uint64_t* live, void* stream) {
  if (live == nullptr) return nullptr;
  cuda::copy(sender_->live.data(), live, static_cast<size_t>((size_ + 63) / 64), stream);
  cuda::wait_for(stream, "fetching a mask");
  return sender_->live.data();
}

void BoundTopKDevice::fetch_dense(const EncodeInput& in, void* stream) {
  each_dense([&](Range piece, int64_t at) {
    const auto n = static_cast<size_t>(piece.size());
    cuda::copy(sender_->message.data() + at, in.message + piece.begin, n, stream);
    if (in.residual != nullptr)
      cuda::copy(sender_->residual.data() + at, in.residual + piece.begin, n, stream);
  });
}

// `in`: what is given, and the mask on the host.
void BoundTopKDevice::write_dense(const TopKPart& part, const EncodeInput& in, int64_t& at,
                                  std::byte* values) {
  for (const TopKPiece& piece : part.dense) {
    write_topk_dense(piece.range,
                     {.message = sender_->message.data() + at,
                      .residual = in.residual == nullptr ? nullptr : sender_->residual.data() + at,
                      .shadow = in.shadow == nullptr ? nullptr : sender_->shadow.data() + at,
                      .live = in.live},
                     options_.bf16_values, values);
    values += piece.range.size() * part.value_bytes;
    at += piece.range.size();
  }
}

void BoundTopKDevice::return_shadow(float* shadow, void* stream) {
  if (shadow == nullptr) return;
  each_dense([&](Range piece, int64_t at) {
    cuda::copy(shadow + piece.begin, sender_->shadow.data() + at, static_cast<size_t>(piece.size()),
               stream);
  });
}

void BoundTopKDevice::encode(const MessageTag& tag, const EncodeInput& in,
                             std::span<const std::span<std::byte>> out, std::span<int64_t> used) {
  void* stream = stream_();
  if (!sender_) sender_.emplace(plan_, size_, options_.bf16_values);
  EncodeInput host = in;
  host.live = fetch_live(in.live, stream);
  fetch_dense(in, stream);
  sender_->selector.run(in, plan_.counts(host.live), stream);
  TopKEntries left = sender_->selector.entries();
  auto* message = reinterpret_cast<std::byte*>(sender_->bytes.data());
  int64_t dense = 0;
  for (size_t j = 0; j < plan_.parts().size(); ++j) {
    const TopKPart& part = plan_.parts()[j];
    std::byte* payload = message + kHeaderBytes;
    write_dense(part, host, dense, payload + part.heads_bytes());
    used[j] = kHeaderBytes + write_topk_entries(part, left.take(part.range.end), payload);
    const auto size = static_cast<size_t>(used[j]);
    TERSE_CHECK(size <= out[j].size(), "room of {} for {} bytes of part {}", out[j].size(), size,
                j);
    write_header(CodecId::topk, tag, part.range, {message, size}, options_.checksum);
    cuda::copy(out[j].data(), message, size, stream);
    message += 8 * whole_words(kHeaderBytes + part.most_bytes);
  }
  return_shadow(in.shadow, stream);
}

// Back to back on the host, each from a whole word on.
const std::byte* BoundTopKDevice::fetch_messages(
    std::span<const std::span<const std::byte>> messages, void* stream) {
  size_t words = 0;
  for (const auto message : messages) words += whole_words(static_cast<int64_t>(message.size()));
  uint64_t* to = received_.reserve(words);
  const auto* all = reinterpret_cast<const std::byte*>(to);
  for (const auto message : messages) {
    cuda::copy(reinterpret_cast<std::byte*>(to), message.data(), message.size(), stream);
    to += whole_words(static_cast<int64_t>(message.size()));
  }
  cuda::wait_for(stream, "fetching messages");
  return all;
}

// Row k of what was read, to `out`: entries of one message differ, so no order matters in it.
void BoundTopKDevice::add(const TopKPart& part, int64_t k, int64_t entries, float* out,
                          void* stream) {
  const auto dense = static_cast<size_t>(part.dense_elements);
  const auto most = static_cast<size_t>(part.most_entries), row = static_cast<size_t>(k);
  const size_t indices = dense + row * most, values = row * (dense + most);
  indices_.upload(indices, static_cast<size_t>(entries), stream);
  values_.upload(values, dense + static_cast<size_t>(entries), stream);
  const float* from = values_.device + values;
  cuda::check(cuda::topk_scatter(indices_.device, from, part.dense_elements, k == 0, out, stream),
              "adding up messages");
  cuda::check(
      cuda::topk_scatter(indices_.device + indices, from + dense, entries, k == 0, out, stream),
      "adding up messages");
}

void BoundTopKDevice::list_dense(const TopKPart& part, void* stream) {
  uint32_t* to = indices_.host;
  for (const TopKPiece& piece : part.dense)
    for (int64_t i = piece.range.begin; i < piece.range.end; ++i)
      *to++ = static_cast<uint32_t>(i - part.range.begin);
  indices_.upload(0, static_cast<size_t>(part.dense_elements), stream);
}

void BoundTopKDevice::decode_sum(int64_t j, std::span<const MessageTag> tags,
                                 std::span<const std::span<const std::byte>> messages, float factor,
                                 const uint64_t* live, float* out) {
  TERSE_CHECK(!messages.empty() && tags.size() == messages.size(), "{} messages", messages.size());
  void* stream = stream_();
  const TopKPart& part = plan_.part(j);
  const auto dense = static_cast<size_t>(part.dense_elements);
  const auto most = static_cast<size_t>(part.most_entries);
  const std::byte* message = fetch_messages(messages, stream);
  indices_.reserve(dense + messages.size() * most);
  values_.reserve(messages.size() * (dense + most));
  first_.resize(static_cast<size_t>(part.windows() + 1));
  if (part.range.size() > 0)
    cuda::check(cudaMemsetAsync(out, 0, static_cast<size_t>(part.range.size()) * sizeof(float),
                                static_cast<cudaStream_t>(stream)),
                "adding up messages");
  list_dense(part, stream);
  for (size_t k = 0; k < messages.size(); ++k) {
    const TopKSource source = read_topk_message(part, tags[k], {message, messages[k].size()},
                                                indices_.host + dense + k * most, first_.data());
    message += 8 * whole_words(static_cast<int64_t>(messages[k].size()));
    float* values = values_.host + k * (dense + most);
    read_topk_values(source.dense, part.dense_elements, part.value_bytes, values);
    read_topk_values(source.values, source.count, part.value_bytes, values + dense);
    add(part, static_cast<int64_t>(k), source.count, out, stream);
  }
  cuda::check(cuda::topk_finish(live, part.range.begin, part.range.size(), factor, out, stream),
              "adding up messages");
}

}  // namespace

std::unique_ptr<BoundCodec> bind_topk_device(const Bucket& bucket, std::vector<Range> parts,
                                             const TopKOptions& options,
                                             const std::vector<double>& densities,
                                             DeviceStream stream) {
  return std::make_unique<BoundTopKDevice>(bucket, std::move(parts), options, densities,
                                           std::move(stream));
}

}  // namespace terse
