#include "comm/plan/predict.h"

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "comm/pipeline_order.h"

namespace terse {
namespace {

constexpr int64_t kBallotBytes = 88;  // of a vote (comm/vote.h)
constexpr double kNever = std::numeric_limits<double>::infinity();

// Backward, the wire and the communication thread, as time goes on from the start of backward.
class Clock {
 public:
  Clock(const StepModel& step, const Link& link) : step_(step), link_(link) {
    over_ = step.backward <= 0;
  }

  double now() const { return now_; }
  bool backward_over() const { return over_; }
  double backward_end() const { return backward_end_; }
  double wire_busy() const { return wire_busy_; }

  void wait_until(double time) { pass({.time = time}); }
  // Until backward has come so far.
  void wait_for(double progress) { pass({.progress = std::min(progress, step_.backward)}); }
  void work(const Work& work) {
    if (over_)
      pass({.work = work.team, .threads = cores()});
    else
      pass({.work = work.alone, .threads = 1});
  }
  // Hands a collective to the wire; returns when it will be through.
  double send(const Transfer& transfer) {
    const double seconds = wire_seconds(link_, transfer);
    wire_free_ = std::max(wire_free_, now_) + seconds;
    wire_busy_ += seconds;
    return wire_free_ + delay_seconds(link_, transfer);
  }

 private:
  // Reached when any of these is.
  struct Goal {
    double time = kNever;
    double progress = kNever;
    double work = kNever;  // seconds at full speed
    double threads = 0;    // that do the work
  };

  double cores() const { return static_cast<double>(step_.cores); }
  // Of every thread that wants a core.
  double speed(double threads) const {
    const double wanted = threads + (over_ ? 0 : cores());
    const double transport =
        now_ < wire_free_ ? link_.core_seconds_per_byte / seconds_per_byte(link_) : 0;
    const double left = std::max(cores() - transport, 0.05 * cores());
    return wanted > left ? left / wanted : 1;
  }

  void pass(Goal goal) {
    while (now_ < goal.time && goal.work > 0 &&
           (goal.progress == kNever || done_ < goal.progress)) {
      const double rate = speed(goal.threads);
      const double to_goal = std::min(
          {goal.time - now_, goal.work / rate, over_ ? kNever : (goal.progress - done_) / rate});
      const double to_end = over_ ? kNever : (step_.backward - done_) / rate;
      const double to_wire = now_ < wire_free_ ? wire_free_ - now_ : kNever;
      const double passed = std::min({to_goal, to_end, to_wire});
      now_ = passed == to_wire ? wire_free_ : now_ + passed;
      goal.work -= passed * rate;
      if (!over_) done_ += passed * rate;
      if (passed == to_end) {
        over_ = true;
        done_ = step_.backward;
        backward_end_ = now_;
      }
      if (passed == to_goal) return;
    }
  }

  const StepModel& step_;
  const Link& link_;
  double now_ = 0;
  double done_ = 0;  // of backward
  bool over_ = false;
  double backward_end_ = 0;
  double wire_free_ = 0;
  double wire_busy_ = 0;
};

size_t rounds_of(std::span<const BucketCost> buckets) {
  size_t rounds = 0;
  for (const BucketCost& bucket : buckets) rounds = std::max(rounds, bucket.rounds.size());
  return rounds;
}

void check(const StepModel& step, std::span<const BucketCost> buckets, const Link& link) {
  TERSE_CHECK(step.ready.size() == buckets.size(), "{} ready times for {} buckets",
              step.ready.size(), buckets.size());
  TERSE_CHECK(step.cores > 0 && step.ranks > 0, "{} cores, {} ranks", step.cores, step.ranks);
  TERSE_CHECK(link.bytes_per_second > 0, "{} bytes a second", link.bytes_per_second);
}

}  // namespace

Work operator+(const Work& a, const Work& b) {
  return {a.alone + b.alone, a.team + b.team};
}

Work operator*(double factor, const Work& work) {
  return {factor * work.alone, factor * work.team};
}

int64_t BucketCost::wire_bytes() const {
  int64_t sum = 0;
  for (const RoundCost& round : rounds) sum += round.transfer.bytes;
  return sum;
}

StepPrediction predict(const StepModel& step, std::span<const BucketCost> buckets,
                       const Link& link) {
  check(step, buckets, link);
  const size_t count = buckets.size(), rounds = rounds_of(buckets);
  StepPrediction p{.done = std::vector<double>(count), .wire_done = std::vector<double>(count)};
  Clock clock(step, link);
  for (const ReducerItem item :
       pipeline_order(static_cast<int64_t>(count), static_cast<int>(rounds))) {
    const auto b = static_cast<size_t>(item.bucket), r = static_cast<size_t>(item.round);
    const BucketCost& bucket = buckets[b];
    if (r == 0) clock.wait_for(step.ready[b]);
    // A bucket of fewer rounds waits for its last collective in the last item alone.
    if (r < bucket.rounds.size() || r == rounds) clock.wait_until(p.wire_done[b]);
    if (r < bucket.rounds.size()) {
      clock.work(bucket.rounds[r].work);
      p.wire_done[b] = clock.send(bucket.rounds[r].transfer);
    }
    if (r == rounds) {
      clock.work(bucket.finish);
      p.done[b] = clock.now();
    }
  }
  clock.wait_for(step.backward);
  p.backward = clock.backward_end();
  clock.wait_until(clock.send({step.ranks - 1, kBallotBytes * (step.ranks - 1)}));
  p.exposed = clock.now() - p.backward;
  p.seconds = step.forward + clock.now() + step.apply;
  p.wire_seconds = clock.wire_busy();
  for (const BucketCost& bucket : buckets) p.wire_bytes += bucket.wire_bytes();
  return p;
}

std::vector<double> exposures(const StepModel& step, std::span<const BucketCost> buckets,
                              const Link& link) {
  std::vector<BucketCost> changed(buckets.begin(), buckets.end());
  const double full = predict(step, changed, link).seconds;
  std::vector<double> exposed;
  for (size_t b = 0; b < buckets.size(); ++b) {
    for (RoundCost& round : changed[b].rounds) round.transfer.bytes = 0;
    const double saved = full - predict(step, changed, link).seconds;
    const double wire = static_cast<double>(buckets[b].wire_bytes()) * seconds_per_byte(link);
    exposed.push_back(wire > 0 ? std::clamp(saved / wire, 0.0, 1.0) : 0);
    changed[b] = buckets[b];
  }
  return exposed;
}

}  // namespace terse
