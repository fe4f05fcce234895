// What a run writes about itself while it trains: one record a step, an evaluation or a decision.
//
// metrics.jsonl holds StepRecords and EvalRecords in the order in which they happened, one JSON
// object a line, told apart by "kind". decisions.jsonl holds DecisionRecords. Times are seconds,
// sizes bytes. A number that is not finite is written as null and read back as NaN.
#pragma once
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace terse {

struct StepRecord {
  int64_t step = 0;  // 1-based, skipped ones included
  double loss = 0;   // mean over ranks, before the update; of local steps: rank 0's
  double learning_rate = 0;
  double gradient_norm = 0;
  double clip = 1;     // coefficient that the update was scaled by
  int64_t tokens = 0;  // of all ranks
  double tokens_per_second = 0;
  double seconds = 0;           // this step's wall time, evaluation and checkpoints excluded
  double exposed_seconds = 0;   // of these, waiting for communication after backward
  int64_t wire_bytes = 0;       // payload that this rank sent in this step
  int64_t dense_bytes = 0;      // what the fp32 exchange would have sent
  std::string phase = "dense";  // "dense", "codec" or "skip"
  // Of this rank's error feedback, 0 without: as of the latest step that is a multiple of ten, the
  // last one or the first compressed one of the process.
  double residual_norm = 0;
  bool skipped = false;    // some rank had a non-finite gradient: nothing changed
  int64_t bad_rank = -1;   // which, if skipped
  bool reencoded = false;  // the assumed clip coefficient was far off: encoded twice
  // Masks ([sparsity]); not written where nothing is masked. Layers whose inputs a frame does not
  // divide may be further than the pattern says: it is that of the first masked layer.
  std::string stage;        // of the forward: "dense", "progressive" or "fine"; "" = no masks
  std::string pattern;      // of the forward, "4:8"; "" in the dense stage
  double beta = 0;          // what it multiplied pruned weights with
  double mask_changed = 0;  // share of the masked elements that this update brought in or out
  bool operator==(const StepRecord&) const = default;
};

struct EvalRecord {
  int64_t step = 0;                                        // weights after this step
  double loss = std::numeric_limits<double>::quiet_NaN();  // mean negative log-likelihood, nats
  double perplexity = std::numeric_limits<double>::quiet_NaN();
  double accuracy = -1;  // of a classifier, 0 to 1; -1: none
  int64_t tokens = 0;    // of a classifier: images
  double seconds = 0;
  std::string name = "valid";  // which data
  bool operator==(const EvalRecord&) const = default;
};

// Whatever is decided while running (freeze, codec, allocation), with the first step it holds for.
struct DecisionRecord {
  int64_t step = 0;
  std::string what;    // "freeze", "codec", ...
  std::string value;   // the choice
  std::string reason;  // why, with the numbers it rests on
  bool operator==(const DecisionRecord&) const = default;
};

// One line of JSON without a newline.
std::string to_json(const StepRecord& record);
std::string to_json(const EvalRecord& record);
std::string to_json(const DecisionRecord& record);

// The record in a line; monostate if it is torn, not JSON, or of a kind not known here.
using Record = std::variant<std::monostate, StepRecord, EvalRecord, DecisionRecord>;
Record parse_record(std::string_view line);
// The records of a whole file in order, without torn and foreign lines.
std::vector<Record> parse_records(std::string_view text);
// Its step, or -1.
int64_t step_of(const Record& record);

}  // namespace terse
