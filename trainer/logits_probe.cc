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

LogitsProbe make_probe(const Artifact& artifact, const QatOptions& qat, const DataFiles& data) {
  const int64_t vocab = artifact.shape.vocab;
  const std::vector<int64_t> ids =
      text_of(data, std::min(kMostTokens, artifact.shape.context), vocab);
  const auto model = model_of(artifact, qat, {.type = at::kFloat});
  const at::Tensor tokens =
      at::tensor(at::ArrayRef<int64_t>(ids), at::kLong).view({1, static_cast<int64_t>(ids.size())});
  const at::Tensor logits = model->logits(tokens).contiguous();
  LogitsProbe probe;
  probe.vocab = vocab;
  probe.act_bits = qat.enabled() ? qat.act_bits : 16;
  for (const int64_t id : ids) probe.ids.push_back(static_cast<int32_t>(id));
  const float* values = logits.const_data_ptr<float>();
  probe.logits.assign(values, values + logits.numel());
  return probe;
}

std::string write_probe_of(const Artifact& artifact, const QatOptions& qat, const DataFiles& data,
                           const std::string& out) {
  const std::string path = probe_path(out);
  write_probe(FileSystem::real(), path, make_probe(artifact, qat, data));
  return path;
}

}  // namespace terse
