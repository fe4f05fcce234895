#include "sparsity/schedule.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"

namespace terse {
namespace {

using Kind = MaskSchedule::Kind;

constexpr std::pair<Kind, const char*> kNames[] = {
    {Kind::constant, "constant"},
    {Kind::mask_linear, "mask_linear"},
    {Kind::mask_exponential, "mask_exponential"},
    {Kind::structure_stepwise, "structure_stepwise"},
    {Kind::structure_geometric, "structure_geometric"},
    {Kind::gradual, "gradual"},
};

constexpr int kGeometricFrames = 4;

double decay(const MaskSchedule& s, int64_t since, int64_t length) {
  const auto u = static_cast<double>(since);
  const double p = u / static_cast<double>(length);
  if (s.kind == Kind::mask_linear)
    return s.rate > 0 ? std::max(0.0, 1.0 - s.rate * u) : 1.0 - p * (1.0 - s.beta_end);
  return s.rate > 0 ? std::exp(-s.rate * u) : std::pow(s.beta_end, p);
}

Pattern frame_at(const MaskSchedule& s, int64_t since, int64_t length) {
  const std::vector<Pattern> frames = s.frames();
  const auto count = static_cast<int64_t>(frames.size());
  int64_t i = 0;
  while (i + 1 < count && (i + 1) * length / count <= since) ++i;
  return frames[static_cast<size_t>(i)];
}

}  // namespace

const char* stage_name(Stage stage) {
  switch (stage) {
    case Stage::dense:
      return "dense";
    case Stage::progressive:
      return "progressive";
    case Stage::fine:
      return "fine";
  }
  return "";
}

std::vector<Pattern> MaskSchedule::frames() const {
  std::vector<Pattern> all;
  if (kind == Kind::structure_stepwise) {
    if (pattern.of > pattern.keep) all.push_back({pattern.of - 1, pattern.of});
    for (int64_t keep = pattern.of / 2; keep > pattern.keep; keep /= 2)
      all.push_back({keep, pattern.of});
  } else if (kind == Kind::structure_geometric) {
    for (int shift = kGeometricFrames - 1; shift > 0; --shift) {
      const Pattern frame{pattern.keep << shift, pattern.of << shift};
      if (columns % frame.of == 0) all.push_back(frame);
    }
  }
  if (all.empty() || all.back() != pattern) all.push_back(pattern);
  return all;
}

MaskState MaskSchedule::at(int64_t taken) const {
  if (taken == kServed) return served();
  const bool still_dense = dense == kUntilFrozen ? taken < steps - fine : taken < dense;
  if (still_dense) return {Stage::dense, false, pattern, 1.0};
  if (taken >= steps - fine) return served();
  const int64_t since = taken - dense, length = steps - dense - fine;
  MaskState state{Stage::progressive, true, pattern, 0.0};
  switch (kind) {
    case Kind::constant:
      break;
    case Kind::mask_linear:
    case Kind::mask_exponential:
      state.beta = decay(*this, since, length);
      break;
    case Kind::structure_stepwise:
    case Kind::structure_geometric:
      state.pattern = frame_at(*this, since, length);
      break;
    case Kind::gradual: {
      const double left = 1.0 - static_cast<double>(since) / static_cast<double>(length);
      state.pattern.zeros = pattern.zeros * (1.0 - left * left * left);
      break;
    }
  }
  return state;
}

std::vector<std::string> schedule_names() {
  std::vector<std::string> names;
  for (const auto& [kind, name] : kNames) names.emplace_back(name);
  return names;
}

Kind parse_schedule(const std::string& text) {
  for (const auto& [kind, name] : kNames)
    if (text == name) return kind;
  fail(ExitCode::usage, "schedule '{}' is unknown; possible: {}", text,
       fmt::join(schedule_names(), ", "));
}

const char* schedule_name(Kind kind) {
  for (const auto& [known, name] : kNames)
    if (known == kind) return name;
  return "";
}

}  // namespace terse
