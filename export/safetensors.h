// safetensors: Hugging Face's tensor container, written deterministically and read as hostile
// input.
//
// File: u64 little-endian header length N; N bytes of JSON `name -> {dtype, shape, data_offsets}`
// plus
// `"__metadata__": {text: text}`, padded with spaces to a multiple of 8; then the data, row-major,
// no gaps (docs/formats.md has the grammar). Tensors stand in order of falling element size, then
// name, as in the Python library, so that every tensor is aligned to its element.
//
// Checksums: the metadata key "terse.checksums" holds 1 + (number of tensors) XXH3 values as 16 hex
// digits, separated by spaces: the first over all other metadata, the others one a tensor in file
// order, each over name, dtype, shape and data. Any reader may ignore them.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_system.h"
#include "base/tensor_view.h"
#include "export/byte_source.h"

namespace terse {

using Metadata = std::map<std::string, std::string>;

// One tensor to be written.
struct SafetensorsItem {
  std::string name;  // UTF-8, not "__metadata__"
  DType dtype = DType::f32;
  std::vector<int64_t> shape;  // empty = a scalar
  ByteSource bytes;            // numel * dtype_size(dtype) bytes
};

// Writes `path` atomically (base/file_system.h): the complete file or none. Memory: the header.
// Error(invalid_file): a duplicate name, a source that gives another number of bytes, or the disk.
void write_safetensors(FileSystem& fs, const std::string& path, std::vector<SafetensorsItem> items,
                       Metadata metadata = {});
// The same for tensors in memory.
void write_safetensors(FileSystem& fs, const std::string& path,
                       const std::map<std::string, TensorView>& tensors, Metadata metadata = {});

// A validated file, memory-mapped. Opening reads the header only: O(tensors) time and memory,
// limits before allocation. Every defect (header length, JSON, types, shapes, overflow, overlaps,
// holes, bytes left over, duplicate names) is an Error(invalid_file) that names file and tensor.
// Immutable after opening, so any number of threads may read.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::string& path);
  // For bytes that already are in memory (borrowed); `label` stands for the path in messages.
  SafetensorsFile(std::span<const std::byte> bytes, std::string label);
  SafetensorsFile(SafetensorsFile&&) noexcept;
  SafetensorsFile& operator=(SafetensorsFile&&) noexcept;
  ~SafetensorsFile();

  const std::string& path() const;
  const Metadata& metadata() const;
  const std::vector<std::string>& names() const;  // in file order
  // Views live as long as this object. Data of foreign files that is not aligned to its element was
  // copied when the file was opened.
  std::optional<TensorView> find(std::string_view name) const;
  // A missing tensor is an Error(invalid_file); so is another type or shape in the second form.
  TensorView require(std::string_view name) const;
  TensorView require(std::string_view name, DType dtype, const std::vector<int64_t>& shape) const;

  // Done with these bytes for now (MappedFile::release); nothing where the file is borrowed.
  void release(std::span<const std::byte> bytes) const;
  bool has_checksums() const;
  // Reads all data once (about memory speed) and throws Error(invalid_file) naming the first tensor
  // whose checksum differs. Without checksums: an Error if `required`, else nothing.
  void verify_checksums(bool required = true) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace terse
