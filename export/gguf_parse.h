// Internal: values of a GGUF header.
#pragma once
#include <string>

#include "export/byte_cursor.h"
#include "export/gguf.h"

namespace terse::gguf {

// The value at the cursor, its type number first. `key` is for messages.
GgufValue parse_value(ByteCursor& cursor, const std::string& key);

}  // namespace terse::gguf
