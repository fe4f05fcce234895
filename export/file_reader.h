// An exported file on its way back, as data: one row a kind of file. `terse verify`, `terse
// inspect`, `terse eval` and read_artifact take the first row of kReaders (file_readers.cc) that
// recognises a path. Readers share no code with writers.
#pragma once
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "export/artifact.h"
#include "export/inspect.h"

namespace terse {

// A tensor of a file: its shape, and the fp32 values that the file's own definition gives it, when
// asked for.
struct StoredTensor {
  std::vector<int64_t> shape;
  std::function<std::vector<float>()> values;
  std::optional<InputFormat> input = std::nullopt;  // of its layer, where the file says it
};
using StoredTensors = std::map<std::string, StoredTensor, std::less<>>;  // Hugging Face's names

struct FileReader {
  const char* name;  // as Inspection::format
  // By content, cheaply; `path` exists. Damaged files may be claimed: reading them says why.
  bool (*recognises)(const std::string& path);
  // All tensors for the comparison with a model of this shape; checksums verified if there are any.
  StoredTensors (*stored)(const std::string& path, const LlamaShape& shape);
  // The model to be run; null where the file says too little of it.
  Artifact (*import)(const std::string& path);
  Inspection (*inspect)(const std::string& path);
  // What the writer said of the run: Artifact::metadata. Null: nothing.
  Metadata (*metadata)(const std::string& path) = nullptr;
};

// A dense tensor widened to fp32; Error(invalid_file) for other types.
std::vector<float> dense_values(const TensorView& view, const std::string& path,
                                const std::string& name);

extern const FileReader kGgufReader;
extern const FileReader kNmFolderReader;
extern const FileReader kHfFolderReader;
extern const FileReader kArchiveReader;
extern const FileReader kOnnxReader;
extern const FileReader kSafetensorsReader;

// Bit for bit, but that +0 equals -0.
bool same_values(const std::vector<float>& a, const std::vector<float>& b);

// Error(invalid_file) if there is no such path, or no row for it.
const FileReader& reader_of(const std::string& path);

}  // namespace terse
