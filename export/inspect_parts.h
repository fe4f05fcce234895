// Internal: what the inspections of all kinds of files need.
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/tensor_view.h"
#include "export/inspect.h"
#include "qat/codes.h"

namespace terse {

// Cut to a length that a line can show, at a whole UTF-8 character.
std::string shortened(std::string text);
// Whether the file (not a folder) has these bytes there.
bool starts_with_bytes(const std::string& path, size_t at, std::string_view bytes);
int64_t file_bytes(const std::string& path);
// A tensor of a safetensors file as it stands there.
InspectTensor inspect_tensor(const std::string& name, const TensorView& view);

// "INT4", "NVFP4", ...: of a matrix of codes.
std::string code_type(const CodeFormat& format);

// "ok", "none", or what is wrong.
template <typename File>
std::string checksum_state(const File& file) {
  if (!file.has_checksums()) return "none";
  try {
    file.verify_checksums();
    return "ok";
  } catch (const Error& e) {
    return e.what();
  }
}

class CodeCounts {
 public:
  void add(std::span<const int8_t> codes) {
    for (const int8_t code : codes) ++table_[index(code)];
  }
  // code -> count, codes that occur only.
  std::map<int, int64_t> histogram() const {
    std::map<int, int64_t> counts;
    for (int code = -128; code < 128; ++code)
      if (const int64_t count = table_[index(code)]; count > 0) counts[code] = count;
    return counts;
  }

 private:
  static size_t index(int code) { return static_cast<size_t>(code) + 128; }
  std::array<int64_t, 256> table_ = {};
};

}  // namespace terse
