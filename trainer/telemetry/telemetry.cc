#include "trainer/telemetry/telemetry.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <utility>

namespace terse {
namespace {

double unix_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "localhost";
  return name.data();
}

}  // namespace

Telemetry::Telemetry(FileSystem& fs, const RunFiles& files, const ProgressOptions& options,
                     int64_t total_steps, int64_t resumed_step, Print print)
    : metrics_(fs, files.metrics(), resumed_step),
      // What was decided in the checkpoint's step holds from the next one on.
      decisions_(fs, files.decisions(), resumed_step == 0 ? 0 : resumed_step + 1),
      events_(fs, files.tensorboard(), unix_seconds(), host_name(), resumed_step + 1),
      progress_(options, total_steps, std::move(print)) {
  summary_.run = files.directory;
  if (resumed_step == 0) return;
  for (const Record& record : parse_records(read_text(files.metrics()))) {
    if (const auto* step = std::get_if<StepRecord>(&record)) count(*step);
    if (const auto* eval = std::get_if<EvalRecord>(&record)) {
      summary_.loss = eval->loss;
      summary_.perplexity = eval->perplexity;
      summary_.accuracy = eval->accuracy;
    }
  }
}

void Telemetry::count(const StepRecord& record) {
  summary_.steps = record.step;
  summary_.seconds += record.seconds;
  summary_.wire_bytes += record.wire_bytes;
  summary_.dense_bytes += record.dense_bytes;
  summary_.exposed_seconds += record.exposed_seconds;
  summary_.skipped_steps += record.skipped ? 1 : 0;
}

void Telemetry::step(const StepRecord& record) {
  count(record);
  process_seconds_ += record.seconds;
  process_tokens_ += record.tokens;
  if (process_seconds_ > 0) {
    summary_.tokens_per_second = static_cast<double>(process_tokens_) / process_seconds_;
  }
  metrics_.write(to_json(record));
  const auto wire = static_cast<double>(record.wire_bytes);
  events_.add(record.step, unix_seconds(),
              std::array<Scalar, 8>{{{"train/loss", record.loss},
                                     {"train/learning_rate", record.learning_rate},
                                     {"train/gradient_norm", record.gradient_norm},
                                     {"speed/tokens_per_second", record.tokens_per_second},
                                     {"speed/seconds", record.seconds},
                                     {"exchange/exposed_seconds", record.exposed_seconds},
                                     {"exchange/wire_bytes", wire},
                                     {"exchange/residual_norm", record.residual_norm}}});
  if (!record.stage.empty())
    events_.add(record.step, unix_seconds(),
                std::array<Scalar, 2>{{{"sparsity/beta", record.beta},
                                       {"sparsity/mask_changed", record.mask_changed}}});
  progress_.step(record);
}

void Telemetry::eval(const EvalRecord& record) {
  summary_.loss = record.loss;
  summary_.perplexity = record.perplexity;
  summary_.accuracy = record.accuracy;
  metrics_.write(to_json(record));
  const std::string loss = record.name + "/loss", perplexity = record.name + "/perplexity";
  events_.add(record.step, unix_seconds(),
              std::array<Scalar, 2>{{{loss, record.loss}, {perplexity, record.perplexity}}});
  const std::string accuracy = record.name + "/accuracy";
  if (record.accuracy >= 0)
    events_.add(record.step, unix_seconds(), std::array<Scalar, 1>{{{accuracy, record.accuracy}}});
  progress_.eval(record);
}

void Telemetry::decision(const DecisionRecord& record) {
  decisions_.write(to_json(record));
  // A choice for each of a hundred layers fills the file, not the screen.
  constexpr size_t kShown = 72;
  const std::string value = record.value.size() <= kShown
                                ? record.value
                                : record.value.substr(0, kShown) + "... (decisions.jsonl)";
  progress_.note(fmt::format("from step {}: {} = {}{}{}", record.step, record.what, value,
                             record.reason.empty() ? "" : "; ", record.reason));
}

void Telemetry::note(std::string_view text) {
  progress_.note(text);
}

void Telemetry::sync() {
  metrics_.sync();
  decisions_.sync();
  events_.sync();
}

}  // namespace terse
