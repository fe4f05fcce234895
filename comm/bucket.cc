#include "comm/bucket.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <string_view>

#include "base/checksum.h"
#include "base/error.h"
#include "base/tensor_view.h"

namespace terse {
namespace {

constexpr std::string_view kHeader = "terse-plan 1";
constexpr int64_t kLargest = int64_t{1} << 48;  // elements; keeps every sum far from overflow

// Takes the text up to `separator` off the front of `rest`; false if there is none.
bool take(std::string_view& rest, char separator, std::string_view& out) {
  const size_t end = rest.find(separator);
  if (end == std::string_view::npos) return false;
  out = rest.substr(0, end);
  rest.remove_prefix(end + 1);
  return true;
}

int64_t number(std::string_view& rest, int64_t line, const char* what, int64_t most) {
  std::string_view digits;
  int64_t value = -1;
  if (take(rest, ' ', digits)) {
    const auto r = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (r.ec != std::errc() || r.ptr != digits.data() + digits.size()) value = -1;
  }
  if (value < 0 || value > most)
    fail(ExitCode::invalid_file, "bucket plan, line {}: no valid {}; the plan is damaged", line,
         what);
  return value;
}

void append(BucketPlan& plan, int64_t bucket, Segment segment, int64_t line) {
  const auto count = static_cast<int64_t>(plan.buckets.size());
  if (bucket == count) {
    plan.buckets.emplace_back();
    plan.buckets.back().index = bucket;
  } else if (bucket + 1 != count) {
    fail(ExitCode::invalid_file, "bucket plan, line {}: bucket {} follows bucket {}", line, bucket,
         count - 1);
  }
  Bucket& last = plan.buckets.back();
  if (segment.offset != last.size)
    fail(ExitCode::invalid_file, "bucket plan, line {}: segment '{}' starts at {}, not at {}", line,
         segment.name, segment.offset, last.size);
  last.size += segment.size;
  last.segments.push_back(std::move(segment));
}

}  // namespace

std::string BucketPlan::text() const {
  std::string text = fmt::format("{}\n", kHeader);
  for (const Bucket& bucket : buckets)
    for (const Segment& s : bucket.segments) {
      TERSE_CHECK(s.name.find('\n') == std::string::npos, "parameter name with a line break");
      text += fmt::format("{} {} {} {} {} {}\n", bucket.index, s.offset, s.rows, s.columns,
                          s.decay ? 1 : 0, s.name);
    }
  return text;
}

BucketPlan BucketPlan::parse(const std::string& text) {
  BucketPlan plan;
  std::string_view rest = text;
  std::string_view row;
  if (!take(rest, '\n', row) || row != kHeader)
    fail(ExitCode::invalid_file, "bucket plan, line 1: expected '{}'", kHeader);
  std::set<std::string, std::less<>> names;
  for (int64_t line = 2; !rest.empty(); ++line) {
    if (!take(rest, '\n', row)) fail(ExitCode::invalid_file, "bucket plan, line {}: cut off", line);
    Segment s;
    const int64_t bucket = number(row, line, "bucket", kLargest);
    s.offset = number(row, line, "offset", kLargest);
    s.rows = number(row, line, "number of rows", kLargest);
    s.columns = number(row, line, "number of columns",
                       s.rows == 0 ? kLargest : kLargest / std::max<int64_t>(s.rows, 1));
    s.decay = number(row, line, "decay flag", 1) == 1;
    s.name = std::string(row);
    s.size = s.rows * s.columns;
    if (s.name.empty() || !names.insert(s.name).second)
      fail(ExitCode::invalid_file, "bucket plan, line {}: name '{}' is empty or used twice", line,
           s.name);
    append(plan, bucket, std::move(s), line);
  }
  return plan;
}

uint64_t BucketPlan::hash() const {
  const std::string canonical = text();
  return checksum(bytes_of(canonical.data(), static_cast<int64_t>(canonical.size())));
}

BucketPlan plan_buckets(const std::vector<SegmentSpec>& ready_order, int64_t bytes) {
  BucketPlan plan;
  std::set<std::string> names;
  const int64_t most = bytes / static_cast<int64_t>(sizeof(float));
  for (const SegmentSpec& spec : ready_order) {
    TERSE_CHECK(names.insert(spec.name).second, "parameter '{}' given twice", spec.name);
    const int64_t size = spec.rows * spec.columns;
    if (plan.buckets.empty() || plan.buckets.back().size + size > most) {
      plan.buckets.emplace_back();
      plan.buckets.back().index = static_cast<int64_t>(plan.buckets.size()) - 1;
    }
    Bucket& bucket = plan.buckets.back();
    bucket.segments.push_back({spec.name, bucket.size, size, spec.rows, spec.columns, spec.decay});
    bucket.size += size;
  }
  return plan;
}

Range chunk_of(int64_t n, int64_t ranks, int64_t j) {
  const int64_t chunk = 64 * ((n + 64 * ranks - 1) / (64 * ranks));
  return {std::min(j * chunk, n), std::min((j + 1) * chunk, n)};
}

}  // namespace terse
