// The program: parse, run the verb, and turn what was thrown into one line and an exit code.
#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "base/error.h"
#include "trainer/cli/parse.h"
#include "trainer/cli/verbs.h"
#include "trainer/recipe/recipe.h"

namespace terse {
namespace {

constexpr int kBug = 1;  // something broke that no user could have caused

struct Runner {
  const CommonArguments& common;

  int operator()(const HelpText& a) const { return print(a.text); }
  int operator()(const RecipeManual&) const { return print(recipe_manual()); }
  int operator()(const PrepareArguments& a) const { return verb_prepare(common, a); }
  int operator()(const TrainArguments& a) const { return verb_train(common, a); }
  int operator()(const ResumeArguments& a) const { return verb_resume(common, a); }
  int operator()(const ExportArguments& a) const { return verb_export(common, a); }
  int operator()(const VerifyArguments& a) const { return verb_verify(common, a); }
  int operator()(const EvalArguments& a) const { return verb_eval(common, a); }
  int operator()(const ReportArguments& a) const { return verb_report(common, a); }
  int operator()(const InspectArguments& a) const { return verb_inspect(common, a); }
  int operator()(const DoctorArguments& a) const { return verb_doctor(common, a); }
  int operator()(const BenchArguments& a) const { return verb_bench(common, a); }
  int operator()(const PlanArguments& a) const { return verb_plan(common, a); }
  int operator()(const LabArguments& a) const { return verb_lab(common, a); }

  static int print(const std::string& text) {
    fmt::print("{}", text);
    return 0;
  }
};

// "rank 3: " in a job of several ranks, whatever else went wrong.
std::string rank_prefix(const WorldFlags& flags) {
  try {
    const World world = resolve_world(current_environment(), flags);
    return world.size > 1 ? fmt::format("rank {}: ", world.rank) : "";
  } catch (const Error&) {
    return "";
  }
}

int run(const std::vector<std::string>& words) {
  WorldFlags flags;
  try {
    const Invocation invocation = parse_command_line(words);
    flags = invocation.common.world;
    return std::visit(Runner{invocation.common}, invocation.verb);
  } catch (const Error& error) {
    fmt::print(stderr, "terse: {}error: {}\n", rank_prefix(flags), error.what());
    return static_cast<int>(error.code());
  } catch (const std::exception& error) {
    // LibTorch appends a backtrace.
    const std::string_view what = error.what();
    fmt::print(stderr, "terse: {}this is a bug of terse, please report it: {}\n",
               rank_prefix(flags), what.substr(0, what.find("\nException raised from")));
    return kBug;
  }
}

}  // namespace
}  // namespace terse

int main(int count, char** words) {
  return terse::run(std::vector<std::string>(words + 1, words + count));
}
