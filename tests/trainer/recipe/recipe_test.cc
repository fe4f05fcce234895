#include "trainer/recipe/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "base/file_system.h"

namespace terse {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

std::string message_of(std::string_view text, const std::vector<std::string>& sets = {}) {
  try {
    parse_recipe(text, "r.toml", sets);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    return error.what();
  }
  return "";
}

TEST(Recipe, EmptyRecipeHasOnlyDefaultsAndIsValid) {
  const Recipe recipe = parse_recipe("", "r.toml");
  EXPECT_EQ(recipe.model.llama.width, 256);
  EXPECT_EQ(recipe.tables.size(), 10u);
}

TEST(Recipe, ReadsEachTableIntoItsComponent) {
  const Recipe recipe = parse_recipe(
      "[model]\nlayers = 2\n[data]\ntext = \"a.txt\"\n[train]\nsteps = 7\n[optim]\nname = "
      "\"onebit_adam\"\nwarmup = 2\nfreeze = 3\n[exchange]\ncodec = \"onebit\"\n[qat]\ntarget = "
      "\"gguf:q4_0\"\n[checkpoint]\nkeep = 9\n[export]\nformat = \"gguf\"\n",
      "r.toml", {"optim.lr=0.25"});
  EXPECT_EQ(recipe.model.llama.layers, 2);
  EXPECT_THAT(recipe.data.text, testing::ElementsAre("a.txt"));
  EXPECT_EQ(recipe.train.steps, 7);
  EXPECT_EQ(recipe.optim.name, "onebit_adam");
  EXPECT_EQ(recipe.optim.lr, 0.25);
  EXPECT_EQ(recipe.exchange.codec, "onebit");
  EXPECT_EQ(recipe.qat.target, "gguf:q4_0");
  EXPECT_EQ(recipe.checkpoint.keep, 9);
  EXPECT_EQ(recipe.export_.format, "gguf");
}

TEST(Recipe, EveryKindOfFaultIsReportedInOneGo) {
  const std::string message = message_of(
      "[model]\n"
      "widht = 256\n"       // unknown key
      "heads = \"four\"\n"  // wrong type
      "[train]\n"
      "steps = 0\n"            // out of bounds
      "batch_tokens = 1000\n"  // no multiple of the context
      "seed = 1\n"
      "seed = 2\n"  // duplicate
      "[optim]\n"
      "name = \"adam\"\n"  // bad choice
      "betas = [0.9]\n"    // a component's own check
      "[exchnage]\n",      // unknown table
      {"qat.target=gguf:q4_9"});
  EXPECT_THAT(message, HasSubstr("r.toml: 9 problems\n"));
  EXPECT_THAT(message,
              HasSubstr("r.toml:2:1: unknown key 'widht' in [model]; did you mean 'width'?"));
  EXPECT_THAT(message, HasSubstr("r.toml:3:1: [model] heads: expected an integer, found a text"));
  EXPECT_THAT(message, HasSubstr("r.toml:5:1: [train] steps: 0 is out of bounds"));
  EXPECT_THAT(message, HasSubstr("r.toml:6:1: [train] batch_tokens: 1000 is not a multiple of "
                                 "[model] context = 256; the nearest are 768 and 1024"));
  EXPECT_THAT(message, HasSubstr("r.toml:8:1: duplicate key or table 'seed'"));
  EXPECT_THAT(message, HasSubstr("r.toml:10:1: [optim] name: 'adam' is none of"));
  EXPECT_THAT(message, HasSubstr("did you mean 'adamw'?"));
  EXPECT_THAT(message, HasSubstr("r.toml:11:1: [optim] betas: needs two numbers"));
  EXPECT_THAT(message,
              HasSubstr("r.toml:12:1: unknown table [exchnage]; did you mean 'exchange'?"));
  EXPECT_THAT(message, HasSubstr("--set qat.target: [qat] target: 'gguf:q4_9' is none of"));
}

TEST(Recipe, ChecksAcrossTables) {
  EXPECT_THAT(message_of("[model]\nwidth = 250\nheads = 4\n"),
              HasSubstr("r.toml:2:1: [model] width"));
  EXPECT_THAT(message_of("[train]\nmicro_tokens = 100\n"), HasSubstr("[train] micro_tokens: 100"));
  EXPECT_THAT(message_of("[train]\nsteps = 50\n[optim]\nwarmup = 50\n"), HasSubstr("r.toml:4:1"));
  EXPECT_THAT(
      message_of("[train]\nsteps = 50\n[optim]\nname = \"onebit_adam\"\nwarmup = 5\nfreeze = "
                 "60\n[exchange]\ncodec = \"onebit\"\n"),
      HasSubstr("nothing would be compressed"));
  // 0/1 Adam compresses from the first gap between two refreshes on.
  EXPECT_THAT(message_of("[train]\nsteps = 17\n[optim]\nname = \"zero_one_adam\"\nwarmup = 5\n"
                         "freeze = 40\n[exchange]\ncodec = \"onebit\"\n"),
              HasSubstr("compression would begin after step 17"));
  EXPECT_EQ(message_of("[train]\nsteps = 18\n[optim]\nname = \"zero_one_adam\"\nwarmup = 5\n"
                       "freeze = 40\n[exchange]\ncodec = \"onebit\"\n"),
            "");
  EXPECT_THAT(message_of("[optim]\nname = \"zero_one_adam\"\n"),
              HasSubstr("[exchange] codec: [optim] name = \"zero_one_adam\" compresses"));
  for (const std::string codec : {"fp32", "bf16"})
    EXPECT_THAT(
        message_of("[optim]\nname = \"onebit_adam\"\n[exchange]\ncodec = \"" + codec + "\"\n"),
        AllOf(HasSubstr("r.toml:4:1: [exchange] codec"), HasSubstr("choose codec = \"onebit\""),
              HasSubstr("name = \"adamw\"")));
  EXPECT_THAT(message_of("[model]\nvocab = 300\n[data]\ntext = [\"a.txt\"]\nvocab = 400\n"),
              AllOf(HasSubstr("r.toml:2:1: [model] vocab: 300"), HasSubstr("[data] vocab = 400")));
  EXPECT_NO_THROW(
      parse_recipe("[model]\nvocab = 400\n[data]\ntext = [\"a.txt\"]\nvocab = 400\n", "r.toml"));
  EXPECT_THAT(message_of("[model]\nhidden = 700\n[qat]\ntarget = \"gguf:q4_0\"\n"),
              AllOf(HasSubstr("r.toml:4:1: [qat] target"), HasSubstr("down_proj")));
}

TEST(Recipe, TopKsSelectionIsItsOwnKey) {
  EXPECT_EQ(message_of("[exchange]\ncodec = \"topk\"\nselect = \"sampled\"\n"), "");
  EXPECT_EQ(message_of("[exchange]\ncodec = \"lgreco\"\nfamily = \"topk\"\nselect = "
                       "\"sampled\"\n"),
            "");
  EXPECT_THAT(message_of("[exchange]\ncodec = \"topk\"\nselect = \"sample\"\n"),
              AllOf(HasSubstr("r.toml:3:1: [exchange] select: 'sample' is none of"),
                    HasSubstr("did you mean 'sampled'?")));
  EXPECT_THAT(message_of("[exchange]\ncodec = \"bits\"\nselect = \"sampled\"\n"),
              AllOf(HasSubstr("r.toml:3:1: [exchange] select"), HasSubstr("it belongs to topk")));
}

TEST(Recipe, AKindReadsItsOwnKeysOnly) {
  EXPECT_THAT(message_of("[model]\nkind = \"vit\"\ncontext = 64\nrope_theta = 5.0\n"),
              AllOf(HasSubstr("r.toml:3:1: [model] context: kind = \"vit\" does not read it"),
                    HasSubstr("r.toml:4:1: [model] rope_theta")));
  EXPECT_THAT(message_of("[model]\npatch = 4\n"), HasSubstr("kind = \"llama\" does not read it"));
  EXPECT_THAT(message_of("[model]\nkind = \"vit\"\n[data]\ntext = [\"a.txt\"]\n"),
              HasSubstr("r.toml:4:1: [data] text: [model] kind = \"vit\" learns from images"));
  EXPECT_THAT(message_of("[model]\nkind = \"vit\"\n[export]\nformat = \"gguf\"\n"),
              HasSubstr("possible for [model] kind = \"vit\": safetensors"));
  EXPECT_THAT(message_of("[model]\nkind = \"vit\"\nhidden = 100\n[qat]\ntarget = \"gguf:q4_0\"\n"),
              HasSubstr("mlp.fc2"));
  const Recipe recipe =
      parse_recipe("[model]\nkind = \"vit\"\n[train]\nbatch_tokens = 33\n", "r.toml");
  EXPECT_EQ(recipe.train.examples(recipe.model.targets()), 33);
}

TEST(Recipe, DistillationNeedsATeacherWhoIsHeard) {
  EXPECT_THAT(message_of("[distill]\ntemperature = 2.0\n"),
              HasSubstr("[distill] teacher: is missing"));
  EXPECT_THAT(message_of("[distill]\nteacher = \"t\"\nlogits = 0.0\n"),
              HasSubstr("is not listened to"));
}

std::string auto_recipe(const std::string& optim, const std::string& more) {
  return "[optim]\nname = \"" + optim + "\"\n[exchange]\ncodec = \"auto\"\n" + more + "\n";
}

TEST(Recipe, AutoTakesWhatItsOptimizerCanSend) {
  for (const std::string optim : {"adamw", "onebit_adam", "sgd", "dgc"})
    EXPECT_NO_THROW(parse_recipe(auto_recipe(optim, ""), "r.toml")) << optim;
  EXPECT_NO_THROW(parse_recipe(
      auto_recipe("adamw",
                  "candidates = [\"bits\", \"topk\"]\nbits = 8\ndensity = 0.01\nevery = 50"),
      "r.toml"));
  const auto refused = [](const std::string& optim, const std::string& more) {
    return message_of(auto_recipe(optim, more));
  };
  EXPECT_THAT(
      refused("adamw", "candidates = [\"onebits\"]"),
      AllOf(HasSubstr("r.toml:5:1: [exchange] candidates"), HasSubstr("did you mean 'onebit'?")));
  EXPECT_THAT(refused("onebit_adam", "candidates = [\"fp32\"]"), HasSubstr("none of these does"));
  EXPECT_THAT(refused("dgc", "candidates = [\"onebit\"]"), HasSubstr("it sends topk, or densely"));
  EXPECT_THAT(refused("sgd", "candidates = [\"topk\"]"), HasSubstr("it averages densely"));
  EXPECT_THAT(refused("adamw", "candidates = [\"bf16\", \"bits\"]"),
              HasSubstr("dense = \"fp32\", not bf16"));
  EXPECT_THAT(refused("adamw", "candidates = [\"bits\"]\nfeedback = \"ef21\""),
              HasSubstr("\"classic\" only"));
  EXPECT_NO_THROW(parse_recipe(auto_recipe("adamw", "hierarchy = true"), "r.toml"));
  EXPECT_THAT(refused("adamw", "candidates = [\"bits\"]\nrank = 8"), HasSubstr("[exchange] rank"));
  EXPECT_THAT(message_of("[exchange]\ncodec = \"bf16\"\nreplay = \"runs/a\"\n"),
              HasSubstr("decisions of auto and of lgreco"));
  EXPECT_NO_THROW(parse_recipe(
      "[exchange]\ncodec = \"lgreco\"\ncost = \"time\"\nreplay = \"runs/a\"\n", "r.toml"));
  EXPECT_THAT(message_of("[exchange]\ncodec = \"topk\"\ncost = \"time\"\n"),
              AllOf(HasSubstr("r.toml:3:1: [exchange] cost"), HasSubstr("it belongs to lgreco")));
  EXPECT_NO_THROW(parse_recipe(
      "[exchange]\ncodec = \"lgreco\"\ncost = \"time\"\nhierarchy = true\n", "r.toml"));
  EXPECT_THAT(message_of("[exchange]\ncodec = \"bf16\"\ncandidates = [\"fp32\"]\n"),
              HasSubstr("it belongs to auto"));
}

TEST(Recipe, ResolvedRecipeReadsBackIntoTheSame) {
  const Recipe first = parse_recipe(
      "[train]\nsteps = 77\nclip = 0.1\n[data]\ntext = [\"a \\\"b\\\".txt\", \"c\"]\n[optim]\nlr = "
      "3.3e-4\n",
      "r.toml", {"model.width=512", "qat.ignore=[\"lm_head\"]"});
  const std::string resolved = first.resolved();
  EXPECT_THAT(resolved, HasSubstr("# flag, default 256"));
  EXPECT_THAT(resolved, HasSubstr("# file, default 1000"));
  EXPECT_THAT(resolved, HasSubstr("# default\n"));
  const Recipe second = parse_recipe(resolved, "recipe.resolved.toml");
  EXPECT_EQ(second.hash(), first.hash());
  EXPECT_EQ(second.data.text, first.data.text);
  EXPECT_EQ(second.optim.lr, first.optim.lr);
  EXPECT_EQ(second.model.llama.width, 512);
  ASSERT_EQ(second.tables.size(), first.tables.size());
  for (size_t t = 0; t < first.tables.size(); ++t)
    for (size_t k = 0; k < first.tables[t].keys.size(); ++k)
      EXPECT_EQ(second.tables[t].keys[k].value, first.tables[t].keys[k].value);
}

TEST(Recipe, HashSeesEveryValueButNotItsOrigin) {
  const uint64_t hash = parse_recipe("", "r.toml").hash();
  EXPECT_EQ(parse_recipe("[train]\nsteps = 1000\n", "other.toml").hash(), hash);
  EXPECT_EQ(parse_recipe("", "r.toml", {"train.steps=1000"}).hash(), hash);
  EXPECT_NE(parse_recipe("", "r.toml", {"train.steps=1001"}).hash(), hash);
  EXPECT_NE(parse_recipe("", "r.toml", {"export.path=x"}).hash(), hash);
}

TEST(Recipe, SparsityThatCannotBeIsNamedWithItsRemedy) {
  const auto problem = [](const std::string& keys) -> std::string {
    try {
      parse_recipe(
          "[model]\nwidth = 96\nhidden = 192\nheads = 4\n[train]\nsteps = 100\n[sparsity]\n" + keys,
          "r.toml");
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::usage);
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(problem("pattern = \"2:4\""), "");
  EXPECT_THAT(problem("pattern = \"5:4\""), HasSubstr("r.toml:8:1: [sparsity] pattern"));
  EXPECT_THAT(problem("pattern = \"1:64\""), HasSubstr("96 inputs"));
  EXPECT_EQ(problem("pattern = \"1:64\"\ntargets = [\"*.down_proj\"]"), "");
  EXPECT_THAT(problem("pattern = \"2:4\"\nschedule = \"gradual\""), HasSubstr("unstructured:0.5"));
  EXPECT_THAT(problem("pattern = \"unstructured:0.5\"\nschedule = \"structure_stepwise\""),
              HasSubstr("gradual"));
  EXPECT_THAT(problem("schedule = \"mask_linear\""), HasSubstr("is missing"));
  EXPECT_THAT(problem("pattern = \"2:4\"\nschedule = \"mask_lineer\""),
              HasSubstr("did you mean 'mask_linear'"));
  EXPECT_THAT(problem("pattern = \"2:4\"\ndense = 95"), HasSubstr("95 dense and 10 fine"));
  EXPECT_THAT(problem("pattern = \"2:4\"\nrate = 0.1"), HasSubstr("no beta"));
  EXPECT_THAT(problem("pattern = \"2:4\"\ndense = -1"), HasSubstr("[optim] variance_steps = 0"));
  EXPECT_EQ(problem("pattern = \"2:4\"\ndense = -1\n[optim]\nvariance_steps = -1"), "");
  EXPECT_THAT(problem("[optim]\nname = \"onebit_adam\"\nvariance_steps = -1"),
              HasSubstr("belongs to name = \"adamw\""));
}

TEST(Recipe, ManualNamesEveryKeyWithItsDefault) {
  const std::string manual = recipe_manual();
  const Recipe defaults = parse_recipe("", "r.toml");
  for (const BoundTable& table : defaults.tables) {
    EXPECT_THAT(manual, HasSubstr("[" + table.name + "]"));
    for (const BoundKey& key : table.keys) {
      EXPECT_THAT(manual, HasSubstr(key.name + " = " + key.standard));
      EXPECT_THAT(manual, HasSubstr(key.doc));
      EXPECT_FALSE(key.doc.empty()) << key.name;
    }
  }
}

TEST(Recipe, DocumentedKeysAreTheKeysThatExist) {
  const std::string page = read_text(TERSE_SOURCE_DIR "/docs/recipe.md");
  for (const BoundTable& table : parse_recipe("", "r.toml").tables)
    for (const BoundKey& key : table.keys)
      EXPECT_THAT(page, HasSubstr("| `" + key.name + "` |")) << "[" << table.name << "]";
}

TEST(Recipe, MissingFileIsAUsageError) {
  try {
    load_recipe("/nonexistent/recipe.toml");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    EXPECT_THAT(error.what(), HasSubstr("/nonexistent/recipe.toml: no such recipe"));
  }
}

TEST(Recipe, EveryExampleIsValid) {
  int count = 0;
  for (const auto& file :
       std::filesystem::recursive_directory_iterator(TERSE_SOURCE_DIR "/examples")) {
    if (file.path().extension() != ".toml") continue;
    ++count;
    EXPECT_NO_THROW(load_recipe(file.path().string())) << file.path();
  }
  EXPECT_GE(count, 9);
}

}  // namespace
}  // namespace terse
