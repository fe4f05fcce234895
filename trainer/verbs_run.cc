// The verbs that work on a finished run or an exported file: export, verify, eval, report.
#include <fmt/format.h>

#include "base/error.h"
#include "export/formats.h"
#include "export/import.h"
#include "trainer/cli/lab_connection.h"
#include "trainer/cli/verbs.h"
#include "trainer/closing.h"
#include "trainer/data/tokenizer.h"
#include "trainer/model/allocator.h"
#include "trainer/snapshot.h"
#include "trainer/telemetry/format.h"
#include "trainer/telemetry/report.h"

namespace terse {
namespace {

constexpr uint64_t kMostShard = INT64_MAX;

DataFiles data_files(const std::string& folder) {
  const Tokenizer tokenizer = Tokenizer::load(folder + "/tokenizer.model");
  return {folder + "/train.bin", folder + "/valid.bin", tokenizer.vocab(),
          std::max(tokenizer.bos(), 0)};
}

Artifact artifact_of_run(const std::string& run) {
  return run_artifact(run, recipe_of(run), checkpoint_of(run, 0));
}

// A file's weights, or a run's final Codes, and how the run's forward treats activations.
struct Loaded {
  Artifact artifact;
  QatOptions qat;
  ComputeOptions compute;
  std::string data;
  int64_t ignored_act_bits = 16;  // of a file: what training rounded activations to
};

Loaded load(const EvalArguments& arguments, at::Device device) {
  Loaded loaded;
  loaded.data = arguments.data;
  if (!is_run(arguments.path)) {
    if (arguments.data.empty())
      fail(ExitCode::usage, "{} is a file: say with --data which prepared folder to evaluate it on",
           arguments.path);
    loaded.artifact = read_artifact(arguments.path);
    loaded.ignored_act_bits = loaded.artifact.act_bits;
    return loaded;
  }
  const Recipe recipe = recipe_of(arguments.path);
  loaded.artifact = run_artifact(arguments.path, recipe, checkpoint_of(arguments.path, 0));
  loaded.qat = recipe.qat;
  loaded.compute = compute_options(recipe.train, device);
  if (loaded.data.empty()) loaded.data = recipe.data.dir;
  return loaded;
}

void set_type(ComputeOptions& compute, const std::string& name) {
  if (!name.empty()) compute.type = name == "fp32" ? at::kFloat : at::kBFloat16;
}

}  // namespace

int verb_eval(const CommonArguments& common, const EvalArguments& arguments) {
  tune_allocator();
  // A run, wherever it was trained, on the GPU if there is one; a file as its readers do.
  Connection connection = connect_lab(common, is_run(arguments.path) ? "auto" : "cpu");
  Loaded loaded = load(arguments, connection.device);
  set_type(loaded.compute, arguments.compute);
  const DataFiles data = data_files(loaded.data);
  if (data.vocab != loaded.artifact.shape.vocab)
    fail(ExitCode::usage,
         "the data in {} has a vocabulary of {} pieces, the model {}; use the folder "
         "that it was trained on",
         loaded.data, data.vocab, loaded.artifact.shape.vocab);
  const auto model = model_of(loaded.artifact, loaded.qat, loaded.compute);
  const TokenShard valid(data.valid);
  const EvalRecord record =
      evaluate_record(*model, valid, connection.group, arguments.windows, data.begin);
  if (!connection.leader()) return 0;
  if (loaded.ignored_act_bits < 16)
    fmt::print(
        stderr,
        "terse: note: the run rounded activations to {} bits; a file is evaluated as engines "
        "read it, without. `terse eval RUN` rounds them\n",
        loaded.ignored_act_bits);
  if (common.json)
    fmt::print("{{\"loss\": {:.9g}, \"perplexity\": {:.9g}, \"tokens\": {}}}\n", record.loss,
               record.perplexity, record.tokens);
  else
    fmt::print("loss {:.4f}, perplexity {:.3f} on {} tokens of {} ({})\n", record.loss,
               record.perplexity, record.tokens, data.valid, format_seconds(record.seconds));
  return 0;
}

int verb_export(const CommonArguments& common, const ExportArguments& arguments) {
  if (arguments.list) {
    fmt::print("{}\n", common.json ? export_list_json() : export_list_text());
    return 0;
  }
  // Before any work: is there such a format, and can it hold this run exactly?
  const ExportFormat format = resolve_format(arguments.format);
  const Artifact artifact = artifact_of_run(arguments.run);
  check_export(format, artifact);
  const VerifiedExport record =
      export_and_verify(artifact, arguments.format, arguments.out,
                        static_cast<int64_t>(std::min(arguments.shard_bytes, kMostShard)));
  add_result(arguments.run, record);
  for (const std::string& warning : record.warnings)
    fmt::print(stderr, "terse: warning: {}\n", warning);
  if (common.json)
    fmt::print(
        "{{\"path\": \"{}\", \"format\": \"{}\", \"bytes\": {}, \"fp16_bytes\": {}, "
        "\"bits_per_weight\": {:.4f}, \"tensors\": {}}}\n",
        record.path, record.format, record.bytes, record.fp16_bytes, record.bits_per_weight,
        record.tensors);
  else
    fmt::print(
        "{}: {} ({} as fp16), {:.2f} bits per weight, {} tensors equal to the run bit for bit\n",
        record.path, format_bytes(static_cast<double>(record.bytes)),
        format_bytes(static_cast<double>(record.fp16_bytes)), record.bits_per_weight,
        record.tensors_equal);
  return 0;
}

int verb_verify(const CommonArguments& common, const VerifyArguments& arguments) {
  const VerifyResult result = verify_file(arguments.path, artifact_of_run(arguments.against));
  const bool equal = result.different.empty() && result.tensors == result.equal;
  if (common.json) {
    fmt::print("{}\n", to_json(result));
  } else {
    fmt::print("{} of {} tensors are equal to {} bit for bit\n", result.equal, result.tensors,
               arguments.against);
    for (const std::string& name : result.different) fmt::print("  different: {}\n", name);
  }
  return equal ? 0 : static_cast<int>(ExitCode::invalid_file);
}

int verb_report(const CommonArguments& common, const ReportArguments& arguments) {
  const RunFiles files{arguments.run};
  const std::string out = arguments.out.empty() ? files.report() : arguments.out;
  write_atomically(FileSystem::real(), out, render_report(files));
  if (common.json)
    fmt::print("{{\"report\": \"{}\"}}\n", out);
  else
    fmt::print("{}\n", out);
  return 0;
}

}  // namespace terse
