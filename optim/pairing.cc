#include "optim/pairing.h"

#include <fmt/format.h>

namespace terse {

std::vector<std::pair<std::string, std::string>> pairing_problems(const OptimOptions& optim,
                                                                  const ExchangeOptions& exchange) {
  std::vector<std::pair<std::string, std::string>> problems;
  const std::string& codec = exchange.codec;
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
