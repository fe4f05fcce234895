// ONNX models: a generic writer and a generic reader of graph and initializers. They share this
// header and no code, so that the reader can check the writer. docs/formats.md says which fields
// stand in the file.
//
// Initializers stand in the model itself, or above a size in a second file beside it, PATH.data
// (ONNX's external data). The last metadata property, "terse.checksums", holds XXH3 values as 16
// hex digits: one over all bytes of the model before it, then one for the data of each initializer.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/file_system.h"
#include "export/byte_source.h"
#include "export/safetensors.h"

namespace terse {

// ONNX's numbers of the element types that terse writes.
enum class OnnxType : int32_t { f32 = 1, u8 = 2, i8 = 3, i32 = 6, i64 = 7, f16 = 10, bf16 = 16 };
int64_t onnx_type_size(OnnxType type);

using OnnxAttribute = std::variant<int64_t, float, std::string, std::vector<int64_t>>;

struct OnnxNode {
  std::string op;
  std::vector<std::string> inputs, outputs;
  std::map<std::string, OnnxAttribute> attributes = {};
  std::string domain = "";
  std::string name = "";
};

// An input or output; a dimension is a size or a name.
struct OnnxPort {
  std::string name;
  OnnxType type = OnnxType::f32;
  std::vector<std::variant<int64_t, std::string>> shape;
};

// An initializer to be written: row-major.
struct OnnxItem {
  std::string name;
  OnnxType type = OnnxType::f32;
  std::vector<int64_t> shape;
  ByteSource bytes;
  int64_t size() const;
};

struct OnnxModel {
  std::vector<OnnxNode> nodes;  // each after those whose outputs it reads
  std::vector<OnnxPort> inputs, outputs;
  std::vector<OnnxItem> initializers;
  Metadata metadata;
  std::map<std::string, int64_t> opsets;  // domain ("" = ai.onnx) -> version
};

// Writes `path`, and `path`.data if the initializers take more than `inline_limit` bytes; each file
// atomically, the data first. Sources are called once. Error(invalid_file): a source that gives
// another number of bytes than its shape needs, or the disk.
void write_onnx(FileSystem& fs, const std::string& path, const OnnxModel& model,
                int64_t inline_limit);

struct OnnxTensor {
  std::string name;
  int32_t type = 0;  // ONNX's number
  std::vector<int64_t> shape;
  std::span<const std::byte> data;
  int64_t numel() const;
};

// A validated, memory-mapped model. Reads nodes with their integer, float and text attributes,
// metadata, and initializers with raw or external data (a plain file name beside the model); what
// else a model may have is skipped. Defects are an Error(invalid_file) that names the file and the
// byte. Immutable, so any number of threads may read.
class OnnxFile {
 public:
  explicit OnnxFile(const std::string& path);
  // Bytes in memory (borrowed); external data are an error.
  OnnxFile(std::span<const std::byte> bytes, std::string label);
  OnnxFile(OnnxFile&&) noexcept;
  OnnxFile& operator=(OnnxFile&&) noexcept;
  ~OnnxFile();

  const std::string& path() const;
  const Metadata& metadata() const;
  const std::vector<OnnxNode>& nodes() const;
  const std::vector<OnnxTensor>& tensors() const;  // initializers in file order, names unique
  const OnnxTensor* find(std::string_view name) const;
  int64_t bytes() const;  // of all files

  // Done with these bytes for now (MappedFile::release); nothing where the file is borrowed.
  void release(std::span<const std::byte> bytes) const;
  bool has_checksums() const;
  void verify_checksums(bool required = true) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace terse
