#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "export/safetensors.h"
#include "export/safetensors_checksum.h"

namespace terse {
namespace {

int64_t byte_count(const SafetensorsItem& item) {
  int64_t bytes = dtype_size(item.dtype);
  for (int64_t d : item.shape) {
    TERSE_CHECK(d >= 0, "{}: dimension {}", item.name, d);
    TERSE_CHECK(!__builtin_mul_overflow(bytes, d, &bytes), "{}: size overflows", item.name);
  }
  return bytes;
}

std::string quoted(const std::string& path, const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    fail(ExitCode::invalid_file, "{}: a name or metadata text is not UTF-8: \"{}\"", path, text);
  }
}

void put_in_file_order(const std::string& path, std::vector<SafetensorsItem>& items) {
  std::sort(items.begin(), items.end(), [](const auto& a, const auto& b) {
    const int64_t size_a = dtype_size(a.dtype), size_b = dtype_size(b.dtype);
    return size_a != size_b ? size_a > size_b : a.name < b.name;
  });
  std::vector<std::string_view> names;
  for (const auto& item : items) names.push_back(item.name);
  std::sort(names.begin(), names.end());
  const auto twin = std::adjacent_find(names.begin(), names.end());
  if (twin != names.end())
    fail(ExitCode::invalid_file, "{}: two tensors are named \"{}\"", path, *twin);
}

std::string make_header(const std::string& path, const std::vector<SafetensorsItem>& items,
                        const Metadata& metadata) {
  std::string json = "{\"__metadata__\":{";
  const char* separator = "";
  for (const auto& [key, value] : metadata) {
    json += fmt::format("{}{}:{}", separator, quoted(path, key), quoted(path, value));
    separator = ",";
  }
  json += "}";
  int64_t offset = 0;
  for (const auto& item : items) {
    const int64_t end = offset + byte_count(item);
    json += fmt::format(R"(,{}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                        quoted(path, item.name), dtype_name(item.dtype), fmt::join(item.shape, ","),
                        offset, end);
    offset = end;
  }
  json += "}";
  json.resize((json.size() + 7) / 8 * 8, ' ');
  return json;
}

// Returns the checksum.
uint64_t append_item(WritableFile& file, const std::string& path, const SafetensorsItem& item) {
  Checksum sum;
  safetensors::begin_tensor(sum, item.name, item.dtype, item.shape);
  int64_t written = 0;
  item.bytes([&](std::span<const std::byte> piece) {
    sum.update(piece);
    written += static_cast<int64_t>(piece.size());
    file.append(piece);
  });
  if (written != byte_count(item))
    fail(ExitCode::invalid_file, "{}: tensor \"{}\" gave {} bytes where its shape needs {}", path,
         item.name, written, byte_count(item));
  return sum.value();
}

std::string checksum_list(const std::vector<uint64_t>& sums) {
  std::string text;
  for (const uint64_t sum : sums)
    text += fmt::format("{}{}", text.empty() ? "" : " ", checksum_hex(sum));
  return text;
}

}  // namespace

// Making data may cost more than writing them, so each source is asked once: the header goes first
// with zeros for checksums, and is written again, as long as before, when they are known.
void write_safetensors(FileSystem& fs, const std::string& path, std::vector<SafetensorsItem> items,
                       Metadata metadata) {
  put_in_file_order(path, items);
  for (const auto& item : items)
    if (item.name == "__metadata__")
      fail(ExitCode::invalid_file, "{}: \"__metadata__\" cannot name a tensor", path);
  std::vector<uint64_t> sums(1 + items.size());
  sums[0] = safetensors::metadata_checksum(metadata);
  const auto header = [&] {
    metadata[std::string(safetensors::kChecksumsKey)] = checksum_list(sums);
    return make_header(path, items, metadata);
  };
  write_atomically(fs, path, [&](WritableFile& file) {
    const std::string first = header();
    const uint64_t length = first.size();
    file.append(bytes_of(&length, 1));
    file.append(bytes_of(first.data(), static_cast<int64_t>(first.size())));
    for (size_t i = 0; i < items.size(); ++i) sums[i + 1] = append_item(file, path, items[i]);
    const std::string second = header();
    TERSE_CHECK(second.size() == first.size(), "{}", path);
    file.write_at(sizeof length, bytes_of(second.data(), static_cast<int64_t>(second.size())));
  });
}

void write_safetensors(FileSystem& fs, const std::string& path,
                       const std::map<std::string, TensorView>& tensors, Metadata metadata) {
  std::vector<SafetensorsItem> items;
  for (const auto& [name, view] : tensors)
    items.push_back({name, view.dtype, view.shape, source_of(view)});
  write_safetensors(fs, path, std::move(items), std::move(metadata));
}

}  // namespace terse
