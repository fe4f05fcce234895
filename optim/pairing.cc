#include "optim/pairing.h"

#include <fmt/format.h>

namespace terse {
namespace {

using Problems = std::vector<std::pair<std::string, std::string>>;

// codec = "auto": what the optimizer can do with each candidate; those of its own choosing are
// fine.
Problems auto_problems(const OptimOptions& optim, const ExchangeOptions& exchange) {
  Problems problems;
  if (optim.name == "zero_one_adam")
    problems.emplace_back("codec",
                          "auto decides when to compress, and so does [optim] name = "
                          "\"zero_one_adam\"; choose codec = \"onebit\", or name = "
                          "\"onebit_adam\" for auto");
  bool lossy = exchange.candidates.empty();
  for (const std::string& name : exchange.candidates) {
    lossy = lossy || !is_dense(name);
    if (!is_dense(name) && (optim.name == "sgd" || (optim.name == "dgc" && name != "topk")))
      problems.emplace_back("candidates",
                            fmt::format("[optim] name = \"{}\" cannot use {}: {}", optim.name, name,
                                        optim.name == "sgd" ? "it averages densely; dgc sends topk"
                                                            : "it sends topk, or densely"));
  }
  if (!lossy && (optim.name == "onebit_adam" || optim.name == "dgc"))
    problems.emplace_back("candidates",
                          fmt::format("[optim] name = \"{}\" compresses, and none of these does; "
                                      "use name = \"adamw\"",
                                      optim.name));
  return problems;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> pairing_problems(const OptimOptions& optim,
                                                                  const ExchangeOptions& exchange) {
  std::vector<std::pair<std::string, std::string>> problems;
  const std::string& codec = exchange.codec;
  if (codec == "auto") return auto_problems(optim, exchange);
  // DGC masks the velocity of what was sent, so its codec must be one that chooses coordinates.
  if (optim.name == "dgc" && codec != "topk")
    problems.emplace_back("codec",
                          fmt::format("[optim] name = \"dgc\" sends the largest of its velocity "
                                      "and needs codec = \"topk\", not \"{}\"",
                                      codec));
  if (optim.name == "dgc" && exchange.feedback != "classic")
    problems.emplace_back("feedback",
                          "[optim] name = \"dgc\" accumulates in the residual: classic only");
  if (optim.name == "sgd" && exchange.compressed())
    problems.emplace_back(
        "codec", fmt::format("[optim] name = \"sgd\" averages densely, so \"{}\" would compress "
                             "nothing; use name = \"dgc\" with codec = \"topk\"",
                             codec));
  const bool onebit = optim.name == "onebit_adam" || optim.name == "zero_one_adam";
  if (onebit && !exchange.compressed())
    problems.emplace_back(
        "codec", fmt::format("[optim] name = \"{}\" compresses its momentum, but \"{}\" "
                             "does not; choose codec = \"onebit\", or [optim] name = \"adamw\" "
                             "for a dense run",
                             optim.name, codec));
  return problems;
}

}  // namespace terse
