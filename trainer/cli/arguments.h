// What each verb of the command line was asked to do: plain structs, filled by parse.h.
#pragma once
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "launch/world.h"

namespace terse {

// Shared by all verbs.
struct CommonArguments {
  WorldFlags world;
  std::string backend = "auto";  // auto | gloo | mpi | nccl
  double timeout_s = 60;         // of verbs without a recipe
  int64_t threads = 0;           // of a rank; 0 = the cores it is bound to
  std::string bind = "auto";     // auto | none
  bool json = false;             // one JSON value on standard output, nothing else there
};

struct PrepareArguments {
  std::vector<std::string> texts;
  std::string out;
  int64_t vocab = 4096;
  double valid = 0.05;
  std::string tokenizer;  // "" = train one
};

struct TrainArguments {
  std::string recipe;
  std::string out;                // "" = a new folder under runs/
  std::string deepspeed;          // a DeepSpeed configuration over the recipe; "" = none
  std::string replay;             // a run whose decisions are repeated; "" = none
  std::vector<std::string> sets;  // "table.key=value"
};

struct ResumeArguments {
  std::string run;
  std::string replay;  // as TrainArguments
  std::vector<std::string> sets;
};

struct ExportArguments {
  bool list = false;  // print what can be exported instead
  std::string run;
  std::string format;  // "gguf", "gguf:q4_0", "hf", ...
  std::string out;
  uint64_t shard_bytes = 0;  // of one file of a folder; 0 = 5 GB
  bool requantize = false;   // encode anew what the format cannot hold exactly
  bool probe = true;         // write OUT.probe.safetensors
};

struct VerifyArguments {
  std::string path;
  std::string against;  // a run
  std::string engine;   // "llama.cpp"; "" = none is run
  std::string data;     // a data folder; "" = the run's own
  int64_t windows = 4;  // that the engine scores
};

struct EvalArguments {
  std::string path;     // a run or an exported file
  std::string data;     // a data folder; "" = the run's own
  int64_t windows = 0;  // 0 = all
  std::string compute;  // bf16 | fp32; "" = the run's own, bf16 of a file
};

struct ReportArguments {
  std::string run;
  std::string out;  // "" = RUN/report.html
};

struct InspectArguments {
  std::string path;
};

struct DoctorArguments {};

struct BenchArguments {
  std::string what;  // comm | exchange | export | quant | sparse | train
  bool quick = false;
  std::string folder;  // export: where its files go; "" = the folder for temporary files
};

struct PlanArguments {
  std::string recipe;
  std::vector<std::string> sets;
  int64_t ranks = 0;
  int64_t ranks_per_node = 1;
  std::string link;              // "1Gbit" (comm/plan/link.h)
  std::string latency = "50us";  // of a collective between two ranks
  double step_seconds = 0;       // of computing; 0 = measured
  bool quick = false;
};

// `terse lab`: one component on tensors from files. Paths may hold {rank}.
struct LabArguments {
  std::string what;       // exchange | encode | mask | optimize
  std::string name;       // the codec, target, pattern or optimizer
  std::string estimator;  // encode
  std::string schedule;   // mask; "" = constant
  int64_t step = -1;      // mask: steps taken so far; -1 = as served
  int64_t steps = 0;      // mask: of the run
  std::string in;
  std::string out;
  std::vector<std::string> sets;  // "key=value" of the component's recipe table
};

// Help, version, the recipe's manual: text for standard output, exit code 0.
struct HelpText {
  std::string text;
};
struct RecipeManual {};

using VerbArguments =
    std::variant<HelpText, RecipeManual, PrepareArguments, TrainArguments, ResumeArguments,
                 ExportArguments, VerifyArguments, EvalArguments, ReportArguments, InspectArguments,
                 DoctorArguments, BenchArguments, PlanArguments, LabArguments>;

struct Invocation {
  CommonArguments common;
  VerbArguments verb;
};

}  // namespace terse
