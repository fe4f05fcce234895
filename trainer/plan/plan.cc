#include "trainer/plan/plan.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "base/error.h"
#include "comm/plan/exchange_costs.h"
#include "comm/plan/exchange_probe.h"
#include "comm/plan/transport_probe.h"
#include "trainer/plan/message_probe.h"
#include "trainer/plan/step_probe.h"

namespace terse {
namespace {

// Of its message the optimizer must know what was sent, or average it exactly.
bool can_use(const std::string& optimizer, const ExchangeOptions& exchange) {
  if (!exchange.compressed()) return true;
  if (optimizer == "sgd") return false;
  return optimizer != "dgc" || exchange.codec == "topk";
}

// A choice with what it takes to predict it on any link.
struct Candidate {
  ExchangeChoice choice;
  std::vector<BucketCost> costs;

  double seconds(const StepModel& step, const Link& link) const {
    return predict(step, costs, link).seconds;
  }
};

class Planner {
 public:
  Planner(const Recipe& recipe, const PlanOptions& options)
      : recipe_(recipe), options_(options), probe_(probe(recipe, options)) {
    options_.link.core_seconds_per_byte = measure_transport();
    ExchangeOptions base = recipe.exchange;
    base.codec = base.worker();
    for (ExchangeChoice& choice : exchange_choices(base)) {
      if (!can_use(recipe.optim.name, choice.options)) continue;
      const ExchangeProbeOptions bounds{.repetitions = options.quick ? 2 : 5,
                                        .messages = messages_for(choice.options)};
      const ExchangeSpeed speed =
          measure_exchange(choice.options, probe_.plan, options.ranks, bounds);
      auto costs = exchange_costs(choice.options, probe_.plan, options.ranks, speed);
      candidates_.push_back({std::move(choice), std::move(costs)});
    }
  }

  PlanReport report() const {
    PlanReport r;
    r.recipe = recipe_.source;
    r.options = options_;
    r.tokens = probe_.tokens;
    r.step = probe_.model;
    for (const Bucket& bucket : probe_.plan.buckets) {
      r.parameters += bucket.size;
      for (const Segment& s : bucket.segments)
        if (s.matrix() && recipe_.train.compute == "bf16") r.compute_weights_bytes += 2 * s.size;
    }
    r.optimizer_bytes = 8 * r.parameters;  // two moments, or a velocity and its shadow
    for (const double rate : {1e8, 1e9, 1e10, 1e11}) r.links.push_back(rate / 8 * kPayload);
    for (const Candidate& c : candidates_) r.exchanges.push_back(planned(c, r.links));
    for (size_t i = 1; i < r.exchanges.size(); ++i)
      if (r.exchanges[i].prediction.seconds < r.exchanges[r.pick].prediction.seconds) r.pick = i;
    r.limits = limits();
    return r;
  }

 private:
  static StepProbe probe(const Recipe& recipe, const PlanOptions& options) {
    if (options.step_seconds > 0) return assumed_step(recipe, options.ranks, options.step_seconds);
    return measure_step(recipe, options.ranks, options.quick ? 2 : 5);
  }

  // As the optimizer makes them for this exchange.
  decltype(ExchangeProbeOptions::messages) messages_for(const ExchangeOptions& exchange) const {
    const Compression compression{.lossy = exchange.compressed(),
                                  .ranks = options_.ranks,
                                  .density = exchange.density,
                                  .sparse_below = 1};
    return [optim = recipe_.optim, compression](const BucketPlan& plan,
                                                std::span<const at::Tensor> gradients) {
      return optimizer_messages(optim, compression, plan, gradients);
    };
  }

  Link link_at(double bytes_per_second) const {
    Link link = options_.link;
    link.bytes_per_second = bytes_per_second;
    return link_of_rank(link, options_.ranks, options_.ranks_per_node);
  }

  double best_dense(const Link& link) const {
    double best = std::numeric_limits<double>::infinity();
    for (const Candidate& c : candidates_)
      if (!c.choice.options.compressed()) best = std::min(best, c.seconds(probe_.model, link));
    return best;
  }

  PlannedExchange planned(const Candidate& c, const std::vector<double>& links) const {
    PlannedExchange e;
    e.name = c.choice.name;
    e.dense = !c.choice.options.compressed();
    e.prediction = predict(probe_.model, c.costs, link_at(options_.link.bytes_per_second));
    e.memory = exchange_memory(c.choice.options, probe_.plan, options_.ranks);
    if (!e.dense)
      e.dense_from = crossover(kSlowest, kFastest, [&](double rate) {
        const Link link = link_at(rate);
        // Equal times, to a thousandth, are dense's.
        return c.seconds(probe_.model, link) * 1.001 - best_dense(link);
      });
    for (const double rate : links) e.seconds_at.push_back(c.seconds(probe_.model, link_at(rate)));
    return e;
  }

  std::vector<std::string> limits() const {
    std::vector<std::string> all;
    if (options_.step_seconds > 0)
      all.push_back(
          "computing was given, not measured; buckets become ready in proportion to size");
    else
      all.push_back(
          fmt::format("computing is this machine's, on {} thread(s); other ranks are taken "
                      "to be alike and to arrive together",
                      probe_.model.cores));
    all.emplace_back(
        "ranks that share cores are not modelled; the transport's processor time is "
        "that of TCP on this machine's loopback");
    if (options_.ranks_per_node > 1)
      all.emplace_back("ranks of a node share its link; what they say to each other takes no time");
    if (recipe_.exchange.hierarchy)
      all.emplace_back("[exchange] hierarchy is not modelled: these are flat exchanges");
    if (recipe_.exchange.codec == "lgreco")
      all.emplace_back("lgreco: its family at the uniform reference; its allocation sends less");
    if (recipe_.optim.name == "zero_one_adam")
      all.emplace_back(
          "0/1 Adam: a step that exchanges its momentum; local steps exchange nothing");
    if (recipe_.optim.name == "onebit_adam")
      all.emplace_back(
          "1-bit Adam averages densely before the freeze: fp32 and bf16 are those steps");
    const int64_t sequences = recipe_.train.examples(recipe_.model.targets());
    if (sequences % options_.ranks != 0)
      all.push_back(
          fmt::format("[train] batch_tokens = {} does not divide by {} ranks: each was "
                      "given {} tokens",
                      recipe_.train.batch_tokens, options_.ranks, probe_.tokens));
    return all;
  }

  const Recipe& recipe_;
  PlanOptions options_;
  StepProbe probe_;
  std::vector<Candidate> candidates_;
};

}  // namespace

PlanReport make_plan(const Recipe& recipe, const PlanOptions& options) {
  if (options.ranks < 1 || options.ranks_per_node < 1)
    fail(ExitCode::usage, "--ranks {} --ranks-per-node {}: both must be at least 1", options.ranks,
         options.ranks_per_node);
  return Planner(recipe, options).report();
}

Link link_of_rank(const Link& node, int64_t ranks, int64_t ranks_per_node) {
  Link link = node;
  if (ranks <= ranks_per_node) return link;
  const auto n = static_cast<double>(ranks), r = static_cast<double>(ranks_per_node);
  link.bytes_per_second = node.bytes_per_second / r * (n - 1) / (n - r);
  return link;
}

double crossover(double low, double high, const std::function<double(double)>& f) {
  if (f(low) >= 0) return 0;
  if (f(high) < 0) return std::numeric_limits<double>::infinity();
  while (high > 1.001 * low) {
    const double middle = std::sqrt(low * high);
    (f(middle) < 0 ? low : high) = middle;
  }
  return high;
}

}  // namespace terse
