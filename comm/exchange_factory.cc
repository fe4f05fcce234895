#include <algorithm>
#include <cmath>
#include <functional>

#include "base/error.h"
#include "comm/dense_exchange.h"
#include "comm/exchange_codec.h"
#include "comm/exchange_tensors.h"
#include "comm/gather_exchange.h"
#include "comm/hierarchical_exchange.h"
#include "comm/lgreco_exchange.h"
#include "comm/lgreco_timer.h"
#include "comm/low_rank_exchange.h"
#include "comm/make_exchange.h"
#include "comm/two_stage_exchange.h"

namespace terse {
namespace {

// |x - C(x)|^2 <= (1 - delta) |x|^2: exact for topk, what Gaussian data gives for bits. One bit
// leaves Gaussian data 0.6, but what is mostly small far less (|x|_1^2 / (n |x|_2^2)): with 0.6
// EControl ran away under 1-bit Adam (tests/optim/canaries_ranks.cc).
double contraction(const ExchangeOptions& options) {
  if (options.worker() == "topk") return std::min(options.density, 0.9);
  return options.worker() == "bits" ? 0.9 : 0.1;
}

// EControl's own choice (arXiv:2311.05645, theorem 1): more of the error than this and weak codecs
// run away.
double econtrol_eta(double delta) {
  const double root = std::sqrt(1 - delta);
  return delta / (3 * root * (1 + root));
}

FeedbackOptions feedback_of(const ExchangeOptions& options) {
  return {.kind = parse_feedback(options.feedback),
          .eta = options.eta > 0 ? options.eta : econtrol_eta(contraction(options)),
          .bf16 = options.residual == "bf16"};
}

LgrecoFamily family_of(const ExchangeOptions& options) {
  if (options.family == "lowrank") return lgreco_low_rank(options.rank);
  if (options.family == "topk") return lgreco_topk(options.density, make_codec(options));
  return lgreco_bits(options.bits, make_codec(options));
}

// All ranks alike: what runs between the nodes of a hierarchy, or everywhere (`whole_run`).
std::unique_ptr<Exchange> make_flat(Group group, const ExchangeOptions& options, at::Device device,
                                    bool whole_run) {
  const FeedbackOptions feedback = feedback_of(options);
  if (options.worker() == "lowrank")
    return std::make_unique<LowRankExchange>(
        std::move(group),
        PowerSgdOptions{.rank = options.rank, .feedback = feedback, .own_matrices = !whole_run},
        device);
  if (one_stage(options, group.size()))
    return std::make_unique<GatherExchange>(std::move(group), make_codec(options), feedback,
                                            device);
  return std::make_unique<TwoStageExchange>(std::move(group), make_codec(options), feedback,
                                            device);
}

bool two_levels(const ExchangeOptions& options, int64_t ranks, int64_t ranks_per_node) {
  return options.hierarchy && ranks_per_node != ranks && ranks_per_node != 1;
}

// Matrices stay whole for low rank, chosen already or one day.
Slicing slicing_of(const ExchangeOptions& options) {
  const bool may_be = std::ranges::count(options.candidates, "lowrank") > 0;
  return options.worker() == "lowrank" || may_be ? Slicing::segments : Slicing::even;
}

// Around `inner`, the exchange of its family, whose messages travel between the ranks of
// `averaging`.
std::unique_ptr<Exchange> make_lgreco(const Group& group, const Group& averaging,
                                      const ExchangeOptions& options,
                                      std::unique_ptr<Exchange> inner) {
  const LgrecoFamily family = family_of(options);
  LgrecoOptions lgreco{
      .every = options.every,
      .allocation = {.rule = options.budget == "squares" ? BudgetRule::squares : BudgetRule::norms},
      .ranks_per_node = group.size() / averaging.size(),
      .replay = !options.replay.empty(),
      .replayed = options.replayed};
  if (options.cost == "time") lgreco.timer = make_lgreco_timer(group, averaging, options, family);
  return std::make_unique<LgrecoExchange>(group, std::move(inner), family, lgreco);
}

// make(group, true), or with [exchange] hierarchy make(ranks of different nodes, false).
std::unique_ptr<Exchange> over_nodes(
    const Group& group, const ExchangeOptions& options, at::Device device, int64_t ranks_per_node,
    Slicing slicing, const std::function<std::unique_ptr<Exchange>(Group, bool whole_run)>& make) {
  if (!two_levels(options, group.size(), ranks_per_node)) return make(group, true);
  if (!device.is_cpu())
    fail(ExitCode::usage,
         "[exchange] hierarchy averages CPU tensors only; use hierarchy = false, or [train] device "
         "= \"cpu\"");
  return std::make_unique<HierarchicalExchange>(group, ranks_per_node, slicing, [&](Group between) {
    return make(std::move(between), false);
  });
}

}  // namespace

std::unique_ptr<Exchange> make_exchange(Group group, const ExchangeOptions& options,
                                        at::Device device, int64_t ranks_per_node) {
  const std::string& codec = options.codec;
  if (codec == "auto")
    return over_nodes(group, options, device, ranks_per_node, slicing_of(options),
                      [&](Group ranks, bool) {
                        return make_auto_exchange(std::move(ranks), group, options, device);
                      });
  if (!options.compressed()) return make_dense_exchange(group, options, device, ranks_per_node);
  if (codec != "onebit" && codec != "bits" && codec != "topk" && codec != "lowrank" &&
      codec != "lgreco")
    fail(ExitCode::usage,
         "[exchange] codec = \"{}\" is not known; there are fp32, bf16, onebit, bits, topk, "
         "lowrank, lgreco and auto",
         codec);
  if (codec == "lgreco") check_cpu(device, codec);
  Group averaging = group;
  auto exchange = over_nodes(group, options, device, ranks_per_node, slicing_of(options),
                             [&](Group ranks, bool whole_run) {
                               averaging = ranks;
                               return make_flat(std::move(ranks), options, device, whole_run);
                             });
  if (codec != "lgreco") return exchange;
  return make_lgreco(group, averaging, options, std::move(exchange));
}

std::unique_ptr<Exchange> make_exchange_between(Group group, const ExchangeOptions& options,
                                                at::Device device) {
  return options.compressed() ? make_flat(std::move(group), options, device, false)
                              : make_dense_exchange(group, options, device);
}

std::unique_ptr<Exchange> make_dense_exchange(const Group& group, const ExchangeOptions& options,
                                              at::Device device, int64_t ranks_per_node) {
  const std::string& wire = options.compressed() ? options.dense : options.codec;
  if (wire != "fp32" && wire != "bf16")
    fail(ExitCode::usage, "[exchange] dense = \"{}\" is not known; there are fp32 and bf16", wire);
  const DenseOptions dense{.bf16 = wire == "bf16",
                           .backend_all_reduce = options.backend_all_reduce && wire == "fp32"};
  return over_nodes(group, options, device, ranks_per_node, Slicing::even, [&](Group ranks, bool) {
    return std::make_unique<DenseExchange>(std::move(ranks), dense, device);
  });
}

double sparse_break_even(const ExchangeOptions& options, int64_t ranks, int64_t ranks_per_node) {
  if (two_levels(options, ranks, ranks_per_node)) ranks /= ranks_per_node;
  if (ranks <= 1) return 1;
  if (options.codec == "auto") return sparse_break_even(options.with_codec("topk"), ranks);
  const auto n = static_cast<double>(ranks);
  const double dense = 8 * (n - 1) / n;  // bytes an element
  const double entry =
      options.values == "bf16" ? 2 + 1 : 4 + 1;  // at such densities a gap fits a byte
  return dense / (one_stage(options, ranks) ? entry * (n - 1) : 2 * entry * (n - 1) / n);
}

}  // namespace terse
