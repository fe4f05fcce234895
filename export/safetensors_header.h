// Internal: the JSON header of a safetensors file, parsed without building a tree: memory stays
// proportional to the number of tensors whatever the bytes are.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "export/safetensors.h"

namespace terse::safetensors {

struct Entry {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;
  int64_t begin = 0, end = 0;  // relative to the data
};

struct Header {
  Metadata metadata;
  std::vector<Entry> entries;  // in order of the JSON text, names unique
};

// Checks syntax, key names, value types and uniqueness; Error(invalid_file) with `path`. Offsets
// are only parsed here.
Header parse_header(std::string_view json, const std::string& path);

}  // namespace terse::safetensors
