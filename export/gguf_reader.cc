#include <algorithm>
#include <map>
#include <type_traits>

#include "base/checksum.h"
#include "base/error.h"
#include "export/gguf.h"
#include "export/gguf_parse.h"

namespace terse {
namespace {

constexpr std::string_view kChecksums = "terse.checksums";

// A tensor's line in the header, as it stands there.
struct Info {
  GgufTensor tensor;
  uint64_t offset = 0;
  uint64_t bytes = 0;
  std::span<const std::byte> raw;  // name, dimensions and type
};

// numel and bytes of the tensor with every overflow checked.
uint64_t tensor_bytes(const Info& info, const GgufBlockInfo& block, const std::string& path) {
  int64_t elements = 1;
  for (int64_t d : info.tensor.shape)
    if (d < 0 || __builtin_mul_overflow(elements, d, &elements))
      fail(ExitCode::invalid_file, "{}: the shape of tensor \"{}\" overflows", path,
           info.tensor.name);
  const int64_t columns = info.tensor.shape.empty() ? 1 : info.tensor.shape.back();
  int64_t bytes = 0;
  if (columns % block.block != 0 ||
      __builtin_mul_overflow(elements / block.block, block.bytes, &bytes))
    fail(ExitCode::invalid_file, "{}: tensor \"{}\" [{}] cannot have type {}", path,
         info.tensor.name, fmt::join(info.tensor.shape, ", "), block.name);
  return static_cast<uint64_t>(bytes);
}

Info parse_info(ByteCursor& cursor, std::span<const std::byte> file) {
  const size_t begin = cursor.position();
  Info info;
  info.tensor.name = cursor.text();
  const auto dimensions = cursor.number<uint32_t>();
  if (dimensions > 4)
    fail(ExitCode::invalid_file, "{}: tensor \"{}\" has {} dimensions, at most 4 are possible",
         cursor.path(), info.tensor.name, dimensions);
  for (uint32_t i = 0; i < dimensions; ++i)
    info.tensor.shape.insert(info.tensor.shape.begin(),
                             static_cast<int64_t>(cursor.number<uint64_t>()));
  info.tensor.type = cursor.number<uint32_t>();
  info.raw = file.subspan(begin, cursor.position() - begin);
  info.offset = cursor.number<uint64_t>();
  const GgufBlockInfo* block = gguf_block_info(info.tensor.type);
  if (block == nullptr)
    fail(ExitCode::invalid_file, "{}: tensor \"{}\" has the unknown type {}", cursor.path(),
         info.tensor.name, info.tensor.type);
  info.bytes = tensor_bytes(info, *block, cursor.path());
  return info;
}

}  // namespace

int64_t GgufTensor::numel() const {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  return n;
}

struct GgufFile::State {
  std::string path;
  std::unique_ptr<MappedFile> map;
  GgufMetadata metadata;
  std::map<std::string, size_t, std::less<>> keys;
  std::vector<GgufTensor> tensors;
  std::map<std::string, size_t, std::less<>> names;
  std::vector<std::span<const std::byte>> raw_infos;
  std::span<const std::byte> before_checksums;
  uint64_t alignment = 32;

  State(std::span<const std::byte> bytes, std::string label) : path(std::move(label)) {
    ByteCursor cursor(bytes, path, "GGUF");
    if (bytes.size() < 24 || std::memcmp(cursor.take(4).data(), "GGUF", 4) != 0)
      fail(ExitCode::invalid_file, "{}: not a GGUF file", path);
    const auto version = cursor.number<uint32_t>();
    if (version != 3)
      fail(ExitCode::invalid_file, "{}: GGUF version {}; only version 3 can be read", path,
           version);
    // The least that a tensor (name, dimensions, type, offset) and a key (name, type, value) take.
    const uint64_t tensor_count = cursor.count(24);
    const uint64_t key_count = cursor.count(13);
    for (uint64_t i = 0; i < key_count; ++i) parse_pair(cursor, bytes);
    read_alignment();
    std::vector<Info> infos;
    for (uint64_t i = 0; i < tensor_count; ++i) infos.push_back(parse_info(cursor, bytes));
    place(infos, bytes, cursor.position());
  }

  void parse_pair(ByteCursor& cursor, std::span<const std::byte> bytes) {
    const size_t begin = cursor.position();
    std::string key = cursor.text();
    if (key == kChecksums) before_checksums = bytes.first(begin);
    if (!keys.emplace(key, metadata.size()).second)
      fail(ExitCode::invalid_file, "{}: the GGUF key \"{}\" appears twice", path, key);
    GgufValue value = gguf::parse_value(cursor, key);
    metadata.emplace_back(std::move(key), std::move(value));
  }

  void read_alignment() {
    const auto found = keys.find("general.alignment");
    if (found == keys.end()) return;
    const auto* value = std::get_if<uint32_t>(&metadata[found->second].second);
    if (value == nullptr || *value < 8 || *value > 65536 || (*value & (*value - 1)) != 0)
      fail(ExitCode::invalid_file, "{}: \"general.alignment\" must be a power of two from 8 on",
           path);
    alignment = *value;
  }

  uint64_t round_up(uint64_t n) const { return (n + alignment - 1) / alignment * alignment; }

  // llama.cpp's rule: tensors follow each other in the order of the header, each aligned.
  void place(std::vector<Info>& infos, std::span<const std::byte> bytes, size_t header_end) {
    const uint64_t start = round_up(header_end);
    const uint64_t available = start <= bytes.size() ? bytes.size() - start : 0;
    uint64_t expected = 0;
    for (Info& info : infos) {
      if (info.offset != expected)
        fail(ExitCode::invalid_file, "{}: tensor \"{}\" lies at offset {}, expected {}", path,
             info.tensor.name, info.offset, expected);
      if (info.offset > available || info.bytes > available - info.offset)
        fail(ExitCode::invalid_file, "{}: tensor \"{}\" ends beyond the file", path,
             info.tensor.name);
      if (!names.emplace(info.tensor.name, tensors.size()).second)
        fail(ExitCode::invalid_file, "{}: two tensors are named \"{}\"", path, info.tensor.name);
      if (info.bytes > 0)
        info.tensor.data = bytes.subspan(static_cast<size_t>(start + info.offset),
                                         static_cast<size_t>(info.bytes));
      expected = round_up(info.offset + info.bytes);
      tensors.push_back(std::move(info.tensor));
      raw_infos.push_back(info.raw);
    }
    if (available > expected)
      fail(ExitCode::invalid_file, "{}: {} bytes follow the last tensor", path,
           available - expected);
  }
};

GgufFile::GgufFile(const std::string& path) {
  auto map = std::make_unique<MappedFile>(path);
  state_ = std::make_unique<State>(map->bytes(), path);
  state_->map = std::move(map);
}
GgufFile::GgufFile(std::span<const std::byte> bytes, std::string label)
    : state_(std::make_unique<State>(bytes, std::move(label))) {}
GgufFile::GgufFile(GgufFile&&) noexcept = default;
GgufFile& GgufFile::operator=(GgufFile&&) noexcept = default;
GgufFile::~GgufFile() = default;

const std::string& GgufFile::path() const {
  return state_->path;
}
const GgufMetadata& GgufFile::metadata() const {
  return state_->metadata;
}
const std::vector<GgufTensor>& GgufFile::tensors() const {
  return state_->tensors;
}

const GgufTensor* GgufFile::find(std::string_view name) const {
  const auto found = state_->names.find(name);
  return found == state_->names.end() ? nullptr : &state_->tensors[found->second];
}

const GgufValue* GgufFile::value(std::string_view key) const {
  const auto found = state_->keys.find(key);
  return found == state_->keys.end() ? nullptr : &state_->metadata[found->second].second;
}

namespace {

// Picks the value out of a variant by `convert`, which answers nothing for another type.
template <typename T, typename Convert>
T pick(const GgufFile& file, std::string_view key, const std::optional<T>& otherwise,
       const char* wanted, const Convert& convert) {
  const GgufValue* value = file.value(key);
  if (value == nullptr && otherwise) return *otherwise;
  if (value == nullptr) fail(ExitCode::invalid_file, "{}: no key \"{}\"", file.path(), key);
  std::optional<T> result = std::visit(convert, *value);
  if (!result) fail(ExitCode::invalid_file, "{}: \"{}\" is not {}", file.path(), key, wanted);
  return *std::move(result);
}

}  // namespace

int64_t GgufFile::integer(std::string_view key, std::optional<int64_t> otherwise) const {
  return pick(*this, key, otherwise, "an integer", [](const auto& v) -> std::optional<int64_t> {
    using T = std::decay_t<decltype(v)>;
    if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
      if (std::in_range<int64_t>(v)) return static_cast<int64_t>(v);
    }
    return std::nullopt;
  });
}

double GgufFile::number(std::string_view key, std::optional<double> otherwise) const {
  return pick(*this, key, otherwise, "a number", [](const auto& v) -> std::optional<double> {
    using T = std::decay_t<decltype(v)>;
    if constexpr (std::is_floating_point_v<T>) return static_cast<double>(v);
    return std::nullopt;
  });
}

bool GgufFile::flag(std::string_view key, std::optional<bool> otherwise) const {
  return pick(*this, key, otherwise, "a flag", [](const auto& v) -> std::optional<bool> {
    if constexpr (std::is_same_v<std::decay_t<decltype(v)>, bool>) return v;
    return std::nullopt;
  });
}

std::string GgufFile::text(std::string_view key,
                           const std::optional<std::string>& otherwise) const {
  return pick(*this, key, otherwise, "a text", [](const auto& v) -> std::optional<std::string> {
    if constexpr (std::is_same_v<std::decay_t<decltype(v)>, std::string>) return v;
    return std::nullopt;
  });
}

void GgufFile::release(std::span<const std::byte> bytes) const {
  if (state_->map) state_->map->release(bytes);
}

bool GgufFile::has_checksums() const {
  return value(kChecksums) != nullptr;
}

void GgufFile::verify_checksums(bool required) const {
  if (!has_checksums()) {
    if (!required) return;
    fail(ExitCode::invalid_file, "{}: no checksums in it; terse writes them under \"{}\"", path(),
         kChecksums);
  }
  const std::vector<uint64_t>& sums = *array<uint64_t>(kChecksums);
  if (sums.size() != tensors().size() + 1 || metadata().back().first != kChecksums)
    fail(ExitCode::invalid_file, "{}: the list of checksums does not fit the file", path());
  if (checksum(state_->before_checksums) != sums[0])
    fail(ExitCode::invalid_file, "{}: the metadata does not match its checksum", path());
  for (size_t i = 0; i < tensors().size(); ++i) {
    Checksum sum;
    sum.update(state_->raw_infos[i]);
    sum.update(tensors()[i].data);
    release(tensors()[i].data);
    if (sum.value() != sums[i + 1])
      fail(ExitCode::invalid_file, "{}: tensor \"{}\" does not match its checksum: it is corrupt",
           path(), tensors()[i].name);
  }
}

}  // namespace terse
