// The headers of messages in device memory, for codecs on a GPU. Only for files of builds with CUDA
// (*_cuda.cc).
//
// Headers are written and compared by kernels, without checksums: nothing waits. What is wrong with
// a message is known when its stream has come by, so settle() says it, or the next call.
#pragma once
#include <cstdint>
#include <span>

#include "comm/codec/codec.h"
#include "comm/codec/header_launch.h"

namespace terse::cuda {

class DeviceMessages {
 public:
  DeviceMessages(CodecId codec, DeviceStream stream);
  ~DeviceMessages();

  void* stream() const { return stream_(); }
  // The header of one message of part [range) into its first bytes; flush() queues what was added.
  void write(const MessageTag& tag, Range range, std::span<std::byte> message);
  // That a message is what `tag` and `range` say. The length is checked at once.
  void expect(const MessageTag& tag, Range range, std::span<const std::byte> message,
              int64_t payload_bytes);
  void flush();
  // Throws what expect() found, as far as it is known. Waits for nothing.
  void throw_if_wrong() const;
  // Waits for the stream first.
  void settle() const;

 private:
  void add(const MessageHeader& header, const std::byte* message);

  CodecId codec_;
  DeviceStream stream_;
  HeaderBatch batch_;
  bool writing_ = false;
  HeaderVerdict* verdict_ = nullptr;
};

}  // namespace terse::cuda
