#include "comm/auto_exchange.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/error.h"
#include "comm/plan/step_model.h"

namespace terse {
namespace {

constexpr const char* kNextLook = "exchange/auto/next_look";
constexpr int64_t kQuiet = 3;    // steps before a look
constexpr size_t kSamples = 2;   // of them, that a look needs
constexpr size_t kMost = 8;      // of them, that are kept
constexpr size_t kSettling = 2;  // steps after a decision that nobody looks at
constexpr size_t kWindow = 10;   // steps whose exposed time is compared
constexpr int64_t kRest = 50;    // steps between decisions at least
constexpr double kLooks = 100;   // times as long as a look takes, between looks
constexpr double kMoved = 0.2;   // of a step

double middle_of(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<int64_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

AutoExchange::AutoExchange(Group group, Group deciding, std::vector<SelectCandidate> choices,
                           AutoChooser chooser, AutoOptions options)
    : SelectExchange(std::move(group), std::move(choices)),
      deciding_(std::move(deciding)),
      chooser_(std::move(chooser)),
      options_(std::move(options)),
      next_look_(options_.first) {}

const std::string* AutoExchange::replayed(int64_t first_step) const {
  for (const auto& [step, value] : options_.replayed)
    if (step == first_step) return &value;
  return nullptr;
}

bool AutoExchange::quiet(int64_t step) const {
  if (options_.replay || step < next_look_ - kQuiet) return false;
  // Others may have seen reason to look where rank 0 has not.
  return deciding_.rank() == 0 || step <= next_look_ + kQuiet;
}

bool AutoExchange::due(int64_t step) const {
  if (options_.replay) return replayed(step + 1) != nullptr;
  return step >= next_look_ && quiet_.size() >= kSamples;
}

void AutoExchange::observe(const StepTimes& times) {
  if (options_.replay || times.ready.empty()) return;
  if (!times.quiet) {
    if (looked_ > 0) watch(times);
    return;
  }
  if (quiet_.size() == kMost) quiet_.erase(quiet_.begin());
  quiet_.push_back(times);
}

// The link, or its other users, have changed: looks again.
void AutoExchange::watch(const StepTimes& times) {
  exposed_.push_back(times.exposed);
  since_ += times.total();
  if (since_ < kLooks * look_seconds_) return;
  if (times.step < looked_ + kRest || exposed_.size() < kSettling + 2 * kWindow) return;
  const auto first = exposed_.begin() + static_cast<int64_t>(kSettling);
  const double then = middle_of({first, first + static_cast<int64_t>(kWindow)});
  const double now = middle_of({exposed_.end() - static_cast<int64_t>(kWindow), exposed_.end()});
  if (std::abs(now - then) > kMoved * times.total())
    next_look_ = std::min(next_look_, times.step + kQuiet + 1);
}

// By what means, and why, on two lines.
std::string AutoExchange::chosen(int64_t first_step) {
  if (options_.replay) {
    const std::string* value = replayed(first_step);
    return value == nullptr ? "" : *value + "\nreplayed";
  }
  const AutoChoice found = chooser_(plan(), median(quiet_), selection());
  return selection_text(found.choice) + "\n" + found.reason;
}

void AutoExchange::decide(int64_t first_step) {
  const auto begin = std::chrono::steady_clock::now();
  const std::string text = deciding_.broadcast_text(chosen(first_step), 0, "decision");
  const size_t line = text.find('\n');
  TERSE_CHECK(line != std::string::npos, "rank 0 announced a decision and has none");
  const std::string value = text.substr(0, line);
  const std::vector<int64_t> choice = parse_selection(value);
  const bool changes = choice != selection();
  select(choice);
  decisions_.push_back(
      {"exchange", value,
       fmt::format("{}; {}", changes ? "changed" : "kept", text.substr(line + 1))});
  look_seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  since_ = 0;
  looked_ = first_step - 1;
  next_look_ = looked_ + options_.every;
  quiet_.clear();
  exposed_.clear();
}

std::vector<ExchangeDecision> AutoExchange::take_decisions() {
  return std::exchange(decisions_, {});
}

void AutoExchange::save(StateWriter& state) const {
  SelectExchange::save(state);
  state.value(Scope::shared, kNextLook, next_look_);
}

void AutoExchange::load(const StateReader& state) {
  SelectExchange::load(state);
  next_look_ = state.require_integer(Scope::shared, kNextLook);
}

}  // namespace terse
