#include "trainer/evaluate.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "comm/bucket.h"
#include "trainer/data/batcher.h"
#include "trainer/tensors.h"

namespace terse {
namespace {

// The summed loss of each window of the range, in order. `most`: windows of the largest share.
std::vector<double> own_losses(Llama& model, const TokenShard& shard, Range windows, int64_t most,
                               const EvaluateOptions& options) {
  const int64_t context = model.options().context;
  std::vector<double> losses;
  for (int64_t done = 0; done < most; done += options.batch) {
    if (options.between) options.between();
    const int64_t at = windows.begin + done;
    const int64_t rows = std::min(options.batch, windows.end - at);
    if (rows <= 0) continue;
    Batch batch = validation_batch(shard, context, at, rows, options.begin);
    const at::Tensor nll = model.nll(token_tensor(batch)).to(at::kDouble).cpu().contiguous();
    const double* values = nll.const_data_ptr<double>();
    losses.insert(losses.end(), values, values + rows);
  }
  return losses;
}

}  // namespace

Evaluation evaluate(Llama& model, const TokenShard& shard, Group group,
                    const EvaluateOptions& options) {
  const int64_t context = model.options().context;
  const int64_t all = validation_windows(shard, context);
  Evaluation result;
  result.windows = options.windows == 0 ? all : std::min(all, options.windows);
  const int64_t share = (result.windows + group.size() - 1) / group.size();
  const Range mine{std::min(share * group.rank(), result.windows),
                   std::min(share * (group.rank() + 1), result.windows)};
  const std::vector<double> losses = own_losses(model, shard, mine, share, options);
  double sum = 0;
  for (const auto& bytes : group.all_gather_bytes(std::as_bytes(std::span(losses)), "evaluation")) {
    for (size_t at = 0; at < bytes.size(); at += sizeof(double)) {
      double loss = 0;
      std::memcpy(&loss, bytes.data() + at, sizeof loss);
      sum += loss;
    }
  }
  result.tokens = result.windows * context;
  result.loss = sum / static_cast<double>(result.tokens);
  result.perplexity = std::exp(result.loss);
  return result;
}

}  // namespace terse
