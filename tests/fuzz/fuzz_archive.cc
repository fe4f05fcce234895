// Any bytes: an Error, or an archive all of whose tensors decode and whose weights can be made,
// also as the N:M matrices that a server reads. The index gets a right checksum first, else nothing
// would get past it.
#include <cstring>
#include <memory>

#include "base/checksum.h"
#include "base/error.h"
#include "export/archive.h"
#include "export/import_archive.h"
#include "export/nm_matrix.h"
#include "tests/fuzz/live_memory.h"

namespace {

// Of what is decoded here: coded, a short input may well hold a weight of 64 MiB. A weight is a
// handful of arrays of at most 4 MiB then.
constexpr int64_t kMaxElements = 1 << 20;

std::vector<std::byte> with_checksum(const uint8_t* data, size_t size) {
  std::vector<std::byte> bytes(size);
  if (size > 0) std::memcpy(bytes.data(), data, size);
  if (size < 48) return bytes;
  uint64_t begin = 0, length = 0;
  std::memcpy(&begin, bytes.data() + size - 32, sizeof begin);
  std::memcpy(&length, bytes.data() + size - 24, sizeof length);
  if (begin > size || length > size - begin) return bytes;
  const uint64_t sum = terse::checksum(std::span(bytes).subspan(begin, length));
  std::memcpy(bytes.data() + size - 16, &sum, sizeof sum);
  return bytes;
}

bool small(const std::vector<int64_t>& shape) {
  int64_t n = 1;
  for (const int64_t d : shape)
    if (__builtin_mul_overflow(n, d, &n) || n > kMaxElements) return false;
  return true;
}

void read_weight(const std::shared_ptr<const terse::ArchiveFile>& file, const std::string& name) {
  const terse::ArtifactWeight weight = terse::archive_weight(file, name);
  if (!small(weight.shape)) return;
  terse::effective_values(weight);
  if (!terse::archive_layout(*file, name)) return;
  const terse::NmMatrix matrix = terse::read_nm_matrix(file, name);
  if (matrix.rows == 0) return;
  std::vector<float> values(static_cast<size_t>(matrix.kept()));
  for (const int64_t row : {int64_t{0}, matrix.rows - 1}) matrix.row_values(row, values.data());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const terse::LiveMemory limit(size);
  const auto bytes = with_checksum(data, size);
  try {
    const auto file = std::make_shared<const terse::ArchiveFile>(bytes, "fuzz");
    for (const terse::ArchiveTensor& tensor : file->tensors())
      if (small(tensor.shape)) try {
          file->read(tensor, [](std::span<const std::byte>) {});
        } catch (const terse::Error&) {
        }
    for (const std::string& name : terse::archive_weights(*file)) try {
        read_weight(file, name);
      } catch (const terse::Error&) {
      }
    terse::import_archive(file);
    file->verify_checksums();
  } catch (const terse::Error&) {
  }
  return 0;
}
