// What is in an exported file, for people and programs.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace terse {

struct InspectTensor {
  std::string name;
  std::string type;  // "F32", "Q4_0", "INT4", ...; "*" behind it: entropy-coded
  std::vector<int64_t> shape;
  int64_t bytes = 0;  // of a weight in codes: with scales and whatever else stands beside them
  std::map<int, int64_t> histogram;  // code -> count, where the type has codes
  // What becomes of the layer's input (qat/input_format.h); empty: the file says nothing.
  std::string input = "";
  int64_t elements() const;
  double bits_per_weight() const;
};

struct Inspection {
  std::string path;
  std::string format;  // "gguf", "safetensors", "hf", "compressed-tensors", "onnx", "archive"
  int64_t bytes = 0;   // of the file
  int64_t parameters = 0;
  std::string checksums;                                      // "ok", "none" or the error
  std::vector<std::pair<std::string, std::string>> metadata;  // long values cut
  std::vector<InspectTensor> tensors;
};

// Any file or folder that terse exports. Reads all data once (checksums,
// histograms). Error(invalid_file) if it cannot be read; a wrong checksum is reported, not thrown.
Inspection inspect_file(const std::string& path);
std::string to_text(const Inspection& inspection);
std::string to_json(const Inspection& inspection);

}  // namespace terse
