#include "trainer/telemetry/report/axis.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "trainer/telemetry/format.h"

namespace terse {
namespace {

// The smallest of 1, 2, 5 times a power of ten that is >= value.
double round_up(double value) {
  const double power = std::pow(10.0, std::floor(std::log10(value)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= value * (1 - 1e-9)) return factor * power;
  }
  return 10 * power;
}

// The same for times: people count minutes and hours in other steps.
double round_up_seconds(double value) {
  constexpr std::array<double, 12> kSteps = {15,   30,   60,   120,  300,   600,
                                             1200, 1800, 3600, 7200, 14400, 43200};
  if (value <= 10) return round_up(value);
  for (const double step : kSteps) {
    if (step >= value) return step;
  }
  return 86400 * round_up(value / 86400);
}

// Ticks are round values: "15.0k" is "15k", "1.00 GB" is "1 GB".
std::string without_zeros(std::string text) {
  const size_t point = text.find('.');
  if (point == std::string::npos) return text;
  const size_t end = std::min(text.find_first_not_of("0123456789", point + 1), text.size());
  size_t keep = text.find_last_not_of('0', end - 1) + 1;
  if (keep == point + 1) keep = point;
  return text.erase(keep, end - keep);
}

std::string time_label(double seconds) {
  if (seconds == 0) return "0";
  const double minutes = seconds / 60, hours = seconds / 3600;
  if (seconds >= 3600 && hours == std::round(hours)) return fmt::format("{:.0f} h", hours);
  if (seconds >= 60 && minutes == std::round(minutes)) return fmt::format("{:.0f} min", minutes);
  return without_zeros(format_seconds(seconds));
}

}  // namespace

Axis::Axis(double low, double high, double pixel_low, double pixel_high, Unit unit, bool log)
    : low_(low),
      high_(high),
      pixel_low_(pixel_low),
      pixel_high_(pixel_high),
      unit_(unit),
      log_(log) {
  if (!(high_ > low_)) {  // one value: give it room
    const double room = log_ ? 0 : std::max(std::abs(low_) * 0.1, 1e-12);
    low_ = log_ ? low_ / 2 : low_ - room;
    high_ = log_ ? high_ * 2 : high_ + room;
  }
}

double Axis::pixel(double value) const {
  const double part =
      log_ ? std::log(value / low_) / std::log(high_ / low_) : (value - low_) / (high_ - low_);
  return pixel_low_ + part * (pixel_high_ - pixel_low_);
}

double Axis::step(int most) const {
  const double least = (high_ - low_) / most;
  return unit_ == Unit::seconds ? round_up_seconds(least) : round_up(least);
}

std::string Axis::label(double value, double step) const {
  switch (unit_) {
    case Unit::count:
      return without_zeros(format_count(value));
    case Unit::bytes:
      return without_zeros(format_bytes(value));
    case Unit::seconds:
      return time_label(value);
    case Unit::plain:
      break;
  }
  if (value == 0) return "0";
  if (step < 1e-3 || std::abs(value) >= 1e6) return fmt::format("{:.2g}", value);
  return fmt::format("{:.{}f}", value,
                     std::max(0, -static_cast<int>(std::floor(std::log10(step)))));
}

std::vector<Tick> Axis::log_ticks(int most) const {
  const int first = static_cast<int>(std::floor(std::log10(low_)));
  const int last = static_cast<int>(std::ceil(std::log10(high_)));
  const int stride = std::max(1, (last - first) / most);
  std::vector<Tick> ticks;
  const bool few = std::log10(high_ / low_) < 2;  // powers of ten alone would leave it bare
  for (int power = first; power <= last; power += stride) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      if (factor != 1.0 && !few) break;
      const double value = factor * std::pow(10.0, power);
      if (value >= low_ * (1 - 1e-9) && value <= high_ * (1 + 1e-9)) {
        ticks.push_back({value, label(value, value)});
      }
    }
  }
  return ticks;
}

std::vector<Tick> Axis::ticks(int most) const {
  if (log_) return log_ticks(most);
  const double by = step(most);
  std::vector<Tick> ticks;
  // Counted in whole steps: adding up fractions would drift off round values.
  const auto first = static_cast<int64_t>(std::ceil(low_ / by - 1e-9));
  const auto last = static_cast<int64_t>(std::floor(high_ / by + 1e-9));
  for (int64_t i = first; i <= last; ++i) {
    const double value = static_cast<double>(i) * by;
    ticks.push_back({value, label(value, by)});
  }
  return ticks;
}

void Axis::round_outwards(int most) {
  if (log_) return;
  const double by = step(most);
  low_ = std::floor(low_ / by + 1e-9) * by;
  high_ = std::ceil(high_ / by - 1e-9) * by;
}

}  // namespace terse
