#include "tests/trainer/telemetry/synthetic_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "trainer/telemetry/telemetry.h"

namespace terse::test {
namespace {

double noise(int64_t step) {
  const double x = std::sin(static_cast<double>(step) * 12.9898) * 43758.5453;
  return x - std::floor(x) - 0.5;
}

double curve(int64_t step) {
  return 2.75 + 5.6 / std::pow(1 + static_cast<double>(step) / 18, 0.62);
}

EvalRecord evaluation(int64_t step) {
  const double loss = curve(step) + 0.06;
  return {.step = step,
          .loss = loss,
          .perplexity = std::exp(loss),
          .tokens = 65536,
          .seconds = 3.1,
          .name = "valid"};
}

std::vector<LayerRecord> layers(int64_t count) {
  std::vector<LayerRecord> out;
  const auto add = [&](const std::string& name, int64_t rows, int64_t columns) {
    LayerRecord r{.name = name,
                  .rows = rows,
                  .columns = columns,
                  .representation = "int_signed b4 g32 f16",
                  .bits = 4.5,
                  .relative_error = 0.094,
                  .residual_norm = 0.021,
                  .histogram = {}};
    for (int code = -8; code <= 7; ++code) {
      const double share = std::exp(-0.5 * code * code / 9.0);
      r.histogram.push_back({code, static_cast<int64_t>(share * 1e4)});
    }
    out.push_back(std::move(r));
  };
  for (int64_t i = 0; i < count; ++i) {
    const std::string layer = fmt::format("model.layers.{}.", i);
    add(layer + "self_attn.qkv_proj.weight", 768, 256);
    add(layer + "self_attn.o_proj.weight", 256, 256);
    add(layer + "mlp.gate_up_proj.weight", 1536, 256);
    add(layer + "mlp.down_proj.weight", 256, 768);
  }
  out.push_back({.name = "model.embed_tokens.weight",
                 .rows = 4096,
                 .columns = 256,
                 .representation = "bf16",
                 .bits = 16,
                 .relative_error = -1,
                 .residual_norm = 0.4,
                 .histogram = {}});
  return out;
}

RunResults results(int64_t total) {
  const EvalRecord closing = evaluation(total);
  return {.name = "quickstart",
          .parameters = 6819072,
          .ranks = 2,
          .evaluations = {closing},
          .exports = {{.format = "gguf:q4_0",
                       .path = "runs/quickstart/model.gguf",
                       .bytes = 4915200,
                       .fp16_bytes = 13638144,
                       .bits_per_weight = 5.77,
                       .tensors = 57,
                       .tensors_equal = 57}},
          .engines = {{.engine = "llama.cpp",
                       .file = "model.gguf",
                       .perplexity = closing.perplexity * 1.0004,
                       .terse_perplexity = closing.perplexity,
                       .tokens = 2048,
                       .generated = "And the LORD spake unto Moses, saying, <Go> & do it."}}};
}

}  // namespace

StepRecord synthetic_step(int64_t step, int64_t total) {
  const bool codec = step > total / 5;
  const double part = static_cast<double>(step) / static_cast<double>(total);
  const double warm = std::min(1.0, 20 * part);
  StepRecord r;
  r.step = step;
  r.loss = curve(step) + 0.24 * noise(step);
  r.learning_rate = 1e-3 * warm * (0.55 + 0.45 * std::cos(std::numbers::pi * part));
  r.gradient_norm = 0.9 + 0.3 * noise(step + 7);
  r.clip = std::min(1.0, 1 / r.gradient_norm);
  r.tokens = 4096;
  r.seconds = 0.29 + 0.02 * noise(step + 3);
  r.tokens_per_second = 4096 / r.seconds;
  r.exposed_seconds = codec ? 0.003 + 0.002 * noise(step + 1) : 0.021 + 0.01 * noise(step + 1);
  r.dense_bytes = 27276288;
  r.wire_bytes = codec ? 869376 : r.dense_bytes;
  r.phase = codec ? "codec" : "dense";
  r.residual_norm = codec ? 0.6 - 0.3 * part : 0;
  return r;
}

void write_synthetic_run(const RunFiles& files, int64_t total) {
  FileSystem& fs = FileSystem::real();
  Telemetry telemetry(fs, files, {}, total, 0, [](std::string_view) {});
  for (int64_t step = 1; step <= total; ++step) {
    telemetry.step(synthetic_step(step, total));
    if (step % std::max<int64_t>(total / 8, 1) == 0) telemetry.eval(evaluation(step));
    if (step == total / 5) {
      telemetry.decision({.step = step + 1,
                          .what = "freeze",
                          .value = "variance frozen",
                          .reason = "its norm changed by 0.8 % over 20 steps, below 4 %"});
    }
  }
  write_results(fs, files.results(), results(total));
  write_layers(fs, files.layers(), layers(6));
  write_atomically(
      fs, files.recipe(),
      "[model]\nlayers = 6        # default\nwidth = 256      # file\n\n[optim]\n"
      "name = \"onebit_adam\"  # file\nlr = 0.001\n\n[exchange]\ncodec = \"onebit\"\n");
  write_atomically(
      fs, files.environment(),
      R"({"version": "0.1.0", "host": {"name": "node<1>", "cpu": "AMD EPYC", "cores": 2},
                       "backend": "gloo", "ranks": 2})");
}

}  // namespace terse::test
