#include "trainer/cli/parse.h"

#include <fmt/ranges.h>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <functional>
#include <map>

#include "base/error.h"
#include "base/keys.h"

namespace terse {
namespace {

constexpr const char* kVersion = "terse 0.1.0";

// One verb: its CLI11 subcommand and what to hand back when it was chosen.
struct Verb {
  CLI::App* app;
  std::function<VerbArguments()> result;
};

class Parser {
 public:
  Parser();
  Invocation parse(const std::vector<std::string>& arguments);

 private:
  // Adds a subcommand whose arguments live as long as the parser.
  template <typename Arguments>
  std::pair<CLI::App*, std::shared_ptr<Arguments>> verb(const std::string& name,
                                                        const std::string& summary,
                                                        const std::string& example);
  CLI::App* part(CLI::App* parent, const std::string& name, const std::string& summary,
                 const std::string& example);
  void add_common();
  void add_data_verbs();
  void add_training_verbs();
  void add_file_verbs();
  void add_machine_verbs();
  void add_lab();
  void add_lab_part(CLI::App* lab, const std::string& name, const std::string& option,
                    const std::string& what, const std::string& example);
  void add_plan();
  void add_bench();

  CLI::App* chosen() const;
  void refuse_unknown(const std::vector<std::string>& arguments) const;
  [[noreturn]] void explain(const std::vector<std::string>& arguments,
                            const std::string& error) const;

  CLI::App app_{
      "terse trains compressed models over slow networks and writes the files that "
      "inference engines read."};
  CommonArguments common_;
  bool version_ = false;
  bool manual_ = false;
  std::vector<Verb> verbs_;
};

template <typename Arguments>
std::pair<CLI::App*, std::shared_ptr<Arguments>> Parser::verb(const std::string& name,
                                                              const std::string& summary,
                                                              const std::string& example) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app = part(&app_, name, summary, example);
  verbs_.push_back({app, [arguments] { return *arguments; }});
  return {app, arguments};
}

CLI::App* Parser::part(CLI::App* parent, const std::string& name, const std::string& summary,
                       const std::string& example) {
  CLI::App* app = parent->add_subcommand(name, summary);
  app->footer("Example:\n  " + example +
              "\n\nCommon options (--json, --backend, ...): terse --help");
  app->fallthrough();  // common options may stand behind the verb
  return app;
}

void Parser::add_common() {
  CLI::Option_group* group = app_.add_option_group("Common options");
  WorldFlags& world = common_.world;
  group->add_option("--rank", world.rank, "this process's rank (with --world-size)");
  group->add_option("--world-size", world.world_size, "number of ranks");
  group->add_option("--local-rank", world.local_rank, "rank among those of this machine");
  group->add_option("--local-world-size", world.local_world_size, "ranks of this machine");
  group->add_option("--master-addr", world.master_addr, "host of rank 0");
  group->add_option("--master-port", world.master_port, "port of the store on that host");
  group->add_option("--backend", common_.backend, "auto, gloo, mpi or nccl")
      ->check(CLI::IsMember({"auto", "gloo", "mpi", "nccl"}));
  group
      ->add_option("--timeout", common_.timeout_s,
                   "seconds until a wait fails; with a recipe: [exchange] timeout_s")
      ->check(CLI::PositiveNumber);
  group->add_option("--threads", common_.threads, "threads of a rank; 0 = its cores")
      ->check(CLI::Range(0, 4096));
  group
      ->add_option("--bind", common_.bind,
                   "auto: a rank gets its share of the cores; none: it keeps what it was given")
      ->check(CLI::IsMember({"auto", "none"}));
  group->add_flag("--json", common_.json, "answer with one JSON value on standard output");
}

void Parser::add_data_verbs() {
  auto [app, a] =
      verb<PrepareArguments>("prepare", "trains or loads a tokenizer and writes token shards",
                             "terse prepare data/bible.txt --out data/bible --vocab 4096");
  app->add_option("text", a->texts, "UTF-8 text files")->required();
  app->add_option("--out", a->out, "folder for tokenizer and shards")->required();
  app->add_option("--vocab", a->vocab, "pieces of the tokenizer")
      ->check(CLI::Range(260, 1 << 20))
      ->capture_default_str();
  app->add_option("--valid", a->valid, "fraction of each text kept for validation")
      ->check(CLI::Range(1e-6, 0.5))
      ->capture_default_str();
  app->add_option("--tokenizer", a->tokenizer, "a sentencepiece model to use instead");
}

void Parser::add_training_verbs() {
  auto [train, t] = verb<TrainArguments>(
      "train", "trains a model; alone or under mpirun, torchrun, srun",
      "mpirun -n 2 --bind-to none terse train examples/quickstart.toml --set train.steps=100");
  CLI::Option* recipe = train->add_option("recipe", t->recipe, "TOML file")->required();
  train->add_option("--out", t->out, "folder of the run; default: a new one under runs/");
  train->add_option("--set", t->sets, "table.key=value: overrides the recipe (repeatable)")
      ->allow_extra_args(false);
  train->add_option(
      "--deepspeed", t->deepspeed,
      "a DeepSpeed configuration (JSON) over the recipe; each key is translated aloud");
  constexpr const char* replay =
      "a run: codec = \"auto\" and \"lgreco\" take that run's decisions, at the same steps";
  train->add_option("--replay", t->replay, replay);
  train
      ->add_flag_callback(
          "--help-recipe",
          [this, recipe] {
            manual_ = true;
            recipe->required(false);
          },
          "prints every table and key of a recipe")
      ->trigger_on_parse();

  auto [resume, r] =
      verb<ResumeArguments>("resume", "goes on from the newest sound checkpoint",
                            "mpirun -n 2 --bind-to none terse resume runs/quickstart-1");
  resume->add_option("run", r->run, "folder of the run")->required();
  resume->add_option("--set", r->sets, "table.key=value, e.g. train.steps=2000 to train longer")
      ->allow_extra_args(false);
  resume->add_option("--replay", r->replay, replay);
}

void Parser::add_plan() {
  auto [plan, p] = verb<PlanArguments>(
      "plan", "predicts memory, bytes and step time of every exchange on N ranks, and picks one",
      "terse plan examples/slow_link.toml --ranks 16 --link 1Gbit --latency 50us");
  plan->add_option("recipe", p->recipe, "TOML file")->required();
  plan->add_option("--ranks", p->ranks, "ranks of the job")
      ->required()
      ->check(CLI::Range(1, 1 << 20));
  plan->add_option("--link", p->link, "speed of a node's link: 100Mbit, 2.5Gbit, 10GB/s")
      ->required();
  plan->add_option("--latency", p->latency, "of a collective between two ranks")
      ->capture_default_str();
  plan->add_option("--ranks-per-node", p->ranks_per_node, "ranks that share a node's link")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  plan->add_option("--step-seconds", p->step_seconds,
                   "computing of a step; default: measured on this machine (see --threads)")
      ->check(CLI::PositiveNumber);
  plan->add_option("--set", p->sets, "table.key=value: overrides the recipe (repeatable)")
      ->allow_extra_args(false);
  plan->add_flag("--quick", p->quick, "fewer repetitions of what is measured");
}

void Parser::add_file_verbs() {
  auto [ex, e] =
      verb<ExportArguments>("export", "writes an engine format from a run's final checkpoint",
                            "terse export runs/quickstart-1 --format gguf --out model.gguf");
  CLI::Option* list = ex->add_flag("--list", e->list, "what can be exported to what, and why not");
  CLI::Option* run = ex->add_option("run", e->run, "folder of the run");
  CLI::Option* format =
      ex->add_option("--format", e->format, "family (gguf, hf, ...) or family:type (gguf:q4_0)");
  CLI::Option* out = ex->add_option("--out", e->out, "file or folder to write");
  CLI::Option* shard =
      ex->add_option("--shard-size", e->shard_bytes,
                     "most bytes of one file of a folder (hf, compressed-tensors): 5GB, 500MB, ...")
          ->transform(CLI::AsSizeValue(true))
          ->check(CLI::PositiveNumber);
  ex->add_flag("--requantize", e->requantize,
               "encode anew what the format cannot hold exactly; the file says so");
  ex->add_flag("--probe,!--no-probe", e->probe,
               "write OUT.probe.safetensors, logits to compare engines with (default)");
  for (CLI::Option* option : {run, format, out, shard}) option->excludes(list);
  ex->callback([e = e] {
    if (!e->list && (e->run.empty() || e->format.empty() || e->out.empty()))
      throw CLI::RequiredError("RUN, --format and --out (or --list alone)");
  });

  auto [verify, v] = verb<VerifyArguments>(
      "verify", "decodes an exported file and compares it with the run, bit for bit",
      "terse verify model.gguf --against runs/quickstart-1");
  verify->add_option("path", v->path, "exported file or folder")->required();
  verify->add_option("--against", v->against, "folder of the run")->required();
  CLI::Option* engine =
      verify->add_option("--engine", v->engine,
                         "also run it (llama.cpp, vllm): compares perplexity and the logits probe");
  verify->add_option("--data", v->data, "prepared data; default: the run's own")->needs(engine);
  verify->add_option("--windows", v->windows, "sequences that the engine scores")
      ->needs(engine)
      ->check(CLI::PositiveNumber);

  auto [eval, a] = verb<EvalArguments>("eval", "loss and perplexity of a run or an exported file",
                                       "terse eval model.gguf --data data/bible --json");
  eval->add_option("path", a->path, "run or exported file")->required();
  eval->add_option("--data", a->data, "prepared data; default: the run's own");
  eval->add_option("--windows", a->windows, "only the first so many sequences; 0 = all")
      ->check(CLI::NonNegativeNumber);
  eval->add_option("--compute", a->compute,
                   "number type of the matrix products; default: the run's own, bf16 of a file")
      ->check(CLI::IsMember({"bf16", "fp32"}));

  auto [report, r] = verb<ReportArguments>("report", "one self-contained HTML page about a run",
                                           "terse report runs/quickstart-1");
  report->add_option("run", r->run, "folder of the run")->required();
  report->add_option("--out", r->out, "where to; default: RUN/report.html");

  auto [inspect, i] = verb<InspectArguments>(
      "inspect", "what is in a checkpoint, safetensors or GGUF file", "terse inspect model.gguf");
  inspect->add_option("path", i->path, "file or folder")->required();
}

void Parser::add_machine_verbs() {
  verb<DoctorArguments>("doctor", "what this machine and this launch look like",
                        "mpirun -n 2 terse doctor");
}

void Parser::add_bench() {
  CLI::App* bench = part(&app_, "bench", "measures against a baseline in the same process",
                         "terse bench comm --quick --json");
  bench->require_subcommand(1);
  const std::map<std::string, std::string> parts = {
      {"comm", "encoding and decoding as multiples of memcpy"},
      {"exchange",
       "averaging over the ranks as a multiple of dense bf16; under mpirun or torchrun"},
      {"export",
       "exporting a model of a billion parameters and reading it back, against cp of the same "
       "bytes; the memory they take"},
      {"quant", "quantizing as a multiple of memcpy"},
      {"sparse", "making and using masks as multiples of memcpy; products with N:M weights"},
      {"train",
       "tokens per second and memory of training steps: bf16 against PyTorch, W8A8, W4A4 (integer "
       "products where the processor has them) and 2:4 against bf16"},
  };
  for (const auto& [name, summary] : parts) {
    auto arguments = std::make_shared<BenchArguments>();
    arguments->what = name;
    CLI::App* app = part(bench, name, summary, "terse bench " + name + " --quick --json");
    app->add_flag("--quick", arguments->quick, "about 40 seconds, fewer repetitions");
    if (name == "export")
      app->add_option("--folder", arguments->folder,
                      "where its files go for a while, about 10 GB (200 MB with --quick), best in "
                      "memory; default: the folder for temporary files");
    verbs_.push_back({app, [arguments] { return *arguments; }});
  }
}

void Parser::add_lab_part(CLI::App* lab, const std::string& name, const std::string& option,
                          const std::string& what, const std::string& example) {
  auto arguments = std::make_shared<LabArguments>();
  arguments->what = name;
  CLI::App* app = part(lab, name, what, example);
  app->add_option(option, arguments->name, "the recipe's name of it")->required();
  if (name == "encode") app->add_option("--estimator", arguments->estimator, "as [qat] estimator");
  if (name == "mask") {
    app->add_option("--schedule", arguments->schedule, "as [sparsity] schedule");
    app->add_option("--step", arguments->step,
                    "steps taken so far; without it, the mask that evaluation and export see")
        ->check(CLI::NonNegativeNumber);
    app->add_option("--steps", arguments->steps, "steps of the run that --step belongs to");
  }
  app->add_option("--in", arguments->in, "safetensors file; {rank} becomes the rank")->required();
  app->add_option("--out", arguments->out, "safetensors file to write; {rank} as above")
      ->required();
  app->add_option("--set", arguments->sets,
                  "key=value of the component's recipe table (repeatable)")
      ->allow_extra_args(false);
  verbs_.push_back({app, [arguments] { return *arguments; }});
}

void Parser::add_lab() {
  CLI::App* lab =
      part(&app_, "lab", "runs one component on tensors from files",
           "terse lab encode --target gguf:q4_0 --in w.safetensors --out q.safetensors");
  lab->require_subcommand(1);
  add_lab_part(lab, "exchange", "--codec", "averages tensors over the ranks",
               "mpirun -n 2 terse lab exchange --codec onebit --in 'in{rank}.safetensors' --out "
               "'out{rank}.safetensors'");
  add_lab_part(lab, "encode", "--target", "quantizes tensors",
               "terse lab encode --target gguf:q4_0 --in w.safetensors --out q.safetensors");
  add_lab_part(
      lab, "mask", "--pattern", "masks tensors as a step of a schedule would",
      "terse lab mask --pattern 1:8 --schedule mask_exponential --step 50 --steps 100 --in "
      "w.safetensors --out m.safetensors");
  add_lab_part(
      lab, "optimize", "--name", "steps through given gradients",
      "terse lab optimize --name adamw --set lr=0.01 --in g.safetensors --out w.safetensors");
}

Parser::Parser() {
  app_.name("terse");
  app_.require_subcommand(0, 1);
  app_.add_flag("--version", version_, "prints the version");
  app_.footer("`terse VERB --help` says more, with an example.");
  add_common();
  add_data_verbs();
  add_training_verbs();
  add_plan();
  add_file_verbs();
  add_bench();
  add_lab();
  add_machine_verbs();
}

// The innermost subcommand that was named.
CLI::App* Parser::chosen() const {
  const CLI::App* app = &app_;
  while (!app->get_subcommands().empty()) app = app->get_subcommands().front();
  return const_cast<CLI::App*>(app);
}

// CLI11 wants the names of the parents in front.
std::string help_of(const CLI::App& app) {
  std::string parents;
  for (const CLI::App* a = app.get_parent(); a != nullptr; a = a->get_parent())
    parents.insert(0, a->get_name() + (parents.empty() ? "" : " "));
  return app.help(parents);
}

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* a = &app; a != nullptr; a = a->get_parent()) {
    for (const CLI::Option* option : a->get_options())
      if (!option->get_lnames().empty()) names.push_back("--" + option->get_lnames().front());
    for (const CLI::App* group :
         a->get_subcommands([](const CLI::App* s) { return s->get_name().empty(); }))
      for (const CLI::Option* option : group->get_options())
        if (!option->get_lnames().empty()) names.push_back("--" + option->get_lnames().front());
  }
  return names;
}

std::vector<std::string> verb_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; }))
    if (!sub->get_name().empty()) names.push_back(sub->get_name());
  return names;
}

std::string suggestion(const std::string& wrong, const std::vector<std::string>& choices) {
  const std::string best = nearest(wrong, choices);
  return best.empty() ? "" : fmt::format("; did you mean '{}'?", best);
}

// Names the first word that is no option, value or verb where it stands.
void Parser::refuse_unknown(const std::vector<std::string>& arguments) const {
  const CLI::App* app = chosen();
  const std::vector<std::string> verbs = verb_names(*app);
  const std::vector<std::string> options = option_names(*app);
  const std::string name = app == &app_ ? "terse" : "terse " + app->get_name();
  // Behind the verb's own name, only what follows it can be wrong.
  const auto start = std::ranges::find(arguments, app->get_name());
  for (auto it = start == arguments.end() ? arguments.begin() : start + 1; it != arguments.end();
       ++it) {
    const std::string option = it->substr(0, it->find('='));
    if (option.starts_with("--") && std::ranges::find(options, option) == options.end())
      fail(ExitCode::usage, "{} has no option {}{}", name, option, suggestion(option, options));
    if (!option.starts_with("-") && !verbs.empty())
      fail(ExitCode::usage, "{} has no verb '{}'{} (verbs: {})", name, option,
           suggestion(option, verbs), fmt::join(verbs, ", "));
    const CLI::Option* known = app_.get_option_no_throw(option);
    const bool value_follows =
        known != nullptr && known->get_items_expected_max() > 0 && option == *it;
    if (value_follows && it + 1 != arguments.end()) ++it;
  }
}

void Parser::explain(const std::vector<std::string>& arguments, const std::string& error) const {
  refuse_unknown(arguments);
  const CLI::App* app = chosen();
  const std::string name = app == &app_ ? "terse" : "terse " + app->get_name();
  fail(ExitCode::usage, "{}: {} (see `{} --help`)", name, error, name);
}

Invocation Parser::parse(const std::vector<std::string>& arguments) {
  std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
  try {
    app_.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    if (!verb_names(*chosen()).empty()) refuse_unknown(arguments);
    return {common_, HelpText{help_of(*chosen())}};
  } catch (const CLI::ParseError& error) {
    if (!manual_) explain(arguments, error.what());
  }
  if (manual_) return {common_, RecipeManual{}};
  if (version_) return {common_, HelpText{std::string(kVersion) + "\n"}};
  for (const Verb& verb : verbs_)
    if (verb.app == chosen()) return {common_, verb.result()};
  if (!arguments.empty()) explain(arguments, "a verb is missing");
  return {common_, HelpText{app_.help()}};
}

}  // namespace

Invocation parse_command_line(const std::vector<std::string>& arguments) {
  return Parser().parse(arguments);
}

}  // namespace terse
