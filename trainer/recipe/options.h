// The tables that belong to the trainer itself: [data], [train], [distill], [checkpoint], [export].
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/keys.h"

namespace terse {

struct DataOptions {
  std::vector<std::string> text;  // files to prepare when `dir` does not hold them yet
  std::string dir = "data/prepared";
  int64_t vocab = 4096;   // pieces of the tokenizer that is trained
  std::string tokenizer;  // a sentencepiece model to use instead
  double valid = 0.05;    // fraction of each text kept for validation
  void bind(Keys& keys);
  void check(Keys& keys) const;
};

struct TrainOptions {
  int64_t steps = 1000;
  int64_t batch_tokens = 4096;  // of all ranks together, a step
  int64_t micro_tokens = 0;     // of one rank's forward and backward; 0 = its whole share
  int64_t seed = 1;
  std::string device = "auto";   // auto | cpu | cuda
  std::string compute = "bf16";  // bf16 | fp32
  double clip = 1.0;             // largest global gradient norm; 0 = off
  bool clip_exact = false;
  bool recompute = false;
  int64_t threads = 0;        // of a rank; 0 = the cores it is bound to
  int64_t eval_every = 200;   // steps; 0 = at the end only
  int64_t eval_windows = 64;  // of an evaluation while training; 0 = all. The last one takes all
  int64_t log_every = 10;     // steps between plain progress lines
  int64_t max_skipped = 20;   // consecutive non-finite steps before the run stops with code 6
  void bind(Keys& keys);
  void check(Keys& keys) const;

  // Examples of `targets` tokens each (ModelOptions::targets): of the global batch, and of one
  // forward.
  int64_t examples(int64_t targets) const { return batch_tokens / targets; }
  int64_t micro_examples(int64_t targets, int64_t ranks) const;
};

// Distillation (trainer/teacher.h): loss = task * cross entropy + logits * KL + squarehead *
// SquareHead.
struct DistillOptions {
  std::string teacher;  // a run's folder or an exported file; "" = no distillation
  double task = 1.0;
  double logits = 1.0;
  double temperature = 1.0;
  double squarehead = 0.0;
  bool enabled() const { return !teacher.empty(); }
  void bind(Keys& keys);
  void check(Keys& keys) const;
};

struct CheckpointOptions {
  int64_t every = 200;  // steps; 0 = at the end only
  int64_t keep = 2;     // newest ones
  void bind(Keys& keys);
};

struct ExportOptions {
  std::string format;  // what the end of training exports, as `terse export --format`; "" = nothing
  std::string path;    // "" = model.gguf or the like inside the run
  void bind(Keys& keys);
};

}  // namespace terse
