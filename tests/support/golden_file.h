// A golden file: numbers one after the other, little endian, as a script beside it wrote them from
// somebody else's code and describes them.
#pragma once
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

namespace terse {

class GoldenFile {
 public:
  // `path`: within tests/.
  explicit GoldenFile(const std::string& path) {
    std::ifstream in(std::string(TERSE_SOURCE_DIR) + "/tests/" + path, std::ios::binary);
    bytes_.assign(std::istreambuf_iterator<char>(in), {});
  }
  bool done() const { return at_ == bytes_.size(); }
  int64_t integer() { return read<int64_t>(); }
  double number() { return read<double>(); }
  template <typename T>
  std::vector<T> list(int64_t n) {
    std::vector<T> values(static_cast<size_t>(n));
    for (T& v : values) v = read<T>();
    return values;
  }

 private:
  template <typename T>
  T read() {
    if (at_ + sizeof(T) > bytes_.size()) throw std::runtime_error("golden file too short");
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  std::vector<char> bytes_;
  size_t at_ = 0;
};

}  // namespace terse
