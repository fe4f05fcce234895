#include "trainer/data/images.h"

#include <array>
#include <cstring>
#include <vector>

#include "base/checksum.h"
#include "base/error.h"

namespace terse {
namespace {

constexpr std::array<char, 8> kMagic = {'T', 'E', 'R', 'S', 'E', 'I', 'M', 'G'};
constexpr int64_t kLabelBytes = 2;

struct Header {
  std::array<char, 8> magic = kMagic;
  uint32_t version = 1;
  uint32_t count = 0;
  uint16_t channels = 0, height = 0, width = 0, classes = 0, top = 0;
  std::array<uint16_t, 3> zero = {};
  uint64_t checksum = 0;
  std::array<uint64_t, 3> more_zero = {};
};
static_assert(sizeof(Header) == 64);

int64_t record_bytes(const ImageShape& shape) {
  return shape.pixels() + kLabelBytes;
}

void check_shape(const std::string& path, const ImageShape& s) {
  // Each is below 2^16, so that the products stay far below 2^63.
  const bool possible = s.channels > 0 && s.channels <= 16 && s.height > 0 && s.width > 0 &&
                        s.classes > 0 && s.top > 0 && s.top <= 255;
  if (!possible)
    fail(ExitCode::invalid_file,
         "{}: images of {} x {} pixels in {} channels with values up to {} and {} classes are not "
         "possible",
         path, s.height, s.width, s.channels, s.top, s.classes);
}

}  // namespace

ImageFile::ImageFile(const std::string& path) : path_(path), file_(path) {
  const std::span<const std::byte> bytes = file_.bytes();
  Header header;
  if (bytes.size() < sizeof(Header))
    fail(ExitCode::invalid_file, "{}: {} bytes are too few for an image file's header", path,
         bytes.size());
  std::memcpy(&header, bytes.data(), sizeof(Header));
  if (header.magic != kMagic)
    fail(ExitCode::invalid_file, "{}: not an image file (it does not begin with TERSEIMG)", path);
  if (header.version != 1)
    fail(ExitCode::invalid_file, "{}: image file of version {}; this program reads version 1", path,
         header.version);
  shape_ = {header.channels, header.height, header.width, header.classes, header.top};
  check_shape(path, shape_);
  count_ = header.count;
  const auto held = static_cast<int64_t>(bytes.size() - sizeof(Header));
  if (count_ == 0 || held / record_bytes(shape_) != count_ || held % record_bytes(shape_) != 0)
    fail(ExitCode::invalid_file,
         "{}: truncated or damaged: the header promises {} images of {} bytes, the file holds {} "
         "bytes of them; write it again",
         path, count_, record_bytes(shape_), held);
  checksum_ = header.checksum != 0 ? header.checksum : terse::checksum(body());
}

std::span<const std::byte> ImageFile::body() const {
  return file_.bytes().subspan(sizeof(Header));
}

void ImageFile::read(int64_t index, int64_t, std::span<int64_t> row) const {
  TERSE_CHECK(index >= 0 && index < count_ && static_cast<int64_t>(row.size()) == columns(),
              "image {} of {} in {}", index, count_, path_);
  const std::byte* from = file_.bytes().data() + sizeof(Header) + index * record_bytes(shape_);
  for (size_t i = 0; i + 1 < row.size(); ++i) {
    row[i] = std::to_integer<int64_t>(from[i]);
    if (row[i] > shape_.top)
      fail(ExitCode::invalid_file, "{}: image {} has a pixel of {}, the largest is {}", path_,
           index, row[i], shape_.top);
  }
  uint16_t label = 0;
  std::memcpy(&label, from + shape_.pixels(), sizeof label);
  if (label >= shape_.classes)
    fail(ExitCode::invalid_file, "{}: image {} has label {}, there are {} classes", path_, index,
         label, shape_.classes);
  row.back() = label;
}

void ImageFile::verify() const {
  std::vector<int64_t> row(static_cast<size_t>(columns()));
  for (int64_t i = 0; i < count_; ++i) read(i, 0, row);
  if (terse::checksum(body()) != checksum_)
    fail(ExitCode::invalid_file,
         "{}: damaged: its images do not match the checksum in its header; write it again", path_);
}

void write_images(FileSystem& fs, const std::string& path, const ImageShape& shape,
                  std::span<const int64_t> rows) {
  const auto columns = static_cast<size_t>(shape.pixels() + 1);
  TERSE_CHECK(rows.size() % columns == 0, "{} values", rows.size());
  std::vector<std::byte> body;
  for (size_t i = 0; i < rows.size(); ++i) {
    body.push_back(static_cast<std::byte>(rows[i]));
    if (i % columns == columns - 1) body.push_back(static_cast<std::byte>(rows[i] >> 8));
  }
  Header header;
  header.count = static_cast<uint32_t>(rows.size() / columns);
  header.channels = static_cast<uint16_t>(shape.channels);
  header.height = static_cast<uint16_t>(shape.height);
  header.width = static_cast<uint16_t>(shape.width);
  header.classes = static_cast<uint16_t>(shape.classes);
  header.top = static_cast<uint16_t>(shape.top);
  header.checksum = checksum(body);
  write_atomically(fs, path, [&](WritableFile& file) {
    file.append(std::as_bytes(std::span(&header, 1)));
    file.append(body);
  });
}

}  // namespace terse
