// Internal: config.json of a Hugging Face folder, read as hostile input.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "export/artifact.h"

namespace terse {

struct HfModel {
  LlamaShape shape;
  int64_t bos = -1, eos = -1, pad = -1;
  std::string quantization;  // JSON of quantization_config; empty where there is none
};

constexpr int64_t kMostHfConfig = 1 << 20;  // bytes that are read of a config.json

// `json`: at most kMostHfConfig bytes. Error(invalid_file) with `path` for anything that is no
// Llama that terse can run.
HfModel read_hf_model(std::string_view json, const std::string& path);

}  // namespace terse
