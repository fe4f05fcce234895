// GGUF version 3, the file of llama.cpp: a generic writer and a generic reader. They share this
// header and no code, so that the reader can check the writer. docs/formats.md has the grammar.
//
// Shapes here are row-major, [rows, columns], as everywhere in terse; the file stores them
// reversed.
//
// Checksums: the last metadata key, "terse.checksums", holds 1 + (number of tensors) XXH3 values:
// the first over all bytes of the file before this key, the others one a tensor, each over name,
// type, shape and data. Other readers show it and ignore it.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/error.h"
#include "base/file_system.h"
#include "export/byte_source.h"
#include "qat/codes.h"

namespace terse {

// ggml's numbers of the types that terse writes. A type to come needs a row in gguf_pack.cc (to
// write it) and one in gguf_blocks.cc (to decode it).
enum class GgufType : uint32_t {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q5_0 = 6,
  q8_0 = 8,
  bf16 = 30,
  tq1_0 = 34,
  tq2_0 = 35,
  mxfp4 = 39,
  nvfp4 = 40,
  q1_0 = 41,
  q2_0 = 42,
};

// The value types of the format; arrays hold one of them, never arrays.
using GgufArray = std::variant<std::vector<uint8_t>, std::vector<int8_t>, std::vector<uint16_t>,
                               std::vector<int16_t>, std::vector<uint32_t>, std::vector<int32_t>,
                               std::vector<float>, std::vector<bool>, std::vector<std::string>,
                               std::vector<uint64_t>, std::vector<int64_t>, std::vector<double>>;
using GgufValue = std::variant<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float, bool,
                               std::string, uint64_t, int64_t, double, GgufArray>;
using GgufMetadata = std::vector<std::pair<std::string, GgufValue>>;

// One tensor to be written: `bytes` gives blocks of `type` along the last dimension.
struct GgufItem {
  std::string name;  // at most 63 bytes, llama.cpp's limit
  std::vector<int64_t> shape;
  GgufType type = GgufType::f32;
  ByteSource bytes;
};

// Writes atomically, in the given order. Memory: the header and one piece of data at a time.
// Error(invalid_file): names twice or too long, a last dimension that is no multiple of the type's
// block, a source that gives another number of bytes, or the disk.
void write_gguf_file(FileSystem& fs, const std::string& path, const GgufMetadata& metadata,
                     const std::vector<GgufItem>& items);

struct GgufTensor {
  std::string name;
  std::vector<int64_t> shape;
  uint32_t type = 0;  // ggml's number
  std::span<const std::byte> data;
  int64_t numel() const;
};

// A validated, memory-mapped file. Everything but the data is read at opening, with limits before
// allocation; each defect is an Error(invalid_file) that names file and tensor or key. Immutable,
// so any number of threads may read.
class GgufFile {
 public:
  explicit GgufFile(const std::string& path);
  GgufFile(std::span<const std::byte> bytes, std::string label);  // borrowed
  GgufFile(GgufFile&&) noexcept;
  GgufFile& operator=(GgufFile&&) noexcept;
  ~GgufFile();

  const std::string& path() const;
  const GgufMetadata& metadata() const;            // in file order, keys unique
  const std::vector<GgufTensor>& tensors() const;  // in file order, names unique
  const GgufTensor* find(std::string_view name) const;
  const GgufValue* value(std::string_view key) const;

  // The value of `key` as any integer, any number, a flag or a text; a missing key or another type
  // is an Error(invalid_file), unless a default is given and the key is missing.
  int64_t integer(std::string_view key, std::optional<int64_t> otherwise = {}) const;
  double number(std::string_view key, std::optional<double> otherwise = {}) const;
  bool flag(std::string_view key, std::optional<bool> otherwise = {}) const;
  std::string text(std::string_view key, const std::optional<std::string>& otherwise = {}) const;
  // The array of `key`, or nothing if it is missing; another element type is an Error.
  template <typename T>
  const std::vector<T>* array(std::string_view key) const {
    const GgufValue* found = value(key);
    if (found == nullptr) return nullptr;
    const auto* any = std::get_if<GgufArray>(found);
    const auto* typed = any == nullptr ? nullptr : std::get_if<std::vector<T>>(any);
    if (typed == nullptr)
      fail(ExitCode::invalid_file, "{}: \"{}\" holds another type than expected", path(), key);
    return typed;
  }

  // Done with these bytes for now (MappedFile::release); nothing where the file is borrowed.
  void release(std::span<const std::byte> bytes) const;
  bool has_checksums() const;
  void verify_checksums(bool required = true) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// What the reader knows of ggml's types. `decode` turns one block into `block` floats by the
// format's own arithmetic; null where terse only knows the size.
struct GgufBlockInfo {
  uint32_t type;
  const char* name;
  int64_t block;  // elements
  int64_t bytes;
  void (*decode)(const std::byte* in, float* out);
  // The integers of one block and their scales, one each `group` elements, where a value is integer
  // times scale (Q4_1: less its minimum); else null.
  void (*split)(const std::byte* in, int8_t* integers, float* scales);
  int64_t group;
};
const GgufBlockInfo* gguf_block_info(uint32_t type);  // null: unknown

// Into out[numel]. Error(invalid_file) where this type cannot be decoded.
void gguf_decode(const GgufTensor& tensor, float* out);
// The format of the Codes in a matrix, or nothing if its type has none, or if they lie on no grid
// of terse's (a Q4_1 with free minima, scales that Codes cannot hold): reads all blocks, keeps
// none. `tensor_scale`: what NVFP4 keeps in another tensor.
std::optional<CodeFormat> gguf_code_format(const GgufTensor& tensor, float tensor_scale = 1.0f);
// The Codes, of this format as gguf_code_format says.
Codes gguf_codes_as(const GgufTensor& tensor, const CodeFormat& format, float tensor_scale = 1.0f);
// Both.
std::optional<Codes> gguf_codes(const GgufTensor& tensor, float tensor_scale = 1.0f);

}  // namespace terse
