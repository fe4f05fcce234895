#include "export/probe.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "export/safetensors.h"

namespace terse {
namespace {

constexpr int64_t kMostIds = 1 << 20;

// log(sum exp(row)), which turns logits into log-probabilities.
double log_sum(std::span<const float> row) {
  const double top = *std::max_element(row.begin(), row.end());
  double sum = 0;
  for (const float x : row) sum += std::exp(x - top);
  return top + std::log(sum);
}

}  // namespace

std::string probe_path(std::string out) {
  while (out.size() > 1 && out.ends_with('/')) out.pop_back();
  return out + ".probe.safetensors";
}

void write_probe(FileSystem& fs, const std::string& path, const LogitsProbe& probe) {
  const auto n = static_cast<int64_t>(probe.ids.size());
  write_safetensors(
      fs, path,
      {{"ids", {DType::i32, {n}, bytes_of(probe.ids.data(), n)}},
       {"logits", {DType::f32, {n, probe.vocab}, bytes_of(probe.logits.data(), n * probe.vocab)}}},
      {{"terse.act_bits", fmt::format("{}", probe.act_bits)}});
}

LogitsProbe read_probe(const std::string& path) {
  const SafetensorsFile file(path);
  file.verify_checksums(false);
  const TensorView ids = file.require("ids"), logits = file.require("logits");
  const bool fits = ids.dtype == DType::i32 && ids.shape.size() == 1 && ids.shape[0] > 0 &&
                    ids.shape[0] <= kMostIds && logits.dtype == DType::f32 &&
                    logits.shape.size() == 2 && logits.shape[0] == ids.shape[0] &&
                    logits.shape[1] > 0;
  if (!fits) fail(ExitCode::invalid_file, "{}: no logits probe", path);
  LogitsProbe probe;
  const auto all_ids = ids.as<int32_t>();
  const auto all_logits = logits.as<float>();
  probe.ids.assign(all_ids.begin(), all_ids.end());
  probe.logits.assign(all_logits.begin(), all_logits.end());
  probe.vocab = logits.shape[1];
  if (const auto found = file.metadata().find("terse.act_bits"); found != file.metadata().end())
    std::from_chars(found->second.data(), found->second.data() + found->second.size(),
                    probe.act_bits);
  return probe;
}

double probe_difference(const LogitsProbe& probe, const std::vector<float>& log_probabilities) {
  if (log_probabilities.size() != probe.logits.size())
    fail(ExitCode::invalid_file, "{} log-probabilities where the probe has {} logits",
         log_probabilities.size(), probe.logits.size());
  double difference = 0, spread = 0;
  const auto vocab = static_cast<size_t>(probe.vocab);
  for (size_t at = 0; at < probe.logits.size(); at += vocab) {
    const auto row = std::span(probe.logits).subspan(at, vocab);
    const double sum = log_sum(row);
    const double mean = std::accumulate(row.begin(), row.end(), 0.0) / static_cast<double>(vocab);
    for (size_t i = 0; i < vocab; ++i) {
      const double off = row[i] - sum - double{log_probabilities[at + i]};
      difference += off * off;
      spread += (row[i] - mean) * (row[i] - mean);
    }
  }
  return std::sqrt(difference / spread);
}

}  // namespace terse
