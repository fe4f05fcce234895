#include "export/file_kind.h"

#include <sys/stat.h>

#include <cstring>

#include "base/error.h"
#include "base/file_system.h"

namespace terse {

FileKind file_kind(const std::string& path) {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0)
    fail(ExitCode::invalid_file, "{}: no such file or folder", path);
  if (S_ISDIR(info.st_mode)) {
    if (FileSystem::real().exists(path + "/model.safetensors")) return FileKind::hf_folder;
    fail(ExitCode::invalid_file, "{}: a folder without model.safetensors", path);
  }
  const MappedFile file(path);
  const auto bytes = file.bytes();
  if (bytes.size() >= 4 && std::memcmp(bytes.data(), "GGUF", 4) == 0) return FileKind::gguf;
  if (bytes.size() > 8 && bytes[8] == std::byte{'{'}) return FileKind::safetensors;
  fail(ExitCode::invalid_file, "{}: neither GGUF nor safetensors", path);
}

}  // namespace terse
