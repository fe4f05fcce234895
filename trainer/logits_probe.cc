#include "trainer/logits_probe.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <filesystem>

#include "trainer/data/shard.h"
#include "trainer/snapshot.h"

namespace terse {
namespace {

constexpr int64_t kMostTokens = 32;

std::vector<int64_t> text_of(const DataFiles& data, int64_t count, int64_t vocab) {
  std::vector<int64_t> ids(static_cast<size_t>(count), data.begin);
  const auto text = std::span(ids).subspan(1);
  if (std::filesystem::exists(data.valid)) {
    const TokenShard shard(data.valid);
    if (shard.vocab() == vocab && shard.count() >= count - 1) {
      shard.read(0, text);
      return ids;
    }
  }
  uint64_t state = 1;  // Knuth's MMIX
  for (int64_t& id : text) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    id = static_cast<int64_t>((state >> 33) % static_cast<uint64_t>(vocab));
  }
  return ids;
}

}  // namespace

LogitsProbe make_probe(const Artifact& artifact, const DataFiles& data) {
  LogitsProbe probe;
  probe.vocab = artifact.shape.vocab;
  probe.act_bits = artifact.rounds_inputs() ? artifact.act_bits : 16;
  std::vector<int64_t> batch =
      text_of(data, std::min(kMostTokens, artifact.shape.context), probe.vocab);
  probe.ids.assign(batch.begin(), batch.end());
  batch.push_back(data.begin);  // a model answers to all of a row but the last, which is to be told
  const at::NoGradGuard no_gradients;
  const auto model = model_of(artifact, {.type = at::kFloat});
  const at::Tensor row = at::tensor(at::ArrayRef<int64_t>(batch), at::kLong).view({1, -1});
  const at::Tensor logits = model->run(row).logits.contiguous();
  const float* values = logits.const_data_ptr<float>();
  probe.logits.assign(values, values + logits.numel());
  return probe;
}

std::string write_probe_of(const Artifact& artifact, const DataFiles& data,
                           const std::string& out) {
  if (artifact.vit) return "";
  const std::string path = probe_path(out);
  write_probe(FileSystem::real(), path, make_probe(artifact, data));
  return path;
}

}  // namespace terse
