#include <sys/stat.h>

#include "base/error.h"
#include "export/file_reader.h"
#include "export/import.h"

namespace terse {
namespace {

// The more particular first.
constexpr const FileReader* kReaders[] = {&kGgufReader, &kArchiveReader,  &kNmFolderReader,
                                          &kOnnxReader, &kHfFolderReader, &kSafetensorsReader};

}  // namespace

const FileReader& reader_of(const std::string& path) {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0)
    fail(ExitCode::invalid_file, "{}: no such file or folder", path);
  for (const FileReader* reader : kReaders)
    if (reader->recognises(path)) return *reader;
  if (S_ISDIR(info.st_mode))
    fail(ExitCode::invalid_file, "{}: a folder without model.safetensors or its index", path);
  fail(ExitCode::invalid_file, "{}: neither GGUF, safetensors, ONNX nor terse's archive", path);
}

Artifact read_artifact(const std::string& path) {
  const FileReader& reader = reader_of(path);
  if (reader.import == nullptr)
    fail(ExitCode::invalid_file,
         "{}: a {} file says nothing of the model; name the folder with its config.json", path,
         reader.name);
  return reader.import(path);
}

Inspection inspect_file(const std::string& path) {
  return reader_of(path).inspect(path);
}

}  // namespace terse
