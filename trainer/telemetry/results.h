// What a run ends in: results.json (evaluations, exports, engines) and layers.json (what each layer
// became). Both are small, written atomically, and optional for the report.
//
// `terse train` writes both at its end; `terse export` adds to results.json. Units: bytes, seconds,
// nats.
#pragma once
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "base/file_system.h"
#include "trainer/telemetry/records.h"

namespace terse {

struct ExportRecord {
  std::string format;  // "gguf:q4_0"
  std::string path;
  int64_t bytes = 0;
  int64_t fp16_bytes = 0;  // the same tensors as fp16
  double bits_per_weight = 0;
  int64_t tensors = 0;
  int64_t tensors_equal = -1;  // by `terse verify`; -1: not verified
  bool operator==(const ExportRecord&) const = default;
};

// What another program made of the exported file.
struct EngineRecord {
  std::string engine;  // "llama.cpp b6800"
  std::string file;
  double perplexity = std::numeric_limits<double>::quiet_NaN();
  double terse_perplexity = std::numeric_limits<double>::quiet_NaN();  // on the same tokens
  int64_t tokens = 0;
  std::string generated;  // a sample of text, may be empty
  bool operator==(const EngineRecord&) const = default;
};

struct RunResults {
  std::string name;  // of the run; empty: the directory's
  int64_t parameters = 0;
  int64_t ranks = 0;
  std::vector<EvalRecord> evaluations;  // closing ones, on the final Codes
  std::vector<ExportRecord> exports;
  std::vector<EngineRecord> engines;
};

// How many weights have a given code.
struct CodeCount {
  int code = 0;
  int64_t count = 0;
  bool operator==(const CodeCount&) const = default;
};

struct LayerRecord {
  std::string name;
  int64_t rows = 0;
  int64_t columns = 0;
  std::string representation;  // "int_signed b4 g32 f16" or "bf16"
  double bits = 0;             // stored bits per weight, scales included
  double relative_error = -1;  // |weight - decoded| / |weight|, Frobenius; -1: not quantized
  double residual_norm = -1;   // of rank 0's error feedback; -1: none
  std::vector<CodeCount> histogram;
  bool operator==(const LayerRecord&) const = default;
};

void write_results(FileSystem& fs, const std::string& path, const RunResults& results);
// Missing file: empty results. Malformed: Error(invalid_file).
RunResults read_results(const std::string& path);

void write_layers(FileSystem& fs, const std::string& path, const std::vector<LayerRecord>& layers);
std::vector<LayerRecord> read_layers(const std::string& path);  // as read_results

}  // namespace terse
