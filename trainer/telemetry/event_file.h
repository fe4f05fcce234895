// TensorBoard's event file, written by hand: TFRecord framing (length, masked CRC-32C, data, masked
// CRC-32C) around Event protobuf messages. No dependency.
//
// A resumed run opens another file beside the old ones; its first event says from which step on
// TensorBoard has to forget what older files hold. Values are fp32 on disk (the format's choice).
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/file_system.h"

namespace terse {

struct Scalar {
  std::string_view tag;  // "train/loss"
  double value = 0;
};

class EventFile {
 public:
  // Makes `directory` and opens a file named after `wall_time` (Unix seconds) and `host`. Steps
  // from `first_step` on in older files of the directory are superseded.
  EventFile(FileSystem& fs, const std::string& directory, double wall_time, std::string_view host,
            int64_t first_step);
  void add(int64_t step, double wall_time, std::span<const Scalar> scalars);
  void sync();
  const std::string& path() const { return path_; }

 private:
  void append(std::string_view event);

  std::string path_;
  std::unique_ptr<WritableFile> file_;
};

// CRC-32C (Castagnoli, RFC 3720 B.4) and TFRecord's mask of it.
uint32_t crc32c(std::span<const std::byte> bytes);
uint32_t masked_crc32c(std::span<const std::byte> bytes);

}  // namespace terse
