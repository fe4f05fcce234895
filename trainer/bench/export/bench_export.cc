#include "trainer/bench/export/bench_export.h"

#include <omp.h>
#include <stdlib.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <utility>

#include "base/error.h"
#include "export/formats.h"
#include "export/import.h"
#include "qat/targets.h"
#include "trainer/bench/core/pairs.h"
#include "trainer/bench/export/peak_memory.h"
#include "trainer/bench/export/plain_copy.h"
#include "trainer/bench/export/synthetic_run.h"
#include "trainer/model/allocator.h"
#include "trainer/snapshot.h"

namespace terse {
namespace {

constexpr int kRounds = 5;
constexpr int64_t kAllowance = 200'000'000;  // beside the largest tensor

struct Case {
  const char* target;  // whose grid the checkpoint's Codes have; "" = dense
  const char* format;
};
// Those of one target stand together: they share a checkpoint.
constexpr Case kCases[] = {
    {"gguf:q4_0", "gguf:q4_0"},
    {"gguf:q4_0", "onnx:int4"},
    {"gguf:q4_0", "archive"},
    {"gguf:q8_0", "gguf:q8_0"},
    {"", "gguf:bf16"},
    {"", "hf"},
    {"compressed-tensors:w4a16", "compressed-tensors:w4a16"},
};

class OwnFolder {
 public:
  explicit OwnFolder(const std::string& parent) {
    const std::string in =
        parent.empty() ? std::filesystem::temp_directory_path().string() : parent;
    path_ = in + "/terse-bench-XXXXXX";
    if (::mkdtemp(path_.data()) == nullptr)
      fail(ExitCode::usage, "{}: no folder can be made in it: {}; choose another with --folder", in,
           std::strerror(errno));
  }
  ~OwnFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  OwnFolder(const OwnFolder&) = delete;
  OwnFolder& operator=(const OwnFolder&) = delete;
  std::string operator/(const char* name) const { return fmt::format("{}/{}", path_, name); }

 private:
  std::string path_;
};

// Llama 3.2 1B's sizes with a smaller vocabulary.
LlamaShape shape_of_bench(const BenchExportOptions& options) {
  if (options.shape) return *options.shape;
  LlamaShape s{.layers = 16,
               .width = 2048,
               .heads = 32,
               .kv_heads = 8,
               .hidden = 8192,
               .context = 2048,
               .vocab = 32000,
               .tie = true};
  if (!options.quick) return s;
  s.layers = 4, s.width = 512, s.heads = 8, s.kv_heads = 2, s.hidden = 2048, s.vocab = 8192;
  return s;
}

// As whoever runs the model would need it.
void import_all(const std::string& path) {
  const Artifact artifact = read_artifact(path);
  for (const ArtifactWeight& weight : artifact.weights) {
    if (weight.compressed())
      weight.codes();
    else
      dense_bytes(weight);
  }
}

double rate(int64_t bytes, double seconds) {
  return static_cast<double>(bytes) / seconds;
}

int64_t file_bytes(const std::string& path) {
  namespace fs = std::filesystem;
  if (!fs::is_directory(path)) return static_cast<int64_t>(fs::file_size(path));
  int64_t all = 0;
  for (const auto& entry : fs::recursive_directory_iterator(path))
    if (entry.is_regular_file()) all += static_cast<int64_t>(entry.file_size());
  return all;
}

struct Seconds {
  double open = 0, write = 0, read = 0, copy = 0;
};

class Bench {
 public:
  explicit Bench(const BenchExportOptions& options)
      : shape_(shape_of_bench(options)),
        folder_(options.folder),
        fs_(unsynced_file_system()),
        limit_(static_cast<double>(largest_tensor(shape_) + kAllowance)) {}

  // Writes a checkpoint, unless the one that is there has this target.
  void use_target(const std::string& target) {
    if (target_ == target) return;
    FileSystem::real().remove_all(run_);  // before the next: two may not fit
    const Target* found = find_target(target);
    TERSE_CHECK(target.empty() || found != nullptr, "{}", target);
    write_synthetic_run(run_, shape_,
                        found == nullptr ? std::nullopt : std::optional(found->grid->format));
    target_ = target;
    opened_ = false;
  }

  void measure(const std::string& format) {
    format_ = resolve_format(format);
    watch_memory();
    check();
    std::vector<Seconds> rounds;
    for (int round = 0; round < kRounds; ++round) rounds.push_back(take_turns());
    add_rates(rounds);
    fs_->remove_all(out_);
  }

  std::vector<BenchResult> take() { return std::move(results_); }

 private:
  Artifact open() const {
    return artifact_of(open_synthetic_run(run_), shape_, QatOptions(), at::kBFloat16);
  }
  void write(const Artifact& artifact) { export_artifact(*fs_, artifact, format_, out_); }

  void watch_memory() {
    add_memory("export", peak_memory([this] { write(open()); }));
    add_memory("import", peak_memory([this] { import_all(out_); }));
  }

  // Rubbish is written quickly.
  void check() const {
    const VerifyResult result = verify_file(out_, open());
    TERSE_CHECK(result.different.empty() && result.equal == result.tensors, "{}: {} of {} equal",
                format_.name(), result.equal, result.tensors);
  }

  Seconds take_turns() {
    Seconds s;
    fs_->remove_all(out_);
    {
      Artifact artifact;
      s.open = wall_seconds([&] { artifact = open(); });
      s.write = wall_seconds([&] { write(artifact); });
    }
    s.read = wall_seconds([this] { import_all(out_); });
    s.copy = wall_seconds([this] { copy_plainly(out_, copy_); });
    fs_->remove_all(copy_);  // what the kernel has not written yet, it need not write
    return s;
  }

  template <typename Time>
  void add_rate(const std::string& name, const char* baseline, int64_t bytes,
                const std::vector<Seconds>& rounds, const Time& time_of) {
    const int64_t copied = file_bytes(out_);
    std::vector<double> rates, ratios;
    for (const Seconds& s : rounds) {
      rates.push_back(rate(bytes, time_of(s)));
      ratios.push_back(rates.back() / rate(copied, s.copy));
    }
    results_.push_back({name, median(rates) * 1e-9, "GB/s", baseline, median(ratios), false});
  }

  void add_rates(const std::vector<Seconds>& rounds) {
    const std::string name = format_.name();
    const int64_t written = file_bytes(out_), needed = checkpoint_bytes_of(open());
    const auto write_time = [](const Seconds& s) { return s.write; };
    add_rate("export." + name, "cp of the output", written, rounds, write_time);
    add_rate("export_input." + name, "cp of the input", needed, rounds, write_time);
    add_rate("import." + name, "cp of the file", written, rounds,
             [](const Seconds& s) { return s.read; });
    if (std::exchange(opened_, true)) return;
    add_rate("open." + (target_->empty() ? "dense" : *target_), "cp of the input", file_bytes(run_),
             rounds, [](const Seconds& s) { return s.open; });
  }

  void add_memory(const char* what, const PeakMemory& peak) {
    const auto add = [&](const char* kind, int64_t bytes) {
      const auto all = static_cast<double>(bytes);
      results_.push_back({fmt::format("{}.{}.{}", kind, what, format_.name()), all * 1e-6, "MB",
                          "largest tensor + 200 MB", all / limit_, true});
    };
    add("memory", peak.resident);
    add("anonymous", peak.anonymous);
  }

  const LlamaShape shape_;
  const OwnFolder folder_;
  const std::unique_ptr<FileSystem> fs_;
  const double limit_;
  const std::string run_ = folder_ / "run", out_ = folder_ / "out", copy_ = folder_ / "copy";
  std::optional<std::string> target_;  // of the checkpoint
  bool opened_ = false;                // the checkpoint's own row is there
  ExportFormat format_;
  std::vector<BenchResult> results_;
};

}  // namespace

std::vector<BenchResult> bench_export(const BenchExportOptions& options) {
  tune_allocator();  // as `terse export` does
  omp_set_num_threads(options.threads);
  Bench bench(options);
  for (const Case& one : kCases) {
    bench.use_target(one.target);
    bench.measure(one.format);
  }
  return bench.take();
}

}  // namespace terse
