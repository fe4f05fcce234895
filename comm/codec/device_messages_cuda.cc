#include "comm/codec/device_messages.h"

#include <cstring>

#include "comm/codec/device_memory.h"

namespace terse::cuda {

DeviceMessages::DeviceMessages(CodecId codec, DeviceStream stream)
    : codec_(codec), stream_(std::move(stream)) {
  void* memory = nullptr;
  check(cudaHostAlloc(&memory, sizeof(HeaderVerdict), cudaHostAllocPortable | cudaHostAllocMapped),
        "allocating page-locked memory");
  verdict_ = new (memory) HeaderVerdict;
}

DeviceMessages::~DeviceMessages() {
  cudaFreeHost(verdict_);
}

void DeviceMessages::write(const MessageTag& tag, Range range, std::span<std::byte> message) {
  TERSE_CHECK(batch_.count == 0 || writing_, "flush() comes first");
  writing_ = true;
  const auto payload = static_cast<int64_t>(message.size()) - kHeaderBytes;
  add(make_header(codec_, tag, range, payload), message.data());
}

void DeviceMessages::expect(const MessageTag& tag, Range range, std::span<const std::byte> message,
                            int64_t payload_bytes) {
  TERSE_CHECK(batch_.count == 0 || !writing_, "flush() comes first");
  TERSE_CHECK(static_cast<int64_t>(message.size()) == kHeaderBytes + payload_bytes,
              "a message of {} bytes from rank {}, expected {}", message.size(), tag.sender,
              kHeaderBytes + payload_bytes);
  writing_ = false;
  add(make_header(codec_, tag, range, payload_bytes), message.data());
}

void DeviceMessages::add(const MessageHeader& header, const std::byte* message) {
  TERSE_CHECK(reinterpret_cast<uintptr_t>(message) % 8 == 0, "message not aligned to 8 bytes");
  const auto k = static_cast<size_t>(batch_.count++);
  // const_cast: a batch to check is only read.
  batch_.message[k] = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(message));
  static_assert(sizeof batch_.header[k] == sizeof header);
  std::memcpy(batch_.header[k], &header, sizeof header);
  if (batch_.count == kMostHeaders) flush();
}

void DeviceMessages::flush() {
  if (batch_.count == 0) return;
  if (writing_)
    check(write_headers(batch_, stream()), "writing message headers");
  else
    check(check_headers(batch_, verdict_, stream()), "checking message headers");
  batch_.count = 0;
}

void DeviceMessages::throw_if_wrong() const {
  // A kernel writes this word last.
  if (*const_cast<volatile uint32_t*>(&verdict_->wrong) == 0) return;
  MessageHeader expected, found;
  std::memcpy(&expected, verdict_->expected, sizeof expected);
  std::memcpy(&found, verdict_->found, sizeof found);
  check_header(expected, found);
  fail(ExitCode::disagree,
       "message from rank {} for bucket {}, step {}: it has a checksum, which messages between "
       "GPUs do not; do all ranks run the same recipe and version of terse?",
       expected.sender, expected.bucket, expected.step);
}

void DeviceMessages::settle() const {
  check(cudaStreamSynchronize(static_cast<cudaStream_t>(stream())), "decoding messages");
  throw_if_wrong();
}

}  // namespace terse::cuda
