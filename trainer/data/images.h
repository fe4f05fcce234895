// Image files: small labelled images as examples.
//
//   offset  bytes  content (little endian)
//   0       8      "TERSEIMG"
//   8       4      version, 1
//   12      4      number of images
//   16      2      channels
//   18      2      height
//   20      2      width
//   22      2      classes; every label is below it
//   24      2      top: the largest value of a pixel, at least 1
//   26      6      zero
//   32      8      XXH3-64 of the records; 0 = not given
//   40      24     zero
//   64      ...    a record an image: pixels (channel, row, column), a byte each; label, two bytes
//
// scripts/digits writes scikit-learn's digits. A row is the pixels and then the label. Errors are
// Error(invalid_file) naming the file and, for a bad pixel or label, its image.
#pragma once
#include "base/file_system.h"
#include "trainer/data/examples.h"

namespace terse {

struct ImageShape {
  int64_t channels = 0;
  int64_t height = 0;
  int64_t width = 0;
  int64_t classes = 0;
  int64_t top = 0;  // pixels are 0 .. top
  int64_t pixels() const { return channels * height * width; }
  bool operator==(const ImageShape&) const = default;
};

class ImageFile final : public Examples {
 public:
  // Checks header and size; hashes the file where the header does not.
  explicit ImageFile(const std::string& path);

  const ImageShape& shape() const { return shape_; }
  int64_t count() const override { return count_; }
  int64_t columns() const override { return shape_.pixels() + 1; }
  int64_t targets() const override { return 1; }
  void read(int64_t index, int64_t shift, std::span<int64_t> row) const override;
  uint64_t checksum() const override { return checksum_; }
  const std::string& path() const override { return path_; }
  // Checks every value and the checksum: one pass over the file.
  void verify() const;

 private:
  std::span<const std::byte> body() const;  // behind the header

  std::string path_;
  MappedFile file_;
  ImageShape shape_;
  int64_t count_ = 0;
  uint64_t checksum_ = 0;
};

// Written atomically. `rows`: pixels and label of each image, one after another.
void write_images(FileSystem& fs, const std::string& path, const ImageShape& shape,
                  std::span<const int64_t> rows);

}  // namespace terse
