#include "sparsity/flow.h"

#include <utility>

#include "base/error.h"

namespace terse {
namespace {

constexpr std::pair<GradientFlow, const char*> kNames[] = {
    {GradientFlow::straight_through, "straight_through"},
    {GradientFlow::hard, "hard"},
    {GradientFlow::srste, "srste"},
    {GradientFlow::srste_decoupled, "srste_decoupled"},
};

}  // namespace

std::vector<std::string> flow_names() {
  std::vector<std::string> names;
  for (const auto& [flow, name] : kNames) names.emplace_back(name);
  return names;
}

GradientFlow parse_flow(const std::string& text) {
  for (const auto& [flow, name] : kNames)
    if (text == name) return flow;
  fail(ExitCode::usage, "estimator '{}' of a mask is unknown; possible: {}", text,
       fmt::join(flow_names(), ", "));
}

const char* flow_name(GradientFlow flow) {
  for (const auto& [known, name] : kNames)
    if (known == flow) return name;
  return "";
}

}  // namespace terse
