#include "trainer/recipe/options.h"

#include <limits>

namespace terse {
namespace {

constexpr int64_t kAny = std::numeric_limits<int64_t>::max();

}  // namespace

void DataOptions::bind(Keys& keys) {
  keys.texts("text", text, "text files (UTF-8) to train on; prepared into `dir` when needed");
  keys.text("dir", dir, "folder of the prepared data: tokenizer and token shards, or images");
  keys.integer("vocab", vocab, 260, 1 << 20, "pieces of the tokenizer that is trained on the text");
  keys.text("tokenizer", tokenizer, "a sentencepiece model to use instead of training one");
  keys.number("valid", valid, 1e-6, 0.5, "fraction of each text, its end, kept for validation");
}

void DataOptions::check(Keys& keys) const {
  if (dir.empty()) keys.problem("dir", "a folder is needed for the prepared data");
  for (const std::string& path : text)
    if (path.empty()) keys.problem("text", "a file name is empty");
}

void TrainOptions::bind(Keys& keys) {
  keys.integer("steps", steps, 1, kAny, "optimizer steps");
  keys.integer("batch_tokens", batch_tokens, 1, kAny,
               "tokens a step, of all ranks together; an image counts as one");
  keys.integer("micro_tokens", micro_tokens, 0, kAny,
               "tokens of one forward and backward of a rank; 0 = its whole share of the batch");
  keys.integer("seed", seed, 0, kAny, "draws the initial weights and the order of the data");
  keys.choice("device", device, {"auto", "cpu", "cuda"}, "where to compute");
  keys.choice("compute", compute, {"bf16", "fp32"}, "number type of the matrix products");
  keys.number("clip", clip, 0, 1e9, "largest global gradient norm; 0 = no clipping");
  keys.flag("clip_exact", clip_exact,
            "compressed phases wait for the true norm instead of the previous step's");
  keys.flag("recompute", recompute, "activation checkpointing: less memory, a third more work");
  keys.integer("threads", threads, 0, 4096, "threads of a rank; 0 = the cores it is bound to");
  keys.integer("eval_every", eval_every, 0, kAny, "steps between evaluations; 0 = at the end only");
  keys.integer("eval_windows", eval_windows, 0, kAny,
               "examples of an evaluation while training; 0 = all. The last one takes all");
  keys.integer("log_every", log_every, 1, kAny, "steps between progress lines in a pipe");
  keys.integer("max_skipped", max_skipped, 1, kAny,
               "consecutive non-finite steps before the run stops");
}

void TrainOptions::check(Keys& keys) const {
  if (micro_tokens > batch_tokens)
    keys.problem("micro_tokens", "one forward cannot take more tokens than the batch has");
}

int64_t TrainOptions::micro_examples(int64_t targets, int64_t ranks) const {
  return micro_tokens == 0 ? examples(targets) / ranks : micro_tokens / targets;
}

void DistillOptions::bind(Keys& keys) {
  keys.text("teacher", teacher,
            "a run's folder, a GGUF file or a Hugging Face folder to learn from; \"\" = nobody");
  keys.number("task", task, 0, 1e6, "weight of the cross entropy with the data");
  keys.number("logits", logits, 0, 1e6,
              "weight of the divergence from the teacher's probabilities");
  keys.number("temperature", temperature, 1e-2, 1e3, "logits: both are divided by it");
  keys.number("squarehead", squarehead, 0, 1e6,
              "weight of the normalised squared distance of the layers' outputs");
}

void DistillOptions::check(Keys& keys) const {
  const DistillOptions standard;
  if (!enabled() && (task != standard.task || logits != standard.logits ||
                     temperature != standard.temperature || squarehead != standard.squarehead))
    keys.problem("teacher", "is missing though [distill] has other keys");
  if (enabled() && logits == 0 && squarehead == 0)
    keys.problem("teacher", "is not listened to: logits and squarehead are both 0");
}

void CheckpointOptions::bind(Keys& keys) {
  keys.integer("every", every, 0, kAny, "steps between checkpoints; 0 = at the end only");
  keys.integer("keep", keep, 1, 1000000, "how many of the newest checkpoints are kept");
}

void ExportOptions::bind(Keys& keys) {
  keys.text("format", format,
            "what training exports at its end, as `terse export --format`; empty = nothing");
  keys.text("path", path, "where to; empty = into the run's folder");
}

}  // namespace terse
