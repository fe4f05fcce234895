// The verbs that work on a finished run or an exported file: export, verify, eval, report.
#include <fmt/format.h>

#include "base/error.h"
#include "export/formats.h"
#include "export/import.h"
#include "trainer/cli/lab_connection.h"
#include "trainer/cli/verbs.h"
#include "trainer/closing.h"
#include "trainer/model/allocator.h"
#include "trainer/snapshot.h"
#include "trainer/telemetry/format.h"
#include "trainer/telemetry/report.h"

namespace terse {
namespace {

constexpr uint64_t kMostShard = INT64_MAX;

Artifact artifact_of_run(const std::string& run) {
  return run_artifact(run, recipe_of(run), checkpoint_of(run, 0));
}

// Where to evaluate, if the user does not say it.
std::string data_folder(const EvalArguments& arguments, const Served& served) {
  if (!arguments.data.empty()) return arguments.data;
  if (served.recipe) return served.recipe->data.dir;
  fail(ExitCode::usage, "{} is a file: say with --data which prepared folder to evaluate it on",
       arguments.path);
}

DataFiles data_for(const Artifact& artifact, const std::string& folder) {
  if (artifact.vit) return image_files(folder);
  const DataFiles data = text_files(folder);
  if (data.vocab != artifact.shape.vocab)
    fail(ExitCode::usage,
         "the data in {} has a vocabulary of {} pieces, the model {}; use the folder "
         "that it was trained on",
         folder, data.vocab, artifact.shape.vocab);
  return data;
}

std::string eval_json(const EvalRecord& r) {
  const std::string accuracy =
      r.accuracy < 0 ? "" : fmt::format(", \"accuracy\": {:.9g}", r.accuracy);
  return fmt::format("{{\"loss\": {:.9g}, \"perplexity\": {:.9g}, \"tokens\": {}{}}}", r.loss,
                     r.perplexity, r.tokens, accuracy);
}

std::string eval_text(const EvalRecord& r, const std::string& valid) {
  if (r.accuracy >= 0)
    return fmt::format("loss {:.4f}, accuracy {} on {} images of {} ({})", r.loss,
                       format_accuracy(r.accuracy), r.tokens, valid, format_seconds(r.seconds));
  return fmt::format("loss {:.4f}, perplexity {:.3f} on {} tokens of {} ({})", r.loss, r.perplexity,
                     r.tokens, valid, format_seconds(r.seconds));
}

void set_type(ComputeOptions& compute, const std::string& name) {
  if (!name.empty()) compute.type = name == "fp32" ? at::kFloat : at::kBFloat16;
}

}  // namespace

int verb_eval(const CommonArguments& common, const EvalArguments& arguments) {
  tune_allocator();
  // A run, wherever it was trained, on the GPU if there is one; a file as its readers do.
  Connection connection = connect_lab(common, is_run(arguments.path) ? "auto" : "cpu");
  const Served served = served_by(arguments.path);
  const DataFiles data = data_for(served.artifact, data_folder(arguments, served));
  ComputeOptions compute =
      served.recipe ? compute_options(served.recipe->train, connection.device) : ComputeOptions();
  set_type(compute, arguments.compute);
  const auto model = model_of(served.artifact, served.qat, compute);
  const auto valid = data.validation(served.artifact.shape.context);
  const EvalRecord record = evaluate_record(*model, *valid, connection.group, arguments.windows);
  if (!connection.leader()) return 0;
  const int64_t act_bits = served.artifact.act_bits;
  if (!served.recipe && act_bits < 16)
    fmt::print(
        stderr,
        "terse: note: the run rounded activations to {} bits; a file is evaluated as engines "
        "read it, without. `terse eval RUN` rounds them\n",
        act_bits);
  fmt::print("{}\n", common.json ? eval_json(record) : eval_text(record, data.valid));
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
