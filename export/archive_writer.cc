#include <algorithm>
#include <set>

#include "base/checksum.h"
#include "base/error.h"
#include "export/archive.h"
#include "export/byte_planes.h"

namespace terse {
namespace {

constexpr uint64_t kAlignment = 64;
constexpr size_t kPiece = 1 << 22;  // bytes that are coded before they are written

class Index {
 public:
  template <typename T>
  void number(T value) {
    add(bytes_of(&value, 1));
  }
  void text(std::string_view text) {
    number<uint64_t>(text.size());
    add(bytes_of(text.data(), static_cast<int64_t>(text.size())));
  }
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  void add(std::span<const std::byte> piece) {
    bytes_.insert(bytes_.end(), piece.begin(), piece.end());
  }
  std::vector<std::byte> bytes_;
};

class Output {
 public:
  explicit Output(WritableFile& file) : file_(file) {}
  void append(std::span<const std::byte> bytes) {
    file_.append(bytes);
    size_ += bytes.size();
  }
  void pad() {
    constexpr std::byte kZeros[kAlignment] = {};
    append(std::span(kZeros).first((kAlignment - size_ % kAlignment) % kAlignment));
  }
  uint64_t size() const { return size_; }

 private:
  WritableFile& file_;
  uint64_t size_ = 0;
};

int64_t byte_count(const ArchiveItem& item) {
  int64_t bytes = dtype_size(item.dtype);
  for (const int64_t d : item.shape) bytes *= d;
  return bytes;
}

// Returns the checksum of what was written.
uint64_t write_data(Output& out, const std::string& path, const ArchiveItem& item) {
  Checksum sum;
  int64_t given = 0;
  PlaneEncoder encoder(item.dtype);
  std::vector<std::byte> coded;
  const auto put = [&](std::span<const std::byte> bytes) {
    sum.update(bytes);
    out.append(bytes);
  };
  item.bytes([&](std::span<const std::byte> piece) {
    given += static_cast<int64_t>(piece.size());
    if (!item.coded) return put(piece);
    for (; !piece.empty(); piece = piece.subspan(std::min(kPiece, piece.size()))) {
      coded.clear();
      encoder.add(piece.first(std::min(kPiece, piece.size())), coded);
      put(coded);
    }
  });
  if (given != byte_count(item))
    fail(ExitCode::invalid_file, "{}: tensor \"{}\" gave {} bytes where its shape needs {}", path,
         item.name, given, byte_count(item));
  coded.clear();
  if (item.coded) encoder.finish(coded);
  put(coded);
  return sum.value();
}

void check_names(const std::string& path, const std::vector<ArchiveItem>& items) {
  std::set<std::string_view> names;
  for (const ArchiveItem& item : items)
    if (!names.insert(item.name).second)
      fail(ExitCode::invalid_file, "{}: two tensors are named \"{}\"", path, item.name);
}

void write_entry(Index& index, Output& out, const std::string& path, const ArchiveItem& item) {
  index.text(item.name);
  index.text(dtype_name(item.dtype));
  index.number<uint8_t>(item.coded);
  index.number<uint64_t>(item.shape.size());
  for (const int64_t d : item.shape) index.number(d);
  out.pad();
  const uint64_t begin = out.size();
  const uint64_t sum = write_data(out, path, item);
  index.number(begin);
  index.number(out.size() - begin);
  index.number(sum);
}

}  // namespace

void write_archive(FileSystem& fs, const std::string& path, const Metadata& metadata,
                   const std::vector<ArchiveItem>& items) {
  check_names(path, items);
  write_atomically(fs, path, [&](WritableFile& file) {
    Output out(file);
    Index head, index, foot;
    head.number<uint64_t>(0x4352414553524554);  // "TERSEARC"
    head.number<uint64_t>(1);                   // the version
    out.append(head.bytes());
    index.number<uint64_t>(metadata.size());
    for (const auto& [key, value] : metadata) {
      index.text(key);
      index.text(value);
    }
    index.number<uint64_t>(items.size());
    for (const ArchiveItem& item : items) write_entry(index, out, path, item);
    out.pad();
    foot.number(out.size());
    foot.number<uint64_t>(index.bytes().size());
    foot.number(checksum(index.bytes()));
    foot.number<uint64_t>(0x444e454553524554);  // "TERSEEND"
    out.append(index.bytes());
    out.append(foot.bytes());
  });
}

}  // namespace terse
