#include <algorithm>
#include <charconv>
#include <cstdint>

#include "base/error.h"
#include "launch/world.h"

namespace terse {
namespace {

constexpr size_t kMostHosts = 100'000;

// "01" -> 1 with width 2: Slurm keeps leading zeros.
int64_t parse_index(std::string_view digits, std::string_view list) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (digits.empty() || error != std::errc{} || end != digits.data() + digits.size() || value < 0) {
    fail(ExitCode::usage, "host list '{}': '{}' is not a number", list, digits);
  }
  return value;
}

void append_range(std::string_view range, std::string_view list, std::vector<std::string>& out) {
  const size_t dash = range.find('-');
  const std::string_view low = range.substr(0, dash);
  const std::string_view high = dash == std::string_view::npos ? low : range.substr(dash + 1);
  const int64_t first = parse_index(low, list);
  const int64_t last = parse_index(high, list);
  if (last < first) fail(ExitCode::usage, "host list '{}': range '{}' runs backwards", list, range);
  if (last - first >= static_cast<int64_t>(kMostHosts)) {
    fail(ExitCode::usage, "host list '{}': range '{}' has too many hosts", list, range);
  }
  for (int64_t i = first; i <= last; ++i) out.push_back(fmt::format("{:0{}}", i, low.size()));
}

// "[01-03,7]" -> 01 02 03 7
std::vector<std::string> expand_bracket(std::string_view inside, std::string_view list) {
  std::vector<std::string> out;
  for (size_t at = 0; at <= inside.size();) {
    const size_t comma = std::min(inside.find(',', at), inside.size());
    append_range(inside.substr(at, comma - at), list, out);
    at = comma + 1;
  }
  return out;
}

// One comma-separated item: text and brackets in any order ("rack[1-2]node[1-4]").
std::vector<std::string> expand_item(std::string_view item, std::string_view list) {
  std::vector<std::string> names = {""};
  while (!item.empty()) {
    std::vector<std::string> parts;
    if (item.front() == '[') {
      const size_t close = item.find(']');
      if (close == std::string_view::npos) fail(ExitCode::usage, "host list '{}': no ']'", list);
      parts = expand_bracket(item.substr(1, close - 1), list);
      item.remove_prefix(close + 1);
    } else {
      const size_t open = std::min(item.find('['), item.size());
      parts = {std::string(item.substr(0, open))};
      item.remove_prefix(open);
    }
    if (names.size() * parts.size() > kMostHosts) {
      fail(ExitCode::usage, "host list '{}' has more than {} hosts", list, kMostHosts);
    }
    std::vector<std::string> next;
    for (const auto& name : names) {
      for (const auto& part : parts) next.push_back(name + part);
    }
    names = std::move(next);
  }
  return names;
}

}  // namespace

std::vector<std::string> expand_host_list(std::string_view list) {
  std::vector<std::string> hosts;
  int depth = 0;
  size_t begin = 0;
  for (size_t i = 0; i <= list.size(); ++i) {
    const char c = i < list.size() ? list[i] : ',';
    if (c == '[') ++depth;
    if (c == ']') --depth;
    if (depth < 0 || depth > 1)
      fail(ExitCode::usage, "host list '{}': brackets do not match", list);
    if (c != ',' || (depth != 0 && i < list.size())) continue;
    const std::string_view item = list.substr(begin, i - begin);
    if (item.empty()) fail(ExitCode::usage, "host list '{}' has an empty name", list);
    for (auto& name : expand_item(item, list)) hosts.push_back(std::move(name));
    if (hosts.size() > kMostHosts) {
      fail(ExitCode::usage, "host list '{}' has more than {} hosts", list, kMostHosts);
    }
    begin = i + 1;
  }
  return hosts;
}

}  // namespace terse
