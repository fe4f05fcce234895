// Examples: data as equal rows of integers. What a row means is between the data and the model: the
// begin token and the tokens of a window of text, or the pixels and the label of an image.
//
//   text_windows.h   windows of a token shard
//   images.h         an image file
#pragma once
#include <cstdint>
#include <span>
#include <string>

namespace terse {

class Examples {
 public:
  virtual ~Examples() = default;
  virtual int64_t count() const = 0;    // of an epoch
  virtual int64_t columns() const = 0;  // integers of a row
  virtual int64_t targets() const = 0;  // of them, what is to be predicted
  // In how many ways epochs can be cut from the data; 1 where every epoch has the same examples.
  virtual int64_t shifts() const { return 1; }
  // Example `index` of [0, count()) of an epoch cut in way `shift` of [0, shifts()). Thread-safe.
  // Error(invalid_file) for a value that cannot be.
  virtual void read(int64_t index, int64_t shift, std::span<int64_t> row) const = 0;
  // Of what the examples hold, to be compared on resume.
  virtual uint64_t checksum() const = 0;
  virtual const std::string& path() const = 0;
};

}  // namespace terse
