// Internal: quantization_config of compressed-tensors, read as hostile input and by code of its
// own: it shares none with ct_config.h.
#pragma once
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace terse {

struct CtReadScheme {
  enum class Layout { packed, int8, nvfp4, mxfp4 };
  Layout layout = Layout::packed;
  int bits = 4;
  // Columns that share a scale; 0 = a row; -1 = the matrix.
  int64_t group = 0;
  int input_bits = 16;  // 16: inputs are not rounded
  // By a scale a token, one stored scale, or in blocks of fp4.
  enum class Input { token, tensor, nvfp4, mxfp4 };
  Input input = Input::token;
};

class CtReadConfig {
 public:
  // Error(invalid_file) with `path` for what is wrong, and for what terse cannot run: asymmetric
  // grids, other layouts, rounded outputs, other transforms than the Hadamard of inputs, patterns
  // beyond ".*", "^" and "$".
  CtReadConfig(const std::string& json, const std::string& path);

  // Of a linear layer, by module name; null: it is dense.
  const CtReadScheme* scheme_of(const std::string& module) const;
  // Block of the Hadamard rotation of its input; 0 = none; -1 = all its columns.
  int64_t hadamard_of(const std::string& module) const;

 private:
  struct Group {
    std::vector<std::string> targets, ignore;
    CtReadScheme scheme;
    int64_t hadamard = 0;
  };
  void read_groups(const nlohmann::json& json);
  void read_transforms(const nlohmann::json& json);
  std::vector<Group> groups_, transforms_;
  std::vector<std::string> ignore_;
  std::string path_;
};

}  // namespace terse
