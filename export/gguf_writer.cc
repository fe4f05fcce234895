#include <algorithm>
#include <array>
#include <type_traits>

#include "base/checksum.h"
#include "base/error.h"
#include "export/gguf.h"
#include "export/gguf_pack.h"

namespace terse {
namespace {

constexpr int64_t kAlignment = 32;
constexpr size_t kMaxName = 63;
constexpr std::string_view kChecksums = "terse.checksums";

// The number that names a C++ type in the file.
template <typename T>
constexpr uint32_t type_number() {
  if constexpr (std::is_same_v<T, uint8_t>) return 0;
  if constexpr (std::is_same_v<T, int8_t>) return 1;
  if constexpr (std::is_same_v<T, uint16_t>) return 2;
  if constexpr (std::is_same_v<T, int16_t>) return 3;
  if constexpr (std::is_same_v<T, uint32_t>) return 4;
  if constexpr (std::is_same_v<T, int32_t>) return 5;
  if constexpr (std::is_same_v<T, float>) return 6;
  if constexpr (std::is_same_v<T, bool>) return 7;
  if constexpr (std::is_same_v<T, std::string>) return 8;
  if constexpr (std::is_same_v<T, GgufArray>) return 9;
  if constexpr (std::is_same_v<T, uint64_t>) return 10;
  if constexpr (std::is_same_v<T, int64_t>) return 11;
  if constexpr (std::is_same_v<T, double>) return 12;
}

class Bytes {
 public:
  template <typename T>
  void put(T value) {
    const auto bytes = bytes_of(&value, 1);
    data_.insert(data_.end(), bytes.begin(), bytes.end());
  }
  void put(const std::string& text) {
    put(static_cast<uint64_t>(text.size()));
    const auto bytes = bytes_of(text.data(), static_cast<int64_t>(text.size()));
    data_.insert(data_.end(), bytes.begin(), bytes.end());
  }
  void put(bool value) { put(static_cast<uint8_t>(value)); }
  void put(const GgufArray& array) {
    std::visit(
        [this](const auto& list) {
          using T = std::decay_t<decltype(list)>::value_type;
          put(type_number<T>());
          put(static_cast<uint64_t>(list.size()));
          for (const auto& element : list) put(static_cast<const T&>(element));
        },
        array);
  }
  void put_pair(const std::string& key, const GgufValue& value) {
    put(key);
    std::visit(
        [this](const auto& v) {
          put(type_number<std::decay_t<decltype(v)>>());
          put(v);
        },
        value);
  }
  void pad() { data_.resize(static_cast<size_t>(round_up(size()))); }
  static int64_t round_up(int64_t n) { return (n + kAlignment - 1) / kAlignment * kAlignment; }
  int64_t size() const { return static_cast<int64_t>(data_.size()); }
  std::span<const std::byte> view() const { return data_; }

 private:
  std::vector<std::byte> data_;
};

int64_t byte_count(const std::string& path, const GgufItem& item) {
  const GgufPacking& packing = gguf_packing(item.type);
  int64_t elements = 1;
  for (int64_t d : item.shape) elements *= d;
  if (item.shape.empty() || item.shape.size() > 4 || item.shape.back() % packing.block != 0)
    fail(ExitCode::invalid_file,
         "{}: tensor \"{}\" [{}] cannot be stored as {}: its columns must be a multiple of {}",
         path, item.name, fmt::join(item.shape, ", "), packing.name, packing.block);
  return elements / packing.block * packing.bytes;
}

void check_names(const std::string& path, const std::vector<GgufItem>& items) {
  std::vector<std::string_view> names;
  for (const GgufItem& item : items) {
    names.push_back(item.name);
    if (item.name.size() > kMaxName)
      fail(ExitCode::invalid_file, "{}: the tensor name \"{}\" is longer than {} bytes", path,
           item.name, kMaxName);
  }
  std::sort(names.begin(), names.end());
  const auto twin = std::adjacent_find(names.begin(), names.end());
  if (twin != names.end())
    fail(ExitCode::invalid_file, "{}: two tensors are named \"{}\"", path, *twin);
}

void put_info(Bytes& out, const GgufItem& item) {
  out.put(item.name);
  out.put(static_cast<uint32_t>(item.shape.size()));
  for (auto d = item.shape.rbegin(); d != item.shape.rend(); ++d)
    out.put(static_cast<uint64_t>(*d));
  out.put(static_cast<uint32_t>(item.type));
}

// Over name, type, shape (as in the file) and data, which go to the file.
uint64_t append_data(WritableFile& file, const GgufItem& item, int64_t& count) {
  Bytes info;
  put_info(info, item);
  Checksum sum;
  sum.update(info.view());
  count = 0;
  item.bytes([&](std::span<const std::byte> piece) {
    sum.update(piece);
    count += static_cast<int64_t>(piece.size());
    file.append(piece);
  });
  return sum.value();
}

Bytes make_header(const std::string& path, const GgufMetadata& metadata,
                  const std::vector<GgufItem>& items, const std::vector<uint64_t>& item_sums) {
  Bytes out;
  for (const char c : {'G', 'G', 'U', 'F'}) out.put(c);
  out.put(uint32_t{3});
  out.put(static_cast<uint64_t>(items.size()));
  out.put(static_cast<uint64_t>(metadata.size() + 1));
  for (const auto& [key, value] : metadata) {
    TERSE_CHECK(key != kChecksums, "the writer makes this key");
    out.put_pair(key, value);
  }
  std::vector<uint64_t> sums = {checksum(out.view())};
  sums.insert(sums.end(), item_sums.begin(), item_sums.end());
  out.put_pair(std::string(kChecksums), GgufArray(sums));
  int64_t offset = 0;
  for (const GgufItem& item : items) {
    put_info(out, item);
    out.put(static_cast<uint64_t>(offset));
    offset += Bytes::round_up(byte_count(path, item));
  }
  out.pad();
  return out;
}

// Returns the checksum.
uint64_t append_item(WritableFile& file, const std::string& path, const GgufItem& item) {
  int64_t count = 0;
  const uint64_t sum = append_data(file, item, count);
  const int64_t needed = byte_count(path, item);
  if (count != needed)
    fail(ExitCode::invalid_file, "{}: tensor \"{}\" gave {} bytes where its shape needs {}", path,
         item.name, count, needed);
  static constexpr std::array<std::byte, kAlignment> kZeros = {};
  file.append(std::span(kZeros).first(static_cast<size_t>(Bytes::round_up(count) - count)));
  return sum;
}

}  // namespace

// Making data may cost more than writing them, so each source is asked once: the header goes first
// with zeros for the tensors' checksums, and is written again, as long as before, when they are
// known.
void write_gguf_file(FileSystem& fs, const std::string& path, const GgufMetadata& metadata,
                     const std::vector<GgufItem>& items) {
  check_names(path, items);
  for (const GgufItem& item : items) byte_count(path, item);
  std::vector<uint64_t> sums(items.size());
  write_atomically(fs, path, [&](WritableFile& file) {
    const Bytes first = make_header(path, metadata, items, sums);
    file.append(first.view());
    for (size_t i = 0; i < items.size(); ++i) sums[i] = append_item(file, path, items[i]);
    const Bytes second = make_header(path, metadata, items, sums);
    TERSE_CHECK(second.size() == first.size(), "{}", path);
    file.write_at(0, second.view());
  });
}

}  // namespace terse
