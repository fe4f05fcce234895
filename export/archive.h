// The archive: terse's own container for tensors, plain or losslessly coded (export/byte_planes.h),
// with its index behind the data, so that one pass writes it whatever the coded sizes turn out to
// be. docs/formats.md has the grammar. The reader shares no code with the writer.
//
//   write_archive(fs, "m.terse", {{"made by", "me"}}, {{"w", DType::bf16, {256, 64}, source,
//   true}}); const ArchiveFile file("m.terse"); file.read(*file.find("w"), [](std::span<const
//   std::byte> piece) { ... });
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_system.h"
#include "base/tensor_view.h"
#include "export/byte_source.h"
#include "export/safetensors.h"

namespace terse {

struct ArchiveItem {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;  // at most 8 dimensions
  ByteSource bytes;            // called once
  bool coded = false;          // by planes; else as it is
};

// Writes atomically, in the given order. Memory: eight parts of 2^18 elements. Error(invalid_file):
// a name twice, a source that gives another number of bytes than its shape needs, or the disk.
void write_archive(FileSystem& fs, const std::string& path, const Metadata& metadata,
                   const std::vector<ArchiveItem>& items);

struct ArchiveTensor {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;
  bool coded = false;
  std::span<const std::byte> stored;  // aligned to 64 bytes in the file
  uint64_t checksum = 0;              // XXH3 of `stored`
  int64_t numel() const;
  int64_t bytes() const { return numel() * dtype_size(dtype); }  // decoded
};

// A validated, memory-mapped file. Opening reads the index, whose checksum is always verified;
// limits come before allocation, and no tensor claims more than 2,048 times its stored bytes.
// Every defect is an Error(invalid_file) that names file and tensor. Immutable: any number of
// threads may read.
class ArchiveFile {
 public:
  explicit ArchiveFile(const std::string& path);
  ArchiveFile(std::span<const std::byte> bytes, std::string label);  // borrowed
  ArchiveFile(ArchiveFile&&) noexcept;
  ArchiveFile& operator=(ArchiveFile&&) noexcept;
  ~ArchiveFile();

  const std::string& path() const;
  const Metadata& metadata() const;
  const std::vector<ArchiveTensor>& tensors() const;  // in file order, names unique
  const ArchiveTensor* find(std::string_view name) const;
  // Error(invalid_file) if it is missing or of another type.
  const ArchiveTensor& require(std::string_view name, DType dtype) const;

  // Hands the tensor's bytes to the sink, in order: all at once, or a part of at most 2 MiB each;
  // then releases them.
  void read(const ArchiveTensor& tensor, const ByteSink& sink) const;
  // The same into `out`, tensor.bytes() long.
  void read(const ArchiveTensor& tensor, void* out) const;

  // Done with these bytes for now (MappedFile::release); nothing where the file is borrowed.
  void release(std::span<const std::byte> bytes) const;
  bool has_checksums() const { return true; }
  // Reads all data once; names the first tensor that does not match.
  void verify_checksums() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace terse
