// The report as text and as JSON.
#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "trainer/plan/plan.h"

namespace terse {
namespace {

std::string megabytes(int64_t bytes) {
  return fmt::format("{:.4g} MB", static_cast<double>(bytes) / 1e6);
}

std::string dense_from(const PlannedExchange& e) {
  if (e.dense) return "";
  if (e.dense_from == 0) return "always";
  return std::isinf(e.dense_from) ? "never" : rate_text(e.dense_from);
}

int64_t memory_of(const PlanReport& r, const PlannedExchange& e) {
  return e.memory.total() + r.optimizer_bytes + r.compute_weights_bytes;
}

std::string heading(const PlanReport& r) {
  const PlanOptions& o = r.options;
  std::string text = fmt::format("terse plan  {}: {:.1f}M parameters, {} tokens a rank and step\n",
                                 r.recipe, static_cast<double>(r.parameters) / 1e6, r.tokens);
  text += fmt::format("{} ranks", o.ranks);
  if (o.ranks_per_node > 1) text += fmt::format(", {} a node", o.ranks_per_node);
  text += fmt::format(", link {} ({:.4g} MB/s of payload), latency {} and {} a further message\n",
                      rate_text(o.link.bytes_per_second), o.link.bytes_per_second / 1e6,
                      duration_text(o.link.latency), duration_text(o.link.per_message));
  const double computing = r.step.forward + r.step.backward + r.step.apply;
  text += fmt::format("computing {} a step (forward {}, backward {}, optimizer {})\n\n",
                      duration_text(computing), duration_text(r.step.forward),
                      duration_text(r.step.backward), duration_text(r.step.apply));
  return text;
}

std::string table(const PlanReport& r) {
  std::string text = fmt::format("  {:<14} {:>10} {:>10} {:>13} {:>12}  {}\n", "exchange", "step",
                                 "exposed", "sent a step", "memory", "dense wins from");
  for (size_t i = 0; i < r.exchanges.size(); ++i) {
    const PlannedExchange& e = r.exchanges[i];
    text +=
        fmt::format("{} {:<14} {:>10} {:>10} {:>13} {:>12}  {}\n", i == r.pick ? '*' : ' ', e.name,
                    duration_text(e.prediction.seconds), duration_text(e.prediction.exposed),
                    megabytes(e.prediction.wire_bytes), megabytes(memory_of(r, e)), dense_from(e));
  }
  return text;
}

std::string links_table(const PlanReport& r) {
  std::string text = fmt::format("\n  {:<14}", "step on");
  for (const double link : r.links) text += fmt::format(" {:>11}", rate_text(link));
  text += '\n';
  for (const PlannedExchange& e : r.exchanges) {
    text += fmt::format("  {:<14}", e.name);
    for (const double seconds : e.seconds_at)
      text += fmt::format(" {:>11}", duration_text(seconds));
    text += '\n';
  }
  return text;
}

nlohmann::ordered_json memory_json(const PlanReport& r, const PlannedExchange& e) {
  return {{"weights", e.memory.weights},     {"compute_weights", r.compute_weights_bytes},
          {"gradients", e.memory.gradients}, {"optimizer", r.optimizer_bytes},
          {"messages", e.memory.messages},   {"residuals", e.memory.residuals},
          {"buffers", e.memory.buffers},     {"total", memory_of(r, e)}};
}

// JSON has no infinity: null = on no link that was tried.
nlohmann::ordered_json bits_or_null(double bytes_per_second) {
  if (std::isinf(bytes_per_second)) return nullptr;
  return bytes_per_second / kPayload * 8;
}

}  // namespace

std::string plan_text(const PlanReport& report) {
  std::string text = heading(report) + table(report);
  const PlannedExchange& pick = report.exchanges[report.pick];
  text += fmt::format("\npick: {}, {} tokens/s on all ranks\n", pick.name,
                      std::llround(static_cast<double>(report.tokens * report.options.ranks) /
                                   pick.prediction.seconds));
  text += links_table(report) + "\nnot in these figures:\n";
  for (const std::string& limit : report.limits) text += fmt::format("  - {}\n", limit);
  return text;
}

std::string plan_json(const PlanReport& report) {
  const PlanOptions& o = report.options;
  nlohmann::ordered_json exchanges = nlohmann::ordered_json::array();
  for (const PlannedExchange& e : report.exchanges) {
    nlohmann::ordered_json entry = {{"name", e.name},
                                    {"step_seconds", e.prediction.seconds},
                                    {"exposed_seconds", e.prediction.exposed},
                                    {"wire_bytes", e.prediction.wire_bytes},
                                    {"memory", memory_json(report, e)}};
    if (!e.dense) entry["dense_from_bits"] = bits_or_null(e.dense_from);
    exchanges.push_back(std::move(entry));
  }
  const nlohmann::ordered_json json = {
      {"recipe", report.recipe},
      {"ranks", o.ranks},
      {"ranks_per_node", o.ranks_per_node},
      {"link_bits", bits_or_null(o.link.bytes_per_second)},
      {"latency", o.link.latency},
      {"parameters", report.parameters},
      {"tokens", report.tokens},
      {"compute_seconds", report.step.forward + report.step.backward + report.step.apply},
      {"pick", report.exchanges[report.pick].name},
      {"exchanges", std::move(exchanges)},
      {"limits", report.limits}};
  return json.dump(2);
}

}  // namespace terse
