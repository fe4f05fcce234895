// An engine format as data: what `terse export` knows of it. A family of formats has a file
// formats_FAMILY.cc with its rows, and one line in kFamilies (formats.cc); checks, the list of
// verdicts and reports work on rows. The way back is a FileReader (file_reader.h).
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/file_system.h"
#include "export/artifact.h"
#include "export/verdict.h"
#include "qat/input_format.h"

namespace terse {

// family: "gguf" (one file), "hf" (a folder that transformers opens), "safetensors" (one file,
// Hugging Face's names, no config), "compressed-tensors" (a folder for transformers and vLLM).
// type: what the family offers, e.g. "q4_0"; empty = each tensor in the type that holds it exactly
// and smallest.
struct ExportFormat {
  std::string family;
  std::string type = "";
  std::string name() const { return type.empty() ? family : family + ":" + type; }
};

// A program that reads the format.
struct EngineRow {
  std::string name;  // "llama.cpp"
  // What the engine makes of codes that the format holds exactly; null: it reads them exactly.
  std::function<Fit(const CodeFormat&)> fit = nullptr;
};

struct FormatRow {
  ExportFormat format;
  std::vector<EngineRow> engines;
  bool any_model = false;  // holds vision transformers, too
  // Whether Codes of this format, respectively a dense matrix of this type, can be stored without
  // changing a value.
  std::function<Fit(const CodeFormat&)> fit;
  std::function<Fit(DType)> fit_dense;
  // Whether it takes a compressed weight whose Codes fit, its input included. Null: every one.
  std::function<bool(const ArtifactWeight&)> takes = nullptr;
  // Whether the file holds every scale of a compressed weight whose Codes fit: may read them. Null:
  // always.
  std::function<bool(const ArtifactWeight&)> holds_scales = nullptr;
  // Error(usage) for what `fit` cannot see: shapes, combinations of tensors. Called before any work
  // and before `write`. Null: every compressed weight has to fit.
  std::function<void(const Artifact&)> check = nullptr;
  // Writes atomically to `out`, a file, or a folder that is missing or empty.
  std::function<void(FileSystem&, const Artifact&, const std::string& out)> write;
  // The same with tensors of more than so many bytes in several files; null: there is one file.
  std::function<void(FileSystem&, const Artifact&, const std::string& out, int64_t shard_bytes)>
      write_shards = nullptr;
  // What readers of this format are known not to do as the training did.
  std::function<std::vector<std::string>(const Artifact&)> warnings = nullptr;
  // Whether the file says what becomes of this weight's input, which it has. Null: it never does.
  std::function<bool(const ArtifactWeight&)> holds_input = nullptr;
  // Bits that the inputs of compressed layers have to be rounded to, which Codes do not say; 16:
  // not rounded, 0: the format takes any.
  int input_bits = 0;
  // What `--requantize` makes of a matrix that does not fit (export/requantize.h): codes by this
  // rule of export/post_training.h, or "f32", "f16", "bf16": dense. Empty: it cannot.
  std::string requantize_as = "";
  // Of its input, where the row does not take what it was.
  std::optional<InputFormat> requantize_input = std::nullopt;
  // What training calls it inside the run's folder: "model.gguf", "hf".
  std::string file_name;
};

std::vector<FormatRow> gguf_rows();
std::vector<FormatRow> compressed_tensors_rows();
std::vector<FormatRow> hf_rows();
std::vector<FormatRow> onnx_rows();
std::vector<FormatRow> archive_rows();

}  // namespace terse
