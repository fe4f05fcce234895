// `terse plan`: memory, wire bytes and step time of every exchange that a recipe's optimizer can
// use, on N ranks over a link that the user names. The model is comm/plan/predict.h; computing is
// measured on this machine. Errors: those of load_recipe(); Error(usage) for counts that make no
// sense.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "comm/plan/link.h"
#include "comm/plan/memory.h"
#include "comm/plan/predict.h"
#include "trainer/recipe/recipe.h"

namespace terse {

struct PlanOptions {
  int64_t ranks = 2;
  int64_t ranks_per_node = 1;  // that share a node's link
  Link link;                   // of a node
  double step_seconds = 0;     // of computing; 0: measured
  bool quick = false;          // fewer repetitions
};

struct PlannedExchange {
  std::string name;
  bool dense = false;
  StepPrediction prediction;
  ExchangeMemory memory;
  // The link's payload bytes a second from which on the best dense exchange is at least as fast;
  // 0: on every link that was tried, infinite: on none (kSlowest to kFastest).
  double dense_from = 0;
  std::vector<double> seconds_at;  // by PlanReport::links
};

struct PlanReport {
  std::string recipe;
  PlanOptions options;
  int64_t parameters = 0;
  int64_t tokens = 0;  // of a rank and step
  StepModel step;
  int64_t optimizer_bytes = 0;             // memory of the optimizer's state
  int64_t compute_weights_bytes = 0;       // of the weights as the forward multiplies with them
  std::vector<PlannedExchange> exchanges;  // dense ones first
  size_t pick = 0;                         // the fastest
  std::vector<double> links;               // payload bytes a second of the table
  std::vector<std::string> limits;         // what the prediction leaves out
};

inline constexpr double kSlowest = 1e6 / 8;  // bytes a second
inline constexpr double kFastest = 1e13 / 8;

PlanReport make_plan(const Recipe& recipe, const PlanOptions& options);

// What one rank of a node that R share sees of the node's link: its R-th part, of which messages to
// ranks of its own node take nothing. All ranks in one node: the link itself.
Link link_of_rank(const Link& node, int64_t ranks, int64_t ranks_per_node);

// Where f, which rises from below 0 to above, crosses it on [low, high], to 0.1 %, by bisection of
// the logarithm; 0 if f(low) >= 0, infinite if f(high) < 0.
double crossover(double low, double high, const std::function<double(double)>& f);

std::string plan_text(const PlanReport& report);
std::string plan_json(const PlanReport& report);

}  // namespace terse
