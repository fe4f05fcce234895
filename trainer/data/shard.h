// Token shards: memory-mapped files of token ids.
//
//   offset  bytes  content (little endian)
//   0       8      "TERSETOK"
//   8       4      version, 1
//   12      4      bytes a token: 2 (ids below 65,536) or 4
//   16      8      number of tokens
//   24      8      vocabulary size; every id is below it
//   32      8      XXH3-64 of all token bytes; 0 = not given (files written by other programs)
//   40      24     zero
//   64      ...    the ids
//
// Errors are Error(invalid_file) naming the file and, for a bad id, its position.
#pragma once
#include <cstdint>
#include <span>
#include <string>

#include "base/file_system.h"

namespace terse {

// Written atomically. Ids must be in [0, vocab).
void write_shard(FileSystem& fs, const std::string& path, std::span<const int32_t> tokens,
                 int64_t vocab);

class TokenShard {
 public:
  // Checks magic, version, sizes: constant time.
  explicit TokenShard(const std::string& path);

  const std::string& path() const { return path_; }
  int64_t count() const { return count_; }
  int64_t vocab() const { return vocab_; }
  uint64_t checksum() const { return checksum_; }

  // Copies tokens [at, at + out.size()), checking each id. The range must lie inside.
  void read(int64_t at, std::span<int64_t> out) const;
  // Checks every id and the checksum: one pass over the file, several GB/s.
  void verify() const;

 private:
  template <typename Id>
  void check_ids(std::span<const std::byte> bytes) const;
  [[noreturn]] void bad_id(int64_t id, int64_t position) const;

  std::string path_;
  MappedFile file_;
  int64_t width_ = 0;
  int64_t count_ = 0;
  int64_t vocab_ = 0;
  uint64_t checksum_ = 0;
};

}  // namespace terse
