// What a path holds, told by its content.
#pragma once
#include <string>

namespace terse {

enum class FileKind { gguf, safetensors, hf_folder };

// Error(invalid_file) for anything else.
FileKind file_kind(const std::string& path);

}  // namespace terse
