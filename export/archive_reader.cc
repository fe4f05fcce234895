#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "base/checksum.h"
#include "base/error.h"
#include "export/archive.h"
#include "export/byte_cursor.h"
#include "export/byte_planes.h"

namespace terse {
namespace {

constexpr std::string_view kBegin("TERSEARC\1\0\0\0\0\0\0\0", 16), kEnd = "TERSEEND";
constexpr size_t kFooter = 32;
constexpr uint64_t kAlignment = 64;
constexpr uint64_t kMaxDimensions = 8;
// A coded run of 2^18 bytes takes 138 bytes at least: what a small file may make a reader allocate.
constexpr int64_t kMaxExpansion = 2048;
constexpr int64_t kMaxElements = int64_t{1} << 40;
constexpr uint64_t kLeastEntry = 3 * sizeof(uint64_t) + 1;

bool equals(std::span<const std::byte> bytes, std::string_view text) {
  return bytes.size() == text.size() && std::memcmp(bytes.data(), text.data(), text.size()) == 0;
}

void read_shape(ByteCursor& in, ArchiveTensor& tensor) {
  const auto dimensions = in.number<uint64_t>();
  if (dimensions > kMaxDimensions)
    in.bad("tensor \"{}\" has {} dimensions", tensor.name, dimensions);
  int64_t elements = 1;
  for (uint64_t i = 0; i < dimensions; ++i) {
    const auto size = in.number<int64_t>();
    if (size < 0 || __builtin_mul_overflow(elements, size, &elements) || elements > kMaxElements)
      in.bad("the shape of tensor \"{}\" is not possible", tensor.name);
    tensor.shape.push_back(size);
  }
}

ArchiveTensor read_entry(ByteCursor& in, std::span<const std::byte> file, uint64_t data_end,
                         uint64_t& expected) {
  ArchiveTensor tensor;
  tensor.name = in.text();
  const std::string type = in.text();
  if (!dtype_parse(type, tensor.dtype))
    in.bad("tensor \"{}\" has the unknown type \"{}\"", tensor.name, type);
  const auto coding = in.number<uint8_t>();
  if (coding > 1) in.bad("tensor \"{}\" has the unknown coding {}", tensor.name, coding);
  tensor.coded = coding == 1;
  read_shape(in, tensor);
  const auto begin = in.number<uint64_t>(), size = in.number<uint64_t>();
  tensor.checksum = in.number<uint64_t>();
  if (begin != (expected + kAlignment - 1) / kAlignment * kAlignment || begin > data_end ||
      size > data_end - begin)
    in.bad("tensor \"{}\" lies at byte {} and takes {}", tensor.name, begin, size);
  for (uint64_t i = expected; i < begin; ++i)
    if (file[i] != std::byte{0}) in.bad("there are bytes before tensor \"{}\"", tensor.name);
  expected = begin + size;
  tensor.stored = file.subspan(begin, size);
  const auto stored = static_cast<int64_t>(size);
  const bool fits =
      tensor.coded ? tensor.bytes() / kMaxExpansion <= stored : tensor.bytes() == stored;
  if (!fits)
    in.bad("tensor \"{}\" has {} bytes, its shape needs {}", tensor.name, size, tensor.bytes());
  return tensor;
}

}  // namespace

int64_t ArchiveTensor::numel() const {
  int64_t n = 1;
  for (const int64_t d : shape) n *= d;
  return n;
}

struct ArchiveFile::State {
  std::string path;
  std::unique_ptr<MappedFile> map;
  Metadata metadata;
  std::vector<ArchiveTensor> tensors;
  std::map<std::string_view, const ArchiveTensor*> by_name;

  State(std::span<const std::byte> bytes, std::string label) : path(std::move(label)) {
    const auto index = find_index(bytes);
    ByteCursor in(index, path, "archive's index");
    read_metadata(in);
    const uint64_t count = in.count(kLeastEntry);
    const auto data_end = static_cast<uint64_t>(index.data() - bytes.data());
    uint64_t expected = kBegin.size();
    tensors.reserve(count);
    for (uint64_t i = 0; i < count; ++i)
      tensors.push_back(read_entry(in, bytes, data_end, expected));
    if (in.left() != 0) in.bad("{} bytes are left over", in.left());
    if ((expected + kAlignment - 1) / kAlignment * kAlignment != data_end)
      in.bad("the data end at byte {}, the index begins at {}", expected, data_end);
    for (uint64_t i = expected; i < data_end; ++i)
      if (bytes[i] != std::byte{0}) in.bad("there are bytes behind the last tensor");
    for (const ArchiveTensor& tensor : tensors)
      if (!by_name.emplace(tensor.name, &tensor).second)
        in.bad("two tensors are named \"{}\"", tensor.name);
  }

  std::span<const std::byte> find_index(std::span<const std::byte> bytes) const {
    if (bytes.size() < kBegin.size() + kFooter || !equals(bytes.first(kBegin.size()), kBegin) ||
        !equals(bytes.last(kEnd.size()), kEnd))
      fail(ExitCode::invalid_file,
           "{}: no archive of version 1, or truncated: its first or last bytes are missing", path);
    const std::string what = "archive's last bytes";
    ByteCursor in(bytes.last(kFooter), path, what.c_str());
    const auto begin = in.number<uint64_t>(), size = in.number<uint64_t>();
    const auto sum = in.number<uint64_t>();
    const uint64_t room = bytes.size() - kFooter;
    if (begin > room || size != room - begin || begin % kAlignment != 0)
      in.bad("the index should lie at byte {} and take {}", begin, size);
    const auto index = bytes.subspan(begin, size);
    if (checksum(index) != sum) in.bad("the index does not match its checksum: it is corrupt");
    return index;
  }

  void read_metadata(ByteCursor& in) {
    const uint64_t count = in.count(2 * sizeof(uint64_t));
    for (uint64_t i = 0; i < count; ++i) {
      std::string key = in.text();
      std::string value = in.text();
      if (!metadata.emplace(std::move(key), std::move(value)).second)
        in.bad("a key of the metadata appears twice");
    }
  }
};

ArchiveFile::ArchiveFile(const std::string& path) {
  auto map = std::make_unique<MappedFile>(path);
  state_ = std::make_unique<State>(map->bytes(), path);
  state_->map = std::move(map);
}
ArchiveFile::ArchiveFile(std::span<const std::byte> bytes, std::string label)
    : state_(std::make_unique<State>(bytes, std::move(label))) {}
ArchiveFile::ArchiveFile(ArchiveFile&&) noexcept = default;
ArchiveFile& ArchiveFile::operator=(ArchiveFile&&) noexcept = default;
ArchiveFile::~ArchiveFile() = default;

const std::string& ArchiveFile::path() const {
  return state_->path;
}
const Metadata& ArchiveFile::metadata() const {
  return state_->metadata;
}
const std::vector<ArchiveTensor>& ArchiveFile::tensors() const {
  return state_->tensors;
}

const ArchiveTensor* ArchiveFile::find(std::string_view name) const {
  const auto found = state_->by_name.find(name);
  return found == state_->by_name.end() ? nullptr : found->second;
}

const ArchiveTensor& ArchiveFile::require(std::string_view name, DType dtype) const {
  const ArchiveTensor* tensor = find(name);
  if (tensor == nullptr) fail(ExitCode::invalid_file, "{}: no tensor named \"{}\"", path(), name);
  if (tensor->dtype != dtype)
    fail(ExitCode::invalid_file, "{}: tensor \"{}\" is {}, expected {}", path(), name,
         dtype_name(tensor->dtype), dtype_name(dtype));
  return *tensor;
}

namespace {

template <typename Out>
void decode(const ArchiveFile& file, const ArchiveTensor& tensor, Out&& out) {
  const std::string what = fmt::format("tensor \"{}\"", tensor.name);
  ByteCursor in(tensor.stored, file.path(), what.c_str());
  decode_planes(tensor.dtype, tensor.numel(), in, std::forward<Out>(out));
  if (in.left() != 0) in.bad("{} bytes are left over", in.left());
}

}  // namespace

void ArchiveFile::read(const ArchiveTensor& tensor, const ByteSink& sink) const {
  if (tensor.coded)
    decode(*this, tensor, sink);
  else
    sink(tensor.stored);
  release(tensor.stored);
}

void ArchiveFile::read(const ArchiveTensor& tensor, void* out) const {
  if (tensor.coded)
    decode(*this, tensor, static_cast<std::byte*>(out));
  else if (!tensor.stored.empty())
    std::memcpy(out, tensor.stored.data(), tensor.stored.size());
  release(tensor.stored);
}

void ArchiveFile::release(std::span<const std::byte> bytes) const {
  if (state_->map) state_->map->release(bytes);
}

void ArchiveFile::verify_checksums() const {
  for (const ArchiveTensor& tensor : tensors()) {
    if (checksum(tensor.stored) != tensor.checksum)
      fail(ExitCode::invalid_file, "{}: tensor \"{}\" does not match its checksum: it is corrupt",
           path(), tensor.name);
    release(tensor.stored);
  }
}

}  // namespace terse
