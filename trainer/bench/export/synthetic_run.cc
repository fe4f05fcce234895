#include "trainer/bench/export/synthetic_run.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <random>
#include <vector>

#include "base/error.h"
#include "trainer/model_shape.h"

namespace terse {
namespace {

int64_t elements(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

bool is_coded(const ModelWeight& weight) {
  return weight.shape.size() == 2 && weight.name.starts_with("model.layers.");
}

// A million random numbers, over and over.
template <typename T, typename Draw>
std::vector<T> repeated(int64_t count, const Draw& draw) {
  constexpr int64_t kPeriod = 1 << 20;
  std::vector<T> all(static_cast<size_t>(count));
  const auto own = static_cast<size_t>(std::min(count, kPeriod));
  std::generate_n(all.begin(), own, draw);
  for (size_t i = own; i < all.size(); ++i) all[i] = all[i - own];
  return all;
}

// What the tensors of one checkpoint borrow from.
class Numbers {
 public:
  Numbers(const std::vector<ModelWeight>& weights, const std::optional<CodeFormat>& format)
      : format_(format) {
    int64_t most = 0, most_coded = 0, most_scales = 0;
    for (const ModelWeight& weight : weights) {
      most = std::max(most, elements(weight.shape));
      if (!format || !is_coded(weight)) continue;
      most_coded = std::max(most_coded, elements(weight.shape));
      most_scales = std::max(most_scales, elements(scale_shape(weight)));
    }
    std::mt19937_64 random(1);
    std::normal_distribution<float> normal;
    weights_ = repeated<float>(most, [&] { return 0.02f * normal(random); });
    if (!format) return;
    codes_ = repeated<int8_t>(most_coded, [&] { return code(normal(random)); });
    scales_ = repeated<float>(most_scales, [&] {
      return round_scale(0.01f + 0.001f * std::abs(normal(random)), format->scale_type);
    });
  }

  void put(const ModelWeight& weight, StateWriter& state) const {
    const int64_t count = elements(weight.shape);
    state.tensor(Scope::shared, "model/" + weight.name,
                 {DType::f32, weight.shape, bytes_of(weights_.data(), count)});
    if (!format_ || !is_coded(weight)) return;
    const std::vector<int64_t> scales = scale_shape(weight);
    state.tensor(Scope::shared, "codes/" + weight.name,
                 {DType::i8, weight.shape, bytes_of(codes_.data(), count)});
    state.tensor(Scope::shared, "scales/" + weight.name,
                 {DType::f32, scales, bytes_of(scales_.data(), elements(scales))});
    state.value(Scope::shared, "format/" + weight.name, to_string(*format_));
  }

 private:
  std::vector<int64_t> scale_shape(const ModelWeight& weight) const {
    return {format_->group < 0 ? 1 : weight.shape[0], groups_of(*format_, weight.shape[1])};
  }
  // The range takes three deviations, as the largest value of a group leaves it.
  int8_t code(float normal) const {
    const auto low = static_cast<float>(format_->code_min);
    const auto high = static_cast<float>(format_->code_max);
    return static_cast<int8_t>(std::clamp(std::rint(normal * high / 3.0f), low, high));
  }

  const std::optional<CodeFormat>& format_;
  std::vector<float> weights_, scales_;
  std::vector<int8_t> codes_;
};

}  // namespace

void write_synthetic_run(const std::string& run, const LlamaShape& shape,
                         const std::optional<CodeFormat>& format) {
  const std::vector<ModelWeight> weights = model_weights(shape);
  const Numbers numbers(weights, format);
  CheckpointWriter writer(FileSystem::real(), run, 1, 0, [](const CheckpointPart& part) {
    return std::vector<CheckpointPart>{part};
  });
  for (const ModelWeight& weight : weights) numbers.put(weight, writer);
  writer.commit(0);
}

std::shared_ptr<Checkpoint> open_synthetic_run(const std::string& run) {
  CheckpointSearch search = newest_checkpoint(run, 0);
  if (!search.found)
    fail(ExitCode::invalid_file, "{}: {}", run,
         search.rejected.empty() ? "no checkpoint" : search.rejected.front());
  return std::move(search.found);
}

int64_t checkpoint_bytes_of(const Artifact& artifact) {
  int64_t bytes = 0;
  for (const ArtifactWeight& weight : artifact.weights) {
    const int64_t count = elements(weight.shape);
    if (!weight.compressed()) {
      bytes += 4 * count;
      continue;
    }
    const CodeFormat& format = *weight.format;
    const int64_t rows = format.group < 0 ? 1 : weight.shape[0];
    bytes += count + 4 * rows * groups_of(format, weight.shape[1]);
  }
  return bytes;
}

int64_t largest_tensor(const LlamaShape& shape) {
  int64_t most = 0;
  for (const ModelWeight& weight : model_weights(shape))
    for (const FileTensor& part : weight.files) most = std::max(most, elements(part.shape));
  return 4 * most;
}

}  // namespace terse
