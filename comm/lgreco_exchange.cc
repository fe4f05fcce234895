#include "comm/lgreco_exchange.h"

#include <ATen/ATen.h>
#include <omp.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>

#include "base/error.h"
#include "comm/exchange_tensors.h"
#include "comm/plan/link.h"
#include "comm/saved_ranks.h"

namespace terse {
namespace {

constexpr const char* kSteps = "exchange/lgreco/steps";
constexpr const char* kChoice = "exchange/lgreco/choice";
constexpr int64_t kQuietSteps = 3;  // steps before a measurement
constexpr size_t kMostQuiet = 8;    // that are kept

}  // namespace

LgrecoExchange::LgrecoExchange(Group group, std::unique_ptr<Exchange> inner, LgrecoFamily family,
                               const LgrecoOptions& options)
    : group_(std::move(group)),
      inner_(std::move(inner)),
      family_(std::move(family)),
      options_(options),
      sums_("exchange/lgreco/sums") {
  if (options.sums < 1 || options.delay < 1 || options.sums + options.delay > options.every)
    fail(ExitCode::usage,
         "[exchange] every = {}: needs at least {} steps, to sum gradients and to make tables",
         options.every, options.sums + options.delay);
}

LgrecoExchange::~LgrecoExchange() = default;

void LgrecoExchange::attach(const BucketPlan& plan) {
  plan_ = plan;
  items_.clear();
  inner_->attach(plan_);
  observed_ = inner_->observed(plan_);
  for (const Bucket& bucket : plan_.buckets) {
    const Range range = observed_[static_cast<size_t>(bucket.index)];
    for (size_t s = 0; s < bucket.segments.size(); ++s) {
      const Segment& segment = bucket.segments[s];
      const int64_t begin = std::clamp(segment.offset, range.begin, range.end);
      const int64_t end = std::clamp(segment.offset + segment.size, range.begin, range.end);
      if (segment.matrix())
        items_.push_back({bucket.index, s, family_.reference_index(), {begin, end}});
    }
  }
  inner_->observe([this](int64_t bucket, const at::Tensor& message, const at::Tensor& residual) {
    sum(bucket, message, residual);
  });
  sums_.attach(plan_, observed_, at::kCPU);
}

void LgrecoExchange::set_live(int64_t bucket, const at::Tensor& words) {
  inner_->set_live(bucket, words);
}

void LgrecoExchange::start(int64_t bucket, const at::Tensor& message) {
  inner_->start(bucket, message);
}

// On the communication thread, in start().
void LgrecoExchange::sum(int64_t bucket, const at::Tensor& message, const at::Tensor& residual) {
  if (!summing()) return;
  at::Tensor& next = sums_.shadow(bucket);
  at::add_out(next, sums_.current(bucket), message);
  next.add_(residual);
}

void LgrecoExchange::rollback() {
  inner_->rollback();
  sums_.rollback();
}

void LgrecoExchange::commit() {
  inner_->commit();
  sums_.commit();
  ++steps_;
  if (options_.replay) return;
  if (place() == 0 && options_.timer) measure();
  if (place() == 0) begin_tables();
  if (place() == options_.delay - 1 && tables_.valid()) begin_solving();
  if (place() == options_.delay && (tables_.valid() || solution_.valid())) settle();
}

bool LgrecoExchange::quiet(int64_t) const {
  const int64_t place_then = (steps_ + 1) % options_.every;
  return options_.timer && !options_.replay && place_then >= options_.every - kQuietSteps;
}

void LgrecoExchange::observe(const StepTimes& times) {
  if (!options_.timer || !times.quiet || times.ready.empty()) return;
  if (quiet_.size() == kMostQuiet) quiet_.erase(quiet_.begin());
  quiet_.push_back(times);
}

void LgrecoExchange::begin_tables() {
  std::vector<at::Tensor> sums;
  for (const Bucket& bucket : plan_.buckets) sums.push_back(sums_.current(bucket.index));
  tables_ = std::async(std::launch::async, [this, sums, items = items_] {
    omp_set_num_threads(1);  // beside training
    return make_lgreco_tables(family_, plan_, observed_, items, sums);
  });
}

// Nobody timed a step since the last time: what was known of it stays.
void LgrecoExchange::measure() {
  LgrecoTimes now = options_.timer->measure(plan_, std::exchange(quiet_, {}));
  if (now.step.ready.empty() && times_) now.step = times_->step;
  times_ = std::move(now);
}

std::vector<AllocationSegment> LgrecoExchange::problem(const LgrecoTables& tables) const {
  const auto n = static_cast<size_t>(family_.choices());
  std::vector<AllocationSegment> segments;
  for (size_t i = 0; i < items_.size(); ++i) {
    AllocationSegment segment{
        .choices = {}, .reference = family_.reference_index(), .current = items_[i].choice};
    for (size_t c = 0; c < n; ++c)
      segment.choices.push_back({family_.parameter(static_cast<int64_t>(c)),
                                 tables.bytes[i * n + c],
                                 std::sqrt(tables.squared_errors[i * n + c])});
    if (family_.whole_loses()) segment.choices.pop_back();
    segments.push_back(std::move(segment));
  }
  return segments;
}

void LgrecoExchange::begin_solving() {
  const LgrecoTables tables = averaged(group_, plan_, items_, tables_.get());
  std::vector<AllocationSegment> segments = problem(tables);
  const AllocationOptions& rules = options_.allocation;
  if (!options_.timer) {
    solution_ = std::async(std::launch::async, [rules, segments = std::move(segments)] {
      return Solution{solve_allocation(segments, rules), 0};
    });
    return;
  }
  if (!times_) measure();
  TimedStep step = timed_step(*times_, *options_.timer, plan_, family_, group_.size());
  std::vector<TimedSegment> timed = timed_segments(*options_.timer, plan_, items_, tables);
  solution_ = std::async(std::launch::async, [rules, segments = std::move(segments),
                                              step = std::move(step), timed = std::move(timed)] {
    TimedAllocation found = allocate_by_time(step, timed, segments, rules);
    return Solution{std::move(found.result), found.computing};
  });
}

void LgrecoExchange::settle() {
  if (!solution_.valid()) begin_solving();
  const Solution solution = solution_.get();
  sums_.zero();
  if (solution.result.switches) {
    for (size_t i = 0; i < items_.size(); ++i) items_[i].choice = solution.result.choice[i];
    apply();
  }
  decisions_.push_back({"lgreco", value(), reason(solution)});
}

std::string LgrecoExchange::value() const {
  std::string text;
  for (const LgrecoItem& item : items_)
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", segment_of(item).name,
                        family_.parameter(item.choice));
  return text;
}

std::string LgrecoExchange::reason(const Solution& solution) const {
  const AllocationResult& r = solution.result;
  const double cost = r.switches ? r.cost : r.current_cost;
  const std::string errors = fmt::format("error {:.4g} of a budget of {:.4g}",
                                         r.switches ? r.error : r.current_error, r.budget);
  const char* verdict = r.switches ? "changed" : "kept";
  if (!options_.timer)
    return fmt::format("{}: {:.0f} bytes a step where the uniform choice takes {:.0f}, {}", verdict,
                       cost, r.reference_cost, errors);
  return fmt::format(
      "{}: predicted a step of {} where the uniform choice takes {}, {}; link {}, {}; computing {}",
      verdict, duration_text(solution.computing + cost),
      duration_text(solution.computing + r.reference_cost), errors,
      rate_text(times_->link.bytes_per_second), duration_text(times_->link.latency),
      duration_text(solution.computing));
}

std::vector<ExchangeDecision> LgrecoExchange::take_decisions() {
  return std::exchange(decisions_, {});
}

const std::string* LgrecoExchange::replayed(int64_t first_step) const {
  for (const auto& [step, value] : options_.replayed)
    if (step == first_step) return &value;
  return nullptr;
}

bool LgrecoExchange::due(int64_t step) const {
  return options_.replay && replayed(step + 1) != nullptr;
}

void LgrecoExchange::decide(int64_t first_step) {
  const std::string* found = replayed(first_step);
  const std::string text = found == nullptr ? "" : *found;
  take_choices(group_.broadcast_text(text, 0, "decision"));
  apply();
  decisions_.push_back({"lgreco", value(), "replayed"});
}

// From value(): every matrix of this run, each with a parameter of this family.
void LgrecoExchange::take_choices(const std::string& value) {
  std::istringstream words(value);
  for (LgrecoItem& item : items_) {
    std::string word;
    words >> word;
    const std::string prefix = segment_of(item).name + "=";
    int64_t choice = 0;
    while (choice < family_.choices() &&
           word != prefix + fmt::format("{}", family_.parameter(choice)))
      ++choice;
    if (choice == family_.choices())
      fail(ExitCode::invalid_file,
           "'{}' is no choice for {} here: the model, or L-GreCo's family or reference has changed",
           word, segment_of(item).name);
    item.choice = choice;
  }
}

void LgrecoExchange::apply() {
  for (const Bucket& bucket : plan_.buckets) {
    std::vector<double> parameters(bucket.segments.size(),
                                   family_.parameter(family_.choices() - 1));
    for (const LgrecoItem& item : items_)
      if (item.bucket == bucket.index) parameters[item.segment] = family_.parameter(item.choice);
    inner_->set_parameters(bucket.index, parameters);
  }
}

void LgrecoExchange::save(StateWriter& state) const {
  state.value(Scope::shared, kSteps, steps_);
  std::string choice;
  for (const LgrecoItem& item : items_) choice += fmt::format("{} ", item.choice);
  state.value(Scope::shared, kChoice, choice);
  if (times_) times_->save(state);
  sums_.save(state);
  inner_->save(state);
}

void LgrecoExchange::load(const StateReader& state) {
  steps_ = state.require_integer(Scope::shared, kSteps);
  const std::string text = state.require_text(Scope::shared, kChoice);
  const char* at = text.data();
  const char* const end = at + text.size();
  bool uniform = true;
  for (LgrecoItem& item : items_) {
    int64_t choice = -1;
    const auto [next, error] = std::from_chars(at, end, choice);
    if (error != std::errc() || choice < 0 || choice >= family_.choices())
      fail(ExitCode::invalid_file, "checkpoint: L-GreCo's choices do not fit this recipe's");
    uniform = uniform && choice == item.choice;
    item.choice = choice;
    at = next < end ? next + 1 : end;
  }
  if (!uniform) apply();
  times_ = LgrecoTimes::load(state);
  const int predicted = inner_->rounds() - (options_.timer ? options_.timer->more_rounds : 0);
  if (times_ && !times_->fit(family_.choices(), predicted, plan_.buckets.size()))
    times_.reset();  // of another recipe
  sums_.load(state, shared_alike(state, group_.size(), options_.ranks_per_node));
  inner_->load(state);
  if (!options_.replay && steps_ > 0 && place() < options_.delay) begin_tables();
}

}  // namespace terse
