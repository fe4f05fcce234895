#include "base/error.h"
#include "export/gguf_parse.h"

namespace terse::gguf {
namespace {

[[noreturn]] void bad(const ByteCursor& cursor, const std::string& key, const std::string& what) {
  fail(ExitCode::invalid_file, "{}: GGUF key \"{}\": {}", cursor.path(), key, what);
}

bool parse_flag(ByteCursor& cursor, const std::string& key) {
  const auto byte = cursor.number<uint8_t>();
  if (byte > 1) bad(cursor, key, fmt::format("a flag is {}, neither 0 nor 1", byte));
  return byte == 1;
}

template <typename T>
GgufArray parse_numbers(ByteCursor& cursor) {
  const uint64_t count = cursor.count(sizeof(T));
  const auto bytes = cursor.take(count * sizeof(T));
  std::vector<T> list(static_cast<size_t>(count));
  if (!list.empty()) std::memcpy(list.data(), bytes.data(), bytes.size());
  return list;
}

GgufArray parse_flags(ByteCursor& cursor, const std::string& key) {
  std::vector<bool> list(static_cast<size_t>(cursor.count(1)));
  for (size_t i = 0; i < list.size(); ++i) list[i] = parse_flag(cursor, key);
  return list;
}

GgufArray parse_texts(ByteCursor& cursor) {
  const auto count = static_cast<size_t>(cursor.count(sizeof(uint64_t)));
  std::vector<std::string> list;
  list.reserve(count);
  for (size_t i = 0; i < count; ++i) list.push_back(cursor.text());
  return list;
}

GgufArray parse_array(ByteCursor& cursor, const std::string& key) {
  const auto type = cursor.number<uint32_t>();
  switch (type) {
    case 0:
      return parse_numbers<uint8_t>(cursor);
    case 1:
      return parse_numbers<int8_t>(cursor);
    case 2:
      return parse_numbers<uint16_t>(cursor);
    case 3:
      return parse_numbers<int16_t>(cursor);
    case 4:
      return parse_numbers<uint32_t>(cursor);
    case 5:
      return parse_numbers<int32_t>(cursor);
    case 6:
      return parse_numbers<float>(cursor);
    case 7:
      return parse_flags(cursor, key);
    case 8:
      return parse_texts(cursor);
    case 10:
      return parse_numbers<uint64_t>(cursor);
    case 11:
      return parse_numbers<int64_t>(cursor);
    case 12:
      return parse_numbers<double>(cursor);
    default:
      bad(cursor, key, fmt::format("arrays cannot hold type {}", type));
  }
}

}  // namespace

GgufValue parse_value(ByteCursor& cursor, const std::string& key) {
  const auto type = cursor.number<uint32_t>();
  switch (type) {
    case 0:
      return cursor.number<uint8_t>();
    case 1:
      return cursor.number<int8_t>();
    case 2:
      return cursor.number<uint16_t>();
    case 3:
      return cursor.number<int16_t>();
    case 4:
      return cursor.number<uint32_t>();
    case 5:
      return cursor.number<int32_t>();
    case 6:
      return cursor.number<float>();
    case 7:
      return parse_flag(cursor, key);
    case 8:
      return cursor.text();
    case 9:
      return parse_array(cursor, key);
    case 10:
      return cursor.number<uint64_t>();
    case 11:
      return cursor.number<int64_t>();
    case 12:
      return cursor.number<double>();
    default:
      bad(cursor, key, fmt::format("value type {} is not known", type));
  }
}

}  // namespace terse::gguf
