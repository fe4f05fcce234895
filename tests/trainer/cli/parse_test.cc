#include "trainer/cli/parse.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace terse {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

template <typename Arguments>
Arguments parse_as(const std::vector<std::string>& words) {
  return std::get<Arguments>(parse_command_line(words).verb);
}

std::string error_of(const std::vector<std::string>& words) {
  try {
    parse_command_line(words);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    return error.what();
  }
  return "no error";
}

TEST(Parse, Prepare) {
  const auto a = parse_as<PrepareArguments>(
      {"prepare", "a.txt", "b.txt", "--out", "d", "--vocab", "512", "--valid=0.1"});
  EXPECT_THAT(a.texts, ElementsAre("a.txt", "b.txt"));
  EXPECT_EQ(a.out, "d");
  EXPECT_EQ(a.vocab, 512);
  EXPECT_EQ(a.valid, 0.1);
}

TEST(Parse, TrainAndResume) {
  const auto t = parse_as<TrainArguments>(
      {"train", "--set", "a.b=1", "r.toml", "--set", "c.d=[1, 2]", "--out", "run"});
  EXPECT_EQ(t.recipe, "r.toml");
  EXPECT_EQ(t.out, "run");
  EXPECT_THAT(t.sets, ElementsAre("a.b=1", "c.d=[1, 2]"));
  EXPECT_THAT(parse_as<TrainArguments>({"train", "--set", "x.y=\"a b\"", "r.toml"}).sets,
              ElementsAre("x.y=\"a b\""));
  const auto r = parse_as<ResumeArguments>({"resume", "runs/x", "--set", "train.steps=9"});
  EXPECT_EQ(r.run, "runs/x");
  EXPECT_THAT(r.sets, ElementsAre("train.steps=9"));
}

TEST(Parse, FileVerbs) {
  const auto e =
      parse_as<ExportArguments>({"export", "run", "--format", "gguf:q4_0", "--out", "m"});
  EXPECT_EQ(e.run + " " + e.format + " " + e.out, "run gguf:q4_0 m");
  EXPECT_TRUE(e.probe && !e.requantize);
  EXPECT_TRUE(parse_as<ExportArguments>({"export", "--list"}).list);
  const auto changed = parse_as<ExportArguments>(
      {"export", "run", "--format", "hf", "--out", "m", "--requantize", "--no-probe"});
  EXPECT_TRUE(changed.requantize && !changed.probe);
  const auto engine = parse_as<VerifyArguments>(
      {"verify", "m", "--against", "run", "--engine", "llama.cpp", "--windows", "2"});
  EXPECT_EQ(engine.engine, "llama.cpp");
  EXPECT_EQ(engine.windows, 2);
  const auto v = parse_as<VerifyArguments>({"verify", "m.gguf", "--against", "run"});
  EXPECT_EQ(v.path + " " + v.against, "m.gguf run");
  const auto a = parse_as<EvalArguments>({"eval", "m.gguf", "--data", "d", "--windows", "4"});
  EXPECT_EQ(a.path + " " + a.data, "m.gguf d");
  EXPECT_EQ(a.windows, 4);
  EXPECT_EQ(parse_as<ReportArguments>({"report", "run"}).run, "run");
  EXPECT_EQ(parse_as<InspectArguments>({"inspect", "f"}).path, "f");
  parse_as<DoctorArguments>({"doctor"});
}

TEST(Parse, Plan) {
  const auto p = parse_as<PlanArguments>({"plan", "r.toml", "--ranks", "16", "--link", "1Gbit",
                                          "--latency", "1ms", "--ranks-per-node", "4", "--set",
                                          "a.b=1", "--step-seconds", "0.5", "--quick"});
  EXPECT_EQ(p.recipe + " " + p.link + " " + p.latency, "r.toml 1Gbit 1ms");
  EXPECT_EQ(p.ranks, 16);
  EXPECT_EQ(p.ranks_per_node, 4);
  EXPECT_EQ(p.step_seconds, 0.5);
  EXPECT_EQ(p.sets, std::vector<std::string>{"a.b=1"});
  EXPECT_TRUE(p.quick);
  EXPECT_THAT(error_of({"plan", "r.toml", "--ranks", "0", "--link", "1Gbit"}),
              HasSubstr("--ranks"));
  EXPECT_THAT(error_of({"plan", "r.toml", "--ranks", "2"}), HasSubstr("--link"));
}

TEST(Parse, BenchAndLab) {
  const auto b = parse_as<BenchArguments>({"bench", "comm", "--quick"});
  EXPECT_EQ(b.what, "comm");
  EXPECT_TRUE(b.quick);
  EXPECT_EQ(parse_as<BenchArguments>({"bench", "export", "--folder", "/dev/shm"}).folder,
            "/dev/shm");
  const auto x = parse_as<LabArguments>({"lab", "exchange", "--codec", "onebit", "--set",
                                         "block=4096", "--in", "i{rank}", "--out", "o"});
  EXPECT_EQ(x.what + " " + x.name + " " + x.in + " " + x.out, "exchange onebit i{rank} o");
  EXPECT_THAT(x.sets, ElementsAre("block=4096"));
  const auto m =
      parse_as<LabArguments>({"lab", "mask", "--pattern", "1:8", "--schedule", "mask_linear",
                              "--step", "5", "--steps", "10", "--in", "i", "--out", "o"});
  EXPECT_EQ(m.what, "mask");
  EXPECT_EQ(m.name, "1:8");
  EXPECT_EQ(m.schedule, "mask_linear");
  EXPECT_EQ(m.step, 5);
  EXPECT_EQ(m.steps, 10);
  const auto e = parse_as<LabArguments>(
      {"lab", "encode", "--target", "gguf:q4_0", "--estimator", "clip", "--in", "i", "--out", "o"});
  EXPECT_EQ(e.name + " " + e.estimator, "gguf:q4_0 clip");
  EXPECT_EQ(
      parse_as<LabArguments>({"lab", "optimize", "--name", "adamw", "--in", "i", "--out", "o"})
          .name,
      "adamw");
}

TEST(Parse, CommonOptionsStandAnywhere) {
  for (const auto& words :
       {std::vector<std::string>{"--rank", "1", "--world-size", "2", "--json", "doctor"},
        std::vector<std::string>{"doctor", "--rank", "1", "--world-size", "2", "--json"}}) {
    const CommonArguments common = parse_command_line(words).common;
    EXPECT_EQ(common.world.rank, 1);
    EXPECT_EQ(common.world.world_size, 2);
    EXPECT_FALSE(common.world.master_addr.has_value());
    EXPECT_TRUE(common.json);
  }
  EXPECT_TRUE(parse_command_line({"bench", "comm", "--json"}).common.json);
}

TEST(Parse, EveryVerbHasHelpWithAnExample) {
  EXPECT_THAT(parse_as<HelpText>({}).text, HasSubstr("train"));
  EXPECT_THAT(parse_as<HelpText>({"--help"}).text, HasSubstr("VERB --help"));
  EXPECT_THAT(parse_as<HelpText>({"--version"}).text, HasSubstr("terse 0."));
  for (const std::string verb : {"prepare", "train", "resume", "export", "verify", "eval", "report",
                                 "inspect", "doctor", "bench", "lab", "plan"})
    EXPECT_THAT(parse_as<HelpText>({verb, "--help"}).text, HasSubstr("Example:\n  ")) << verb;
  EXPECT_THAT(parse_as<HelpText>({"lab", "exchange", "--help"}).text,
              HasSubstr("Usage: terse lab exchange "));
  parse_as<RecipeManual>({"train", "--help-recipe"});
}

TEST(Parse, WrongWordsAreAnsweredWithTheNearest) {
  EXPECT_THAT(error_of({"trian", "r.toml"}), HasSubstr("no verb 'trian'; did you mean 'train'?"));
  EXPECT_THAT(error_of({"train", "r.toml", "--sets", "a.b=1"}),
              HasSubstr("no option --sets; did you mean '--set'?"));
  EXPECT_THAT(error_of({"lab", "encod"}), HasSubstr("did you mean 'encode'?"));
  EXPECT_THAT(error_of({"doctor", "--wordl-size", "2"}), HasSubstr("'--world-size'"));
}

TEST(Parse, HelpOfAnUnknownVerbIsNoHelpOfAnother) {
  EXPECT_THAT(error_of({"trian", "--help"}), HasSubstr("no verb 'trian'; did you mean 'train'?"));
  EXPECT_THAT(error_of({"--rank", "1", "trian", "--help"}), HasSubstr("no verb 'trian'"));
  EXPECT_THAT(error_of({"lab", "encod", "--help"}), HasSubstr("did you mean 'encode'?"));
  EXPECT_THAT(parse_as<HelpText>({"--rank", "1", "--help"}).text, HasSubstr("VERB --help"));
  EXPECT_THAT(parse_as<HelpText>({"lab", "--help"}).text, HasSubstr("encode"));
}

TEST(Parse, Binding) {
  EXPECT_EQ(parse_command_line({"doctor"}).common.bind, "auto");
  EXPECT_EQ(parse_command_line({"train", "r.toml", "--bind", "none"}).common.bind, "none");
  EXPECT_THAT(error_of({"doctor", "--bind", "core"}), HasSubstr("--bind"));
}

TEST(Parse, MissingAndWrongValues) {
  EXPECT_THAT(error_of({"train"}), HasSubstr("recipe"));
  EXPECT_THAT(error_of({"prepare", "a.txt"}), HasSubstr("--out"));
  EXPECT_THAT(error_of({"prepare", "a", "--out", "b", "--vocab", "many"}), HasSubstr("--vocab"));
  EXPECT_THAT(error_of({"prepare", "a", "--out", "b", "--vocab", "5"}), HasSubstr("260"));
  EXPECT_THAT(error_of({"doctor", "--backend", "carrier-pigeon"}), HasSubstr("--backend"));
  EXPECT_THAT(error_of({"export", "run", "--format", "gguf"}), HasSubstr("--out"));
  EXPECT_THAT(error_of({"export", "run", "--list"}), HasSubstr("--list"));
  EXPECT_THAT(error_of({"verify", "m", "--against", "run", "--windows", "2"}),
              HasSubstr("--engine"));
  EXPECT_THAT(error_of({"lab"}), HasSubstr("lab"));
  EXPECT_THAT(error_of({"--json"}), HasSubstr("verb"));
}

}  // namespace
}  // namespace terse
