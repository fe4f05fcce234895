#include "comm/plan/link.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/error.h"

namespace terse {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

constexpr Unit kRates[] = {
    {"kbit", 1e3 / 8}, {"Mbit", 1e6 / 8}, {"Gbit", 1e9 / 8}, {"Tbit", 1e12 / 8},
    {"kbps", 1e3 / 8}, {"Mbps", 1e6 / 8}, {"Gbps", 1e9 / 8}, {"Tbps", 1e12 / 8},
    {"kB/s", 1e3},     {"MB/s", 1e6},     {"GB/s", 1e9},     {"TB/s", 1e12},
};
constexpr Unit kDurations[] = {{"s", 1}, {"ms", 1e-3}, {"us", 1e-6}, {"ns", 1e-9}};

template <size_t N>
double parse(std::string_view text, const Unit (&units)[N], const char* what, const char* example) {
  double number = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(rest, static_cast<size_t>(text.data() + text.size() - rest));
  const Unit* found = std::find_if(std::begin(units), std::end(units),
                                   [&](const Unit& u) { return u.name == unit; });
  if (error != std::errc() || found == std::end(units) || !std::isfinite(number) || number < 0)
    fail(ExitCode::usage, "'{}' is no {}; write {}", text, what, example);
  return number * found->factor;
}

// Three digits of `value` in the largest unit that it reaches; `units` ascend.
template <size_t N>
std::string in_unit(double value, const Unit (&units)[N]) {
  const Unit* unit = std::begin(units);
  while (unit + 1 != std::end(units) && value >= (unit + 1)->factor) ++unit;
  return fmt::format("{:.3g} {}", value / unit->factor, unit->name);
}

}  // namespace

double seconds_per_byte(const Link& link) {
  return std::max(1 / link.bytes_per_second, link.core_seconds_per_byte);
}

double wire_seconds(const Link& link, const Transfer& transfer) {
  return static_cast<double>(transfer.bytes) * seconds_per_byte(link);
}

double delay_seconds(const Link& link, const Transfer& transfer) {
  if (transfer.messages == 0) return 0;
  return link.latency + static_cast<double>(transfer.messages - 1) * link.per_message;
}

double parse_link_rate(std::string_view text) {
  const double rate = parse(text, kRates, "link speed", "100Mbit, 2.5Gbit or 10GB/s");
  if (rate <= 0) fail(ExitCode::usage, "a link of '{}' carries nothing; write e.g. 100Mbit", text);
  return rate * kPayload;
}

double parse_duration(std::string_view text) {
  return parse(text, kDurations, "duration", "50us, 1ms or 0.2s");
}

std::string rate_text(double bytes_per_second) {
  constexpr Unit kBits[] = {{"kbit/s", 1e3}, {"Mbit/s", 1e6}, {"Gbit/s", 1e9}, {"Tbit/s", 1e12}};
  return in_unit(bytes_per_second / kPayload * 8, kBits);
}

std::string duration_text(double seconds) {
  constexpr Unit kUnits[] = {{"us", 1e-6}, {"ms", 1e-3}, {"s", 1}};
  return in_unit(seconds, kUnits);
}

}  // namespace terse
