#include "trainer/telemetry/format.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

namespace terse {
namespace {

// Three significant digits; the caller keeps |value| below 1000.
std::string three_digits(double value) {
  const double size = std::abs(value);
  if (size < 9.995) return fmt::format("{:.2f}", value);
  return fmt::format("{:.{}f}", value, size < 99.95 ? 1 : 0);
}

template <size_t N>
std::string scaled(double value, const std::array<const char*, N>& units) {
  size_t unit = 0;
  for (; std::abs(value) >= 999.5 && unit + 1 < N; ++unit) value /= 1000;
  // The smallest unit counts whole things.
  const std::string digits = unit == 0 ? fmt::format("{:.0f}", value) : three_digits(value);
  return digits + units[unit];
}

}  // namespace

std::string format_bytes(double bytes) {
  if (!std::isfinite(bytes)) return "-";
  return scaled(bytes, std::array{" B", " kB", " MB", " GB", " TB", " PB"});
}

std::string format_count(double count) {
  if (!std::isfinite(count)) return "-";
  return scaled(count, std::array{"", "k", "M", "G", "T"});
}

std::string format_seconds(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "-";
  if (seconds < 0.9995) return fmt::format("{:.0f} ms", seconds * 1e3);
  if (seconds < 59.95) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<int64_t>(std::llround(std::min(seconds, 1e15)));
  if (whole < 3600) return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  if (whole < 86400) return fmt::format("{}h{:02}m", whole / 3600, whole / 60 % 60);
  return fmt::format("{}d{:02}h", whole / 86400, whole / 3600 % 24);
}

std::string format_loss(double loss) {
  return std::isfinite(loss) ? fmt::format("{:.4f}", loss) : std::string("nan");
}

std::string format_perplexity(double value) {
  return std::isfinite(value) && value < 1e5 ? fmt::format("{:.3f}", value) : format_number(value);
}

std::string format_accuracy(double share) {
  return share < 0 ? "-" : fmt::format("{:.2f} %", 100 * share);
}

std::string format_number(double value) {
  if (!std::isfinite(value)) return "nan";
  if (value != 0 && (std::abs(value) < 1e-3 || std::abs(value) >= 1e6)) {
    return fmt::format("{:.2e}", value);
  }
  return fmt::format("{:.4g}", value);
}

std::string format_factor(double factor) {
  if (!std::isfinite(factor)) return "-";
  const double size = std::abs(factor);
  return fmt::format("x{:.{}f}", factor, size < 9.995 ? 2 : size < 99.95 ? 1 : 0);
}

std::string shorten(std::string_view text, int width) {
  const auto limit = static_cast<size_t>(std::max(width, 4));
  if (text.size() <= limit) return std::string(text);
  const size_t head = (limit - 2) / 2;
  return fmt::format("{}..{}", text.substr(0, head), text.substr(text.size() - (limit - 2 - head)));
}

}  // namespace terse
