#include "export/safetensors_header.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace terse::safetensors {
namespace {

using nlohmann::json;

// A state machine over parse events. Depth 1: tensor names; depth 2: the fields of one tensor or
// the metadata; an array inside a field: its numbers.
class Events final : public json::json_sax_t {
 public:
  Events(const std::string& path, Header& header) : path_(path), header_(header) {}

  bool null() override { unexpected("null"); }
  bool boolean(bool) override { unexpected("a boolean"); }
  bool number_float(double, const std::string&) override { unexpected("a fraction"); }
  bool binary(json::binary_t&) override { unexpected("binary data"); }
  bool number_integer(int64_t) override { unexpected("a negative number"); }

  bool number_unsigned(uint64_t value) override {
    if (!in_array_ || value > static_cast<uint64_t>(INT64_MAX)) unexpected("such a number");
    if (numbers_.size() >= kMaxDimensions) bad("more than {} numbers in a list", kMaxDimensions);
    numbers_.push_back(static_cast<int64_t>(value));
    return true;
  }

  bool string(std::string& value) override {
    if (in_metadata_ && depth_ == 2) {
      if (!header_.metadata.emplace(field_, value).second)
        bad("metadata key \"{}\" appears twice", field_);
      return true;
    }
    if (depth_ != 2 || field_ != "dtype") unexpected("a text");
    if (!dtype_parse(value, entry_.dtype)) bad("dtype \"{}\" is not known", value);
    seen_ |= kDType;
    return true;
  }

  bool start_object(size_t) override {
    if (in_array_ || depth_ >= 2) unexpected("an object");
    ++depth_;
    return true;
  }

  bool key(std::string& value) override {
    if (depth_ == 1) {
      in_metadata_ = value == "__metadata__";
      if (in_metadata_ && std::exchange(saw_metadata_, true)) bad("\"__metadata__\" appears twice");
      entry_ = Entry{};
      entry_.name = value;
      seen_ = 0;
    } else if (!in_metadata_) {
      const int bit = bit_of(value);
      if (bit == 0) bad("unknown key \"{}\"", value);
      if ((named_ & bit) != 0) bad("key \"{}\" appears twice", value);
      named_ |= bit;
    }
    field_ = value;
    return true;
  }

  bool end_object() override {
    if (--depth_ == 1 && !in_metadata_) {
      if (seen_ != (kDType | kShape | kOffsets))
        bad("needs \"dtype\", \"shape\" and \"data_offsets\"");
      header_.entries.push_back(std::move(entry_));
    }
    named_ = 0;
    if (depth_ == 1) in_metadata_ = false;
    return true;
  }

  bool start_array(size_t) override {
    if (depth_ != 2 || in_array_ || in_metadata_ || field_ == "dtype") unexpected("a list");
    in_array_ = true;
    numbers_.clear();
    return true;
  }

  bool end_array() override {
    in_array_ = false;
    if (field_ == "shape") {
      entry_.shape = numbers_;
      seen_ |= kShape;
    } else {
      if (numbers_.size() != 2) bad("\"data_offsets\" needs two numbers");
      entry_.begin = numbers_[0];
      entry_.end = numbers_[1];
      seen_ |= kOffsets;
    }
    return true;
  }

  bool parse_error(size_t position, const std::string&, const json::exception& e) override {
    fail(ExitCode::invalid_file, "{}: the safetensors header is not valid JSON at byte {}: {}",
         path_, position, e.what());
  }

 private:
  static constexpr size_t kMaxDimensions = 32;
  static constexpr int kDType = 1, kShape = 2, kOffsets = 4;

  static int bit_of(const std::string& key) {
    return key == "dtype" ? kDType : key == "shape" ? kShape : key == "data_offsets" ? kOffsets : 0;
  }
  template <typename... Args>
  [[noreturn]] void bad(fmt::format_string<Args...> format, Args&&... args) {
    fail(ExitCode::invalid_file, "{}: safetensors header, at \"{}\": {}", path_, entry_.name,
         fmt::format(format, std::forward<Args>(args)...));
  }
  [[noreturn]] void unexpected(const char* what) { bad("{} cannot stand here", what); }

  const std::string& path_;
  Header& header_;
  Entry entry_;
  std::string field_;
  std::vector<int64_t> numbers_;
  int depth_ = 0;
  int seen_ = 0, named_ = 0;
  bool in_array_ = false, in_metadata_ = false, saw_metadata_ = false;
};

void reject_duplicates(const Header& header, const std::string& path) {
  std::vector<std::string_view> names;
  names.reserve(header.entries.size());
  for (const Entry& entry : header.entries) names.push_back(entry.name);
  std::sort(names.begin(), names.end());
  const auto twin = std::adjacent_find(names.begin(), names.end());
  if (twin != names.end())
    fail(ExitCode::invalid_file, "{}: two tensors are named \"{}\"", path, *twin);
}

}  // namespace

Header parse_header(std::string_view text, const std::string& path) {
  Header header;
  Events events(path, header);
  json::sax_parse(text.begin(), text.end(), &events);
  reject_duplicates(header, path);
  return header;
}

}  // namespace terse::safetensors
