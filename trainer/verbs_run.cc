// The verbs that work on a finished run or an exported file: export, verify, eval, report.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "export/file_reader.h"
#include "export/formats.h"
#include "export/import.h"
#include "export/requantize.h"
#include "trainer/cli/lab_connection.h"
#include "trainer/cli/verbs.h"
#include "trainer/closing.h"
#include "trainer/data/tokenizer.h"
#include "trainer/engine_check.h"
#include "trainer/logits_probe.h"
#include "trainer/model/allocator.h"
#include "trainer/snapshot.h"
#include "trainer/telemetry/format.h"
#include "trainer/telemetry/report.h"

namespace terse {
namespace {

constexpr uint64_t kMostShard = INT64_MAX;

// As the file at `path` says that it was written: its own encoding, if it has one.
Artifact as_exported(Artifact trained, const std::string& path) {
  const FileReader& reader = reader_of(path);
  const std::string format =
      reader.metadata == nullptr ? "" : requantized_as(reader.metadata(path));
  return format.empty() ? std::move(trained)
                        : requantized(trained, format_row(resolve_format(format)));
}

std::string against_what(const Artifact& artifact) {
  const std::string format = requantized_as(artifact.metadata);
  return format.empty() ? "the run" : fmt::format("the run encoded anew as {}", format);
}

void print_verify_json(const VerifyResult& result, const std::optional<EngineCheck>& check) {
  std::string json = to_json(result);
  if (check) json.insert(json.size() - 1, fmt::format(",\"engine\":{}", to_json(*check)));
  fmt::print("{}\n", json);
}

void print_check(const EngineCheck& check, const EngineProgram& program) {
  fmt::print(
      "{}: perplexity {:.4f}, terse {:.4f} on {} tokens ({:+.2f} %, {:.0f} % allowed); logits "
      "{:.2f} % off the probe's ({:.0f} % allowed: {})\n",
      check.engine, check.perplexity, check.terse_perplexity, check.tokens,
      100 * (check.perplexity / check.terse_perplexity - 1), 100 * program.perplexity_tolerance,
      100 * check.probe_difference, 100 * program.probe_tolerance, program.because);
}

// For a probe: the run's own tokenizer, and its text where that is still there.
DataFiles probe_text(const std::string& run, const Recipe& recipe) {
  if (recipe.model.images()) return {};
  const Tokenizer tokenizer = Tokenizer::load(tokenizer_path(run));
  return {"", recipe.data.dir + "/valid.bin", tokenizer.vocab(), std::max(tokenizer.bos(), 0),
          std::nullopt};
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
  const auto model = model_of(served.artifact, compute);
  const auto valid = data.validation(served.artifact.shape.context);
  const EvalRecord record = evaluate_record(*model, *valid, connection.group, arguments.windows);
  if (!connection.leader()) return 0;
  const int64_t act_bits = served.artifact.act_bits;
  if (!served.recipe && act_bits < 16 && !served.artifact.rounds_inputs())
    fmt::print(stderr,
               "terse: note: the run rounded activations to {} bits, of which this file does not "
               "say how; they are left as they are. `terse eval RUN` rounds them\n",
               act_bits);
  fmt::print("{}\n", common.json ? eval_json(record) : eval_text(record, data.valid));
  return 0;
}

int verb_export(const CommonArguments& common, const ExportArguments& arguments) {
  if (arguments.list) {
    fmt::print("{}\n", common.json ? export_list_json() : export_list_text());
    return 0;
  }
  tune_allocator();
  // Before any work: is there such a format, and can it hold this run exactly?
  const ExportFormat format = resolve_format(arguments.format);
  const FormatRow& row = format_row(format);
  const Recipe recipe = recipe_of(arguments.run);
  const Artifact trained = run_artifact(arguments.run, recipe, checkpoint_of(arguments.run, 0));
  const Artifact artifact = arguments.requantize ? requantized(trained, row) : trained;
  check_export(format, artifact);
  VerifiedExport record =
      export_and_verify(artifact, arguments.format, arguments.out,
                        static_cast<int64_t>(std::min(arguments.shard_bytes, kMostShard)));
  add_result(arguments.run, record);
  if (!requantized_as(artifact.metadata).empty())
    record.warnings.push_back(
        fmt::format("encoded anew as {}: the file is not what was trained", format.name()));
  const std::string probe = arguments.probe
                                ? write_probe_of(as_stored(artifact, row),
                                                 probe_text(arguments.run, recipe), arguments.out)
                                : "";
  for (const std::string& warning : record.warnings)
    fmt::print(stderr, "terse: warning: {}\n", warning);
  if (common.json)
    fmt::print(
        "{{\"path\": \"{}\", \"format\": \"{}\", \"bytes\": {}, \"fp16_bytes\": {}, "
        "\"bits_per_weight\": {:.4f}, \"tensors\": {}, \"requantized\": {}, \"probe\": \"{}\"}}\n",
        record.path, record.format, record.bytes, record.fp16_bytes, record.bits_per_weight,
        record.tensors, !requantized_as(artifact.metadata).empty(), probe);
  else
    fmt::print("{}: {} ({} as fp16), {:.2f} bits per weight, {} tensors equal to {} bit for bit\n",
               record.path, format_bytes(static_cast<double>(record.bytes)),
               format_bytes(static_cast<double>(record.fp16_bytes)), record.bits_per_weight,
               record.tensors_equal, against_what(artifact));
  return 0;
}

int verb_verify(const CommonArguments& common, const VerifyArguments& arguments) {
  tune_allocator();
  const EngineProgram* engine =
      arguments.engine.empty() ? nullptr : &engine_program(arguments.engine);
  const Recipe recipe = recipe_of(arguments.against);
  const Artifact artifact = as_exported(
      run_artifact(arguments.against, recipe, checkpoint_of(arguments.against, 0)), arguments.path);
  const VerifyResult result = verify_file(arguments.path, artifact);
  bool equal = result.different.empty() && result.tensors == result.equal;
  std::optional<EngineCheck> check;
  if (equal && engine != nullptr) {
    const DataFiles data =
        data_for(artifact, arguments.data.empty() ? recipe.data.dir : arguments.data);
    check = check_in_engine(*engine, arguments.path, read_artifact(arguments.path), data,
                            arguments.windows);
    equal = check->agrees;
  }
  if (common.json) {
    print_verify_json(result, check);
  } else {
    fmt::print("{} of {} tensors are equal to {} bit for bit\n", result.equal, result.tensors,
               against_what(artifact));
    for (const std::string& name : result.different) fmt::print("  different: {}\n", name);
    if (check) print_check(*check, *engine);
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
