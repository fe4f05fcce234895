// Schedules: pattern and strength of the mask as pure functions of the global step, so that a run
// that resumes at any step goes on as if it had never stopped.
//
// With t steps taken of T, d of them dense at the start and f fine at the end, L = T - d - f and
// u = t - d. d may be unknown at first (kUntilFrozen): then the stage is dense until whoever finds
// it sets it, and a checkpoint holds it for him:
//
//   t < d          dense        no mask
//   d <= t < T-f   progressive  as below
//   t >= T-f       fine         the final pattern, beta = 0
//
//   constant              the final pattern, beta = 0
//   mask_linear           beta = 1 - u (1 - beta_end) / L, or max(0, 1 - rate u)
//   mask_exponential      beta = beta_end^(u / L), or exp(-rate u)
//   structure_stepwise    floor(log2(M/N)) + 1 frames: M-1:M, M/2:M, M/4:M, ..., N:M
//   structure_geometric   4 frames: 8N:8M, 4N:4M, 2N:2M, N:M
//   gradual               share of zeros S (1 - (1 - u/L)^3)
//
// Mask decay and structure decay: "progressive gradient flow", Bambhaniya et al., arXiv 2402.04744;
// gradual: Zhu & Gupta, arXiv 1710.01878. The forward sees w (m + (1 - m) beta). Frames share L
// evenly: frame i begins floor(i L / frames) steps after d. Differences from the paper's code:
// a stepwise schedule always ends at N:M, also where M/N is no power of two; t = T-f is fine
// already. Free of torch.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "sparsity/pattern.h"

namespace terse {

// In place of a number of steps: as evaluation, checkpoints and export see the weight.
inline constexpr int64_t kServed = -1;
// In place of the number of dense steps: not known yet.
inline constexpr int64_t kUntilFrozen = -1;

enum class Stage : uint8_t { dense, progressive, fine };
const char* stage_name(Stage stage);

struct MaskState {
  Stage stage = Stage::fine;
  bool masked = true;  // false: dense, the rest means nothing
  Pattern pattern;     // of this step
  double beta = 0.0;   // what pruned weights are multiplied with
  bool operator==(const MaskState&) const = default;
};

struct MaskSchedule {
  enum class Kind : uint8_t {
    constant,
    mask_linear,
    mask_exponential,
    structure_stepwise,
    structure_geometric,
    gradual
  };
  Kind kind = Kind::constant;
  Pattern pattern;         // the final one
  int64_t steps = 0;       // T
  int64_t dense = 0;       // d, or kUntilFrozen
  int64_t fine = 0;        // f
  double beta_end = 1e-3;  // beta at the end of the progressive stage
  double rate = 0.0;       // decay a step instead of beta_end; 0 = beta_end
  int64_t columns = 0;     // of the layer: structure_geometric skips frames whose M does not divide
                           // them; 0 = all divide

  // `taken`: steps taken so far, 0 for the first forward; or kServed.
  MaskState at(int64_t taken) const;
  MaskState served() const { return {Stage::fine, true, pattern, 0.0}; }
  // The frames of a structure decay, in order.
  std::vector<Pattern> frames() const;
};

// The recipe's names: "constant", "mask_linear", ...
std::vector<std::string> schedule_names();
MaskSchedule::Kind parse_schedule(const std::string& name);  // Error(usage) with the names
const char* schedule_name(MaskSchedule::Kind kind);

}  // namespace terse
