#include "comm/lgreco_timer.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "base/error.h"
#include "comm/exchange_codec.h"
#include "comm/plan/exchange_costs.h"
#include "comm/plan/exchange_probe.h"
#include "comm/plan/link_probe.h"
#include "comm/plan/step_model.h"

namespace terse {
namespace {

constexpr const char* kKey = "exchange/lgreco/times";

ExchangeOptions options_of(const ExchangeOptions& options, double parameter) {
  ExchangeOptions fixed = options.with_codec(options.worker());
  fixed.bits = fixed.codec == "bits" ? std::llround(parameter) : fixed.bits;
  fixed.density = fixed.codec == "topk" ? parameter : fixed.density;
  fixed.rank = fixed.codec == "lowrank" ? std::llround(parameter) : fixed.rank;
  return fixed;
}

std::vector<std::vector<Work>> measure_choices(const Group& group, int64_t ranks,
                                               const ExchangeOptions& options,
                                               const LgrecoFamily& family, const BucketPlan& plan) {
  const ExchangeProbeOptions probe{.elements = int64_t{1} << 20, .repetitions = 2};
  std::vector<std::vector<Work>> work;
  for (int64_t c = 0; c < family.choices(); ++c) {
    const ExchangeOptions fixed = options_of(options, family.parameter(c));
    const ExchangeSpeed speed = slowest(group, measure_exchange(fixed, plan, ranks, probe));
    work.push_back(work_per_element(fixed, ranks, speed));
  }
  return work;
}

// `ready` is empty if some rank has timed nothing.
StepModel mean_over_ranks(Group group, const StepModel& own, size_t buckets) {
  std::vector<double> sums{own.forward, own.backward, own.apply};
  sums.insert(sums.end(), own.ready.begin(), own.ready.end());
  const auto parts = group.all_gather_bytes(std::as_bytes(std::span(sums)), "step times");
  sums.assign(3 + buckets, 0.0);
  for (const auto& part : parts) {
    if (part.size() != sums.size() * sizeof(double)) return {.ready = {}, .cores = own.cores};
    std::vector<double> theirs(sums.size());
    std::memcpy(theirs.data(), part.data(), part.size());
    for (size_t i = 0; i < sums.size(); ++i)
      sums[i] += theirs[i] / static_cast<double>(group.size());
  }
  StepModel mean = own;
  mean.forward = sums[0], mean.backward = sums[1], mean.apply = sums[2];
  mean.ready.assign(sums.begin() + 3, sums.end());
  return mean;
}

// Bytes of LgrecoTables are a message's, which goes to every other rank (one stage), or cut up to
// its owners and back (two); those of low rank count both ways already.
double copies_of(const ExchangeOptions& options, int64_t ranks) {
  const auto n = static_cast<double>(ranks);
  if (options.worker() == "lowrank") return (n - 1) / n;
  return one_stage(options, ranks) ? n - 1 : 2 * (n - 1) / n;
}

// A reader that stops with an error where the saved numbers end.
class Numbers {
 public:
  explicit Numbers(std::span<const double> values) : values_(values) {}
  double next() {
    if (at_ == values_.size() || !(values_[at_] >= 0) || std::isinf(values_[at_]))
      fail(ExitCode::invalid_file, "checkpoint: {} does not hold times", kKey);
    return values_[at_++];
  }
  size_t count() {
    const double n = next();
    if (n > static_cast<double>(values_.size() - at_))
      fail(ExitCode::invalid_file, "checkpoint: {} does not hold times", kKey);
    return static_cast<size_t>(n);
  }

 private:
  std::span<const double> values_;
  size_t at_ = 0;
};

}  // namespace

bool LgrecoTimes::fit(int64_t choices, int rounds, size_t buckets) const {
  const auto complete = [&](const auto& items) {
    return items.size() == static_cast<size_t>(rounds) + 1;
  };
  return link.bytes_per_second > 0 && step.cores > 0 &&
         (step.ready.empty() || step.ready.size() == buckets) &&
         work.size() == static_cast<size_t>(choices) && std::ranges::all_of(work, complete);
}

void LgrecoTimes::save(StateWriter& state) const {
  auto all = std::make_shared<std::vector<double>>();
  *all = {link.latency,
          link.per_message,
          link.bytes_per_second,
          link.core_seconds_per_byte,
          step.forward,
          step.backward,
          step.apply,
          static_cast<double>(step.cores),
          static_cast<double>(step.ready.size())};
  all->insert(all->end(), step.ready.begin(), step.ready.end());
  all->push_back(static_cast<double>(work.size()));
  for (const auto& items : work) {
    all->push_back(static_cast<double>(items.size()));
    for (const Work& w : items) all->insert(all->end(), {w.alone, w.team});
  }
  const auto n = static_cast<int64_t>(all->size());
  state.tensor(Scope::shared, kKey, {DType::f64, {n}, bytes_of(all->data(), n)});
  state.keep(all);
}

std::optional<LgrecoTimes> LgrecoTimes::load(const StateReader& state) {
  const auto saved = state.tensor(Scope::shared, kKey);
  if (!saved || saved->dtype != DType::f64) return {};
  Numbers from(saved->as<double>());
  LgrecoTimes times;
  times.link = {.latency = from.next(),
                .per_message = from.next(),
                .bytes_per_second = from.next(),
                .core_seconds_per_byte = from.next()};
  times.step.forward = from.next();
  times.step.backward = from.next();
  times.step.apply = from.next();
  times.step.cores = static_cast<int64_t>(from.next());
  times.step.ready.resize(from.count());
  for (double& at : times.step.ready) at = from.next();
  times.work.resize(from.count());
  for (auto& items : times.work) {
    items.resize(from.count());
    for (Work& w : items) w = {.alone = from.next(), .team = from.next()};
  }
  return times;
}

LgrecoTimer make_lgreco_timer(const Group& group, const Group& averaging,
                              const ExchangeOptions& options, const LgrecoFamily& family) {
  const auto work = std::make_shared<std::vector<std::vector<Work>>>();
  LgrecoTimer timer;
  timer.measure = [=](const BucketPlan& plan, const std::vector<StepTimes>& quiet) {
    if (work->empty()) *work = measure_choices(group, averaging.size(), options, family, plan);
    const StepModel own = step_model(median(quiet), at::get_num_threads(), group.size());
    return LgrecoTimes{measure_link(averaging), mean_over_ranks(group, own, plan.buckets.size()),
                       *work};
  };
  timer.share = static_cast<double>(averaging.size()) / static_cast<double>(group.size());
  timer.more_rounds = averaging.size() < group.size() ? 2 : 0;
  timer.transfers = [ranks = averaging.size(), share = timer.share,
                     uniform = options.with_codec(options.worker())](const Bucket& bucket) {
    std::vector<Transfer> all = exchange_transfers(uniform, bucket, ranks);
    for (Transfer& one : all) one.bytes = std::llround(share * static_cast<double>(one.bytes));
    return all;
  };
  timer.copies = copies_of(options, averaging.size()) * timer.share;
  return timer;
}

TimedStep timed_step(const LgrecoTimes& times, const LgrecoTimer& timer, const BucketPlan& plan,
                     const LgrecoFamily& family, int64_t ranks) {
  TimedStep timed{.step = times.step, .link = times.link, .uniform = {}, .work = times.work};
  timed.step.ranks = ranks;
  timed.step.ready.resize(plan.buckets.size(), 0.0);
  const std::vector<Work>& work = times.work.at(static_cast<size_t>(family.reference_index()));
  for (const Bucket& bucket : plan.buckets) {
    const double n = timer.share * static_cast<double>(bucket.size);
    BucketCost& cost = timed.uniform.emplace_back();
    for (const Transfer& transfer : timer.transfers(bucket))
      cost.rounds.push_back({n * work.at(cost.rounds.size()), transfer});
    cost.finish = n * work.back();
  }
  return timed;
}

std::vector<TimedSegment> timed_segments(const LgrecoTimer& timer, const BucketPlan& plan,
                                         std::span<const LgrecoItem> items,
                                         const LgrecoTables& tables) {
  const size_t n = items.empty() ? 0 : tables.bytes.size() / items.size();
  std::vector<TimedSegment> segments;
  for (size_t i = 0; i < items.size(); ++i) {
    const Bucket& bucket = plan.buckets[static_cast<size_t>(items[i].bucket)];
    TimedSegment& s = segments.emplace_back();
    s.bucket = items[i].bucket;
    s.elements =
        std::llround(timer.share * static_cast<double>(bucket.segments[items[i].segment].size));
    for (size_t c = 0; c < n; ++c) s.wire_bytes.push_back(timer.copies * tables.bytes[i * n + c]);
  }
  return segments;
}

}  // namespace terse
