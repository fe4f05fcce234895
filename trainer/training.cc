#include "trainer/training.h"
#include "qat/plan.h"

#include <fmt/format.h>

#include <memory>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/isa.h"
#include "launch/doctor.h"
#include "trainer/cli/signals.h"
#include "trainer/closing.h"
#include "trainer/model/allocator.h"
#include "trainer/run_directory.h"
#include "trainer/session.h"
#include "trainer/telemetry/format.h"
#include "trainer/telemetry/telemetry.h"

namespace terse {
namespace {

class Job {
 public:
  Job(const TrainingOptions& options, Recipe recipe);
  TrainingResult run();

 private:
  DataFiles prepare();
  void open_run();
  void read_replayed();
  std::shared_ptr<Checkpoint> find_checkpoint();
  void resume(Session& session, const Checkpoint& checkpoint);
  void print_start(const Session& session, const std::vector<std::string>& bindings);
  void print_remarks(Session& session);
  bool steps(Session& session);
  void report_step(const StepRecord& record, int64_t missing, const std::string& phase_reason);
  void evaluate(Session& session);
  bool save(Session& session, bool final_one);
  void check_peers();
  bool stop_agreed();
  void stop_where_asked();
  void check_compressed(const Session& session) const;
  bool close(Session& session);
  void closing_work(Session& session);

  const TrainingOptions& options_;
  Recipe recipe_;
  Connection connection_;
  ComputeOptions compute_;
  DataFiles data_;
  std::string run_;
  std::optional<Telemetry> telemetry_;  // rank 0 only
  std::string phase_;
  int64_t saved_step_ = -1;
  int64_t first_step_ = 0;  // where this process began
};

ConnectOptions connect_options(const TrainingOptions& options, const Recipe& recipe) {
  ConnectOptions connect;
  connect.flags = options.flags;
  connect.backend = options.backend;
  connect.bind = options.bind;
  connect.timeout_s = recipe.exchange.timeout_s;
  connect.threads = options.threads > 0 ? options.threads : recipe.train.threads;
  connect.device = recipe.train.device;
  return connect;
}

Job::Job(const TrainingOptions& options, Recipe recipe)
    : options_(options),
      recipe_(std::move(recipe)),
      connection_(connect(connect_options(options, recipe_))),
      compute_(compute_options(recipe_.train, connection_.device)) {
  require_same(connection_.group, recipe_.hash(), "recipe");
  const int64_t targets = recipe_.model.targets();
  const int64_t examples = recipe_.train.examples(targets);
  const int64_t ranks = connection_.group.size();
  if (examples % ranks != 0)
    fail(ExitCode::usage,
         "[train] batch_tokens = {} is {} examples of {} tokens, which {} ranks cannot share "
         "evenly; choose a multiple of {}",
         recipe_.train.batch_tokens, examples, targets, ranks, ranks * targets);
  const int64_t micro = recipe_.train.micro_examples(targets, ranks);
  if (micro < 1 || (examples / ranks) % micro != 0)
    fail(ExitCode::usage,
         "[train] micro_tokens = {} is {} examples, which do not divide a rank's share of {}",
         recipe_.train.micro_tokens, micro, examples / ranks);
}

[[noreturn]] void stop_before_training() {
  fail(ExitCode::preempted,
       "asked to stop before the first step: no step was taken and nothing was saved; start again "
       "with the same command");
}

// Rank 0 makes the tokenizer and the shards if they are not there; the others wait.
DataFiles Job::prepare() {
  on_leader(connection_.group, [&]() -> std::string {
    const auto between = [] {
      if (stop_requested()) stop_before_training();
    };
    prepare_text(recipe_, between, options_.print);
    return "";
  });
  if (stop_agreed()) stop_before_training();
  return files_of(recipe_);
}

void Job::open_run() {
  run_ = on_leader(connection_.group, [&]() -> std::string {
    FileSystem& fs = FileSystem::real();
    if (!options_.resume.empty()) {
      remove_unfinished_checkpoints(fs, options_.resume);
      return options_.resume;
    }
    const std::string run = create_run(options_.out, options_.recipe);
    const RunFiles files{run};
    write_atomically(fs, files.recipe(), recipe_.resolved());
    if (!data_.image)
      write_atomically(fs, tokenizer_path(run), read_text(recipe_.data.dir + "/tokenizer.model"));
    write_atomically(fs, files.environment(),
                     render_json(examine(current_environment(), options_.flags)));
    return run;
  });
}

std::shared_ptr<Checkpoint> Job::find_checkpoint() {
  if (options_.resume.empty()) return nullptr;
  std::vector<std::string> rejected;
  auto checkpoint = checkpoint_of(run_, connection_.group.rank(), &rejected);
  require_same(connection_.group, static_cast<uint64_t>(checkpoint->step()), "newest checkpoint");
  if (connection_.leader())
    for (const std::string& why : rejected)
      options_.print(fmt::format("checkpoint   skipped {}\n", why));
  return checkpoint;
}

// With --set the run goes on by another recipe, and so must whoever resumes it next; not before the
// checkpoint was found to fit it.
void Job::resume(Session& session, const Checkpoint& checkpoint) {
  session.load(checkpoint);
  saved_step_ = first_step_ = session.step();
  on_leader(connection_.group, [&]() -> std::string {
    write_atomically(FileSystem::real(), RunFiles{run_}.recipe(), recipe_.resolved());
    return "";
  });
}

// [exchange] replay: what rank 0 of that run decided about exchanges. All else that runs decide
// follows from the same numbers.
void Job::read_replayed() {
  const std::string& replay = recipe_.exchange.replay;
  if (replay.empty()) return;
  on_leader(connection_.group, [&]() -> std::string {
    for (const Record& record : parse_records(read_text(RunFiles{replay}.decisions())))
      if (const auto* d = std::get_if<DecisionRecord>(&record);
          d != nullptr && d->what == (recipe_.exchange.codec == "lgreco" ? "lgreco" : "exchange"))
        recipe_.exchange.replayed.emplace_back(d->step, d->value);
    return "";
  });
}

void Job::print_start(const Session& session, const std::vector<std::string>& bindings) {
  const QatOptions& q = recipe_.qat;
  int64_t parameters = 0;
  for (const auto& bucket : session.reducer().plan().buckets) parameters += bucket.size;
  std::vector<Row> rows = {
      {"run", run_},
      {"ranks",
       fmt::format("{} ({}, {})", connection_.group.size(),
                   launcher_name(connection_.world.launcher), connection_.group.backend())},
      {"model", fmt::format("{}, {} parameters", describe(shape_of(recipe_.model, data_)),
                            format_count(static_cast<double>(parameters)))},
      {"weights", q.enabled() ? q.target : std::string("not quantized")},
      {"sparsity", recipe_.sparsity.enabled()
                       ? fmt::format("{}, {}, {}", recipe_.sparsity.pattern,
                                     recipe_.sparsity.schedule, recipe_.sparsity.estimator)
                       : std::string("none")},
      {"compute",
       fmt::format("{} on {} ({})", recipe_.train.compute, compute_.device.str(), isa_name(isa()))},
      {"optimizer", recipe_.optim.name},
      {"exchange", fmt::format("{}, {} buckets", recipe_.exchange.codec,
                               session.reducer().plan().buckets.size())},
      {"steps", fmt::format("{} of {} {}", recipe_.train.steps, recipe_.train.batch_tokens,
                            data_.image ? "images" : "tokens")}};
  if (recipe_.distill.enabled()) rows.push_back({"teacher", recipe_.distill.teacher});
  std::vector<Row> binding;
  for (const std::string& line : job_binding(bindings))
    binding.push_back({binding.empty() ? "binding" : "", line});
  rows.insert(rows.begin() + 2, binding.begin(), binding.end());
  const std::string title = options_.resume.empty() ? "terse train" : "terse resume";
  options_.print(render_table(title, rows, options_.progress.colour));
}

// Where a layer could not be rotated as the recipe has it.
void Job::print_remarks(Session& session) {
  for (QuantizedLinear* linear : session.model().linears()) {
    const LayerPlan plan = plan_layer(recipe_.qat, linear->name(), linear->weight().size(1));
    if (!plan.remark.empty()) options_.print(fmt::format("note: {}\n", plan.remark));
  }
}

void Job::report_step(const StepRecord& record, int64_t missing, const std::string& phase_reason) {
  if (!telemetry_) return;
  telemetry_->step(record);
  // Local steps and their meetings are one phase; step by step, metrics.jsonl has them.
  const bool meeting = phase_ == "skip" && record.phase == "codec";
  if (record.phase != phase_ && !phase_.empty() && !meeting)
    telemetry_->decision(
        {record.step, "phase", record.phase,
         fmt::format("the exchange changed from {} to {}{}{}", phase_, record.phase,
                     phase_reason.empty() ? "" : ": ", phase_reason)});
  if (!meeting) phase_ = record.phase;
  if (missing > 0)
    telemetry_->note(
        fmt::format("step {}: {} gradients of local steps since the last exchange were not finite; "
                    "momentum went on without them",
                    record.step, missing));
  if (record.skipped)
    telemetry_->note(
        fmt::format("step {}: skipped by all ranks: rank {} had a gradient that is not "
                    "finite; nothing was changed",
                    record.step, record.bad_rank));
}

void Job::evaluate(Session& session) {
  const EvalRecord record = session.evaluate_now(recipe_.train.eval_windows);
  if (telemetry_) telemetry_->eval(record);
}

// If a peer is dead, the signal was the launcher clearing up: that is the thing to report.
void Job::check_peers() {
  const auto dead = connection_.group.dead_peers(std::chrono::seconds(5));
  if (dead.empty()) return;
  if (run_.empty()) fail(ExitCode::peer_lost, "rank {} died", dead.front());
  fail(ExitCode::peer_lost, "rank {} died; resume with: terse resume {}", dead.front(), run_);
}

// Outside the steps, whose vote carries the wish: all ranks stop together, whoever got the signal.
bool Job::stop_agreed() {
  const uint8_t mine = stop_requested() ? 1 : 0;
  if (mine != 0) check_peers();
  for (uint8_t wish : connection_.group.all_gather_value(mine, "stop?"))
    if (wish != 0) return true;
  return false;
}

// For the closing work, which starts from the saved final checkpoint and can be done again.
void Job::stop_where_asked() {
  if (stop_agreed()) fail(ExitCode::preempted, "asked to stop in the closing work");
}

// A failed save in the middle of a run is reported and tried again at the next; the last one
// counts.
bool Job::save(Session& session, bool final_one) {
  if (saved_step_ == session.step()) return true;
  Group group = connection_.group;
  CheckpointWriter writer(
      session.disk(), run_, session.step(), group.rank(),
      [&group](const CheckpointPart& part) { return group.all_gather_value(part, "checkpoint"); });
  session.save(writer);
  if (telemetry_) telemetry_->sync();
  try {
    writer.commit(recipe_.checkpoint.keep);
  } catch (const Error& error) {
    if (final_one || error.code() != ExitCode::invalid_file) throw;
    if (telemetry_) telemetry_->note(fmt::format("warning: {}; going on without it", error.what()));
    return false;
  }
  saved_step_ = session.step();
  return true;
}

// True if all steps were taken; false if asked to stop. Evaluations, checkpoints and stops wait
// until all ranks have the same weights; should the last step have been skipped by all after local
// steps, a further one follows.
bool Job::steps(Session& session) {
  bool evaluation_due = false, checkpoint_due = false;
  const auto due = [&](int64_t every) { return every > 0 && session.step() % every == 0; };
  while (session.step() < recipe_.train.steps || !session.in_sync()) {
    const bool asked = stop_requested();
    const StepRecord record = session.train_step(asked);
    report_step(record, session.missing(), session.reducer().phase_reason());
    for (const ExchangeDecision& d : session.take_decisions())
      if (telemetry_) telemetry_->decision({session.step() + 1, d.what, d.value, d.reason});
    evaluation_due = evaluation_due || due(recipe_.train.eval_every);
    checkpoint_due = checkpoint_due || due(recipe_.checkpoint.every);
    if (!session.in_sync()) continue;
    const bool last = session.step() >= recipe_.train.steps;
    if (!last && std::exchange(evaluation_due, false)) evaluate(session);
    if (session.stop_agreed()) {
      if (asked) check_peers();
      session.check_replicas();
      save(session, true);
      return last;
    }
    if (!last && std::exchange(checkpoint_due, false)) {
      session.check_replicas();
      save(session, false);
    }
  }
  return true;
}

// A recipe that asks for compression and gets none is an error, not a silent fall-back.
void Job::check_compressed(const Session& session) const {
  // Under auto dense may win; decisions.jsonl says so.
  const bool asked = recipe_.exchange.compressed() && recipe_.exchange.codec != "auto";
  if (!asked || first_step_ == session.step()) return;
  if (session.reducer().encodes() > 0) return;
  fail(ExitCode::usage,
       "[exchange] codec = \"{}\", but none of the steps {} to {} was compressed; lower [optim] "
       "freeze "
       "or take more steps",
       recipe_.exchange.codec, first_step_ + 1, session.step());
}

// False if asked to stop before it was done; all of it can be done again from the final checkpoint.
bool Job::close(Session& session) {
  session.check_replicas();
  check_compressed(session);
  save(session, true);
  try {
    closing_work(session);
    return true;
  } catch (const Error& error) {
    if (error.code() != ExitCode::preempted) throw;
    return false;
  }
}

void Job::closing_work(Session& session) {
  const auto checkpoint = checkpoint_of(run_, connection_.group.rank());
  const Artifact artifact = run_artifact(run_, recipe_, checkpoint);
  EvalRecord record = closing_evaluation(artifact, recipe_, data_, connection_.group, compute_,
                                         [this] { stop_where_asked(); });
  record.step = session.step();
  stop_where_asked();
  if (telemetry_) telemetry_->eval(record);
  on_leader(connection_.group, [&]() -> std::string {
    add_result(run_, record);
    write_layers(FileSystem::real(), RunFiles{run_}.layers(), layer_records(artifact, *checkpoint));
    if (const auto exported = export_as_asked(run_, recipe_, artifact, data_))
      for (const std::string& line : exported->lines()) telemetry_->note(line);
    describe_run(run_, artifact, connection_.group.size());
    telemetry_->sync();
    write_report(run_);
    return "";
  });
}

TrainingResult Job::run() {
  if (connection_.leader())
    for (const std::string& line : recipe_.translations)
      options_.print(fmt::format("deepspeed    {}\n", line));
  data_ = prepare();
  open_run();
  const auto checkpoint = find_checkpoint();
  read_replayed();
  Session session(recipe_, connection_.group, data_, compute_.device, connection_.world.restart,
                  connection_.world.local_size);
  if (checkpoint) resume(session, *checkpoint);
  const auto bindings = all_gather_text(connection_.group, connection_.binding.text, "binding");
  if (connection_.leader()) {
    print_start(session, bindings);
    print_remarks(session);
    ProgressOptions progress = options_.progress;
    progress.every = recipe_.train.log_every;
    telemetry_.emplace(FileSystem::real(), RunFiles{run_}, progress, recipe_.train.steps,
                       session.step(), options_.print);
    if (checkpoint) telemetry_->note(fmt::format("resumed from {}", checkpoint->folder()));
  }
  TrainingResult result;
  result.preempted = !steps(session) || !close(session);
  if (telemetry_) {
    result.summary = telemetry_->summary();
    result.summary.run = run_;
  }
  return result;
}

}  // namespace

TrainingResult train(const TrainingOptions& options) {
  tune_allocator();
  Recipe recipe = options.resume.empty()
                      ? load_recipe(options.recipe, options.sets, options.deepspeed)
                      : recipe_of(options.resume, options.sets);
  return Job(options, std::move(recipe)).run();
}

}  // namespace terse
