#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "export/safetensors.h"
#include "export/safetensors_checksum.h"
#include "export/safetensors_header.h"

namespace terse {
namespace {

using safetensors::Entry;

// As the Python library's limit; a header of 100 MB describes about a million tensors.
constexpr uint64_t kMaxHeader = 100'000'000;

std::string_view header_text(std::span<const std::byte> bytes, const std::string& path) {
  uint64_t length = 0;
  if (bytes.size() < sizeof length)
    fail(ExitCode::invalid_file, "{}: {} bytes are too few for a safetensors file", path,
         bytes.size());
  std::memcpy(&length, bytes.data(), sizeof length);
  if (length > kMaxHeader || length > bytes.size() - sizeof length)
    fail(ExitCode::invalid_file,
         "{}: the safetensors header claims {} bytes, the file has {}; it is truncated or no "
         "safetensors file",
         path, length, bytes.size());
  return {reinterpret_cast<const char*>(bytes.data()) + sizeof length, length};
}

void check_extent(const Entry& entry, int64_t data_size, const std::string& path) {
  if (entry.begin > entry.end || entry.end > data_size)
    fail(ExitCode::invalid_file, "{}: tensor \"{}\" lies at bytes [{}, {}), the data has {}", path,
         entry.name, entry.begin, entry.end, data_size);
  int64_t bytes = dtype_size(entry.dtype);
  for (int64_t d : entry.shape)
    if (__builtin_mul_overflow(bytes, d, &bytes))
      fail(ExitCode::invalid_file, "{}: the shape [{}] of tensor \"{}\" overflows", path,
           fmt::join(entry.shape, ", "), entry.name);
  if (bytes != entry.end - entry.begin)
    fail(ExitCode::invalid_file, "{}: tensor \"{}\" {}[{}] needs {} bytes, its offsets hold {}",
         path, entry.name, dtype_name(entry.dtype), fmt::join(entry.shape, ", "), bytes,
         entry.end - entry.begin);
}

// Sorts by place and demands that tensors follow each other without holes or overlaps to the end.
void check_layout(std::vector<Entry>& entries, int64_t data_size, const std::string& path) {
  for (const Entry& entry : entries) check_extent(entry, data_size, path);
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  int64_t expected = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != expected)
      fail(ExitCode::invalid_file, "{}: tensor \"{}\" starts at byte {} where {} was expected ({})",
           path, entry.name, entry.begin, expected,
           entry.begin < expected ? "it overlaps another" : "there is a hole before it");
    expected = entry.end;
  }
  if (expected != data_size)
    fail(ExitCode::invalid_file, "{}: {} bytes of data, but the tensors take {}", path, data_size,
         expected);
}

}  // namespace

struct SafetensorsFile::State {
  std::string path;
  std::unique_ptr<MappedFile> map;
  Metadata metadata;
  std::vector<std::string> names;
  std::map<std::string, TensorView, std::less<>> tensors;
  std::vector<std::vector<uint64_t>> aligned;  // copies of misaligned data

  State(std::span<const std::byte> bytes, std::string label) : path(std::move(label)) {
    const std::string_view text = header_text(bytes, path);
    safetensors::Header header = safetensors::parse_header(text, path);
    const auto data = bytes.subspan(sizeof(uint64_t) + text.size());
    check_layout(header.entries, static_cast<int64_t>(data.size()), path);
    metadata = std::move(header.metadata);
    for (Entry& entry : header.entries) add(entry, data);
  }

  void add(Entry& entry, std::span<const std::byte> data) {
    auto bytes = data.subspan(static_cast<size_t>(entry.begin),
                              static_cast<size_t>(entry.end - entry.begin));
    const auto address = reinterpret_cast<uintptr_t>(bytes.data());
    if (!bytes.empty() && address % static_cast<uintptr_t>(dtype_size(entry.dtype)) != 0) {
      auto& copy = aligned.emplace_back((bytes.size() + 7) / 8);
      std::memcpy(copy.data(), bytes.data(), bytes.size());
      bytes = {reinterpret_cast<const std::byte*>(copy.data()), bytes.size()};
    }
    names.push_back(entry.name);
    tensors.emplace(std::move(entry.name), TensorView{entry.dtype, std::move(entry.shape), bytes});
  }
};

SafetensorsFile::SafetensorsFile(const std::string& path) {
  auto map = std::make_unique<MappedFile>(path);
  state_ = std::make_unique<State>(map->bytes(), path);
  state_->map = std::move(map);
}
SafetensorsFile::SafetensorsFile(std::span<const std::byte> bytes, std::string label)
    : state_(std::make_unique<State>(bytes, std::move(label))) {}
SafetensorsFile::SafetensorsFile(SafetensorsFile&&) noexcept = default;
SafetensorsFile& SafetensorsFile::operator=(SafetensorsFile&&) noexcept = default;
SafetensorsFile::~SafetensorsFile() = default;

const std::string& SafetensorsFile::path() const {
  return state_->path;
}
const Metadata& SafetensorsFile::metadata() const {
  return state_->metadata;
}
const std::vector<std::string>& SafetensorsFile::names() const {
  return state_->names;
}

std::optional<TensorView> SafetensorsFile::find(std::string_view name) const {
  const auto found = state_->tensors.find(name);
  if (found == state_->tensors.end()) return std::nullopt;
  return found->second;
}

TensorView SafetensorsFile::require(std::string_view name) const {
  auto view = find(name);
  if (!view) fail(ExitCode::invalid_file, "{}: no tensor named \"{}\"", path(), name);
  return *std::move(view);
}

TensorView SafetensorsFile::require(std::string_view name, DType dtype,
                                    const std::vector<int64_t>& shape) const {
  TensorView view = require(name);
  if (view.dtype != dtype || view.shape != shape)
    fail(ExitCode::invalid_file, "{}: tensor \"{}\" is {}[{}], expected {}[{}]", path(), name,
         dtype_name(view.dtype), fmt::join(view.shape, ", "), dtype_name(dtype),
         fmt::join(shape, ", "));
  return view;
}

void SafetensorsFile::release(std::span<const std::byte> bytes) const {
  if (state_->map) state_->map->release(bytes);
}

bool SafetensorsFile::has_checksums() const {
  return metadata().contains(std::string(safetensors::kChecksumsKey));
}

void SafetensorsFile::verify_checksums(bool required) const {
  if (!has_checksums()) {
    if (!required) return;
    fail(ExitCode::invalid_file, "{}: no checksums in it; terse writes them under \"{}\"", path(),
         safetensors::kChecksumsKey);
  }
  const std::string& listed = metadata().at(std::string(safetensors::kChecksumsKey));
  if (listed.size() != 17 * names().size() + 16)
    fail(ExitCode::invalid_file, "{}: the list of checksums does not fit the {} tensors", path(),
         names().size());
  const auto matches = [&](size_t index, uint64_t value) {
    return listed.compare(17 * index, 16, checksum_hex(value)) == 0;
  };
  if (!matches(0, safetensors::metadata_checksum(metadata())))
    fail(ExitCode::invalid_file, "{}: the metadata does not match its checksum", path());
  for (size_t i = 0; i < names().size(); ++i) {
    const TensorView view = require(names()[i]);
    Checksum sum;
    safetensors::begin_tensor(sum, names()[i], view.dtype, view.shape);
    sum.update(view.data);
    release(view.data);
    if (!matches(i + 1, sum.value()))
      fail(ExitCode::invalid_file, "{}: tensor \"{}\" does not match its checksum: it is corrupt",
           path(), names()[i]);
  }
}

}  // namespace terse
