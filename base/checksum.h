// XXH3 checksums (BSD-licensed xxHash): 64 bits for files and frames, hex for people.
// About 10 GB/s a core or more; not cryptographic.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/file_system.h"

namespace terse {

uint64_t checksum(std::span<const std::byte> bytes, uint64_t seed = 0);
std::string checksum_hex(uint64_t value);  // 16 lower-case digits
// Of a whole file; its pages are released as they are read, so that no file counts as memory.
uint64_t checksum(const MappedFile& file);

// The same value for data that arrives in pieces.
class Checksum {
 public:
  Checksum();
  ~Checksum();
  void update(std::span<const std::byte> bytes);
  uint64_t value() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace terse
