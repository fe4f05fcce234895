// What the program does with a finished run: each verb as a user calls it, on one small training.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/file_system.h"
#include "export/import.h"
#include "export/probe.h"
#include "tests/fault/small_run.h"
#include "trainer/checkpoint/checkpoint.h"

namespace terse {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

testing::Exit terse(std::vector<std::string> arguments) {
  testing::Launch launch;
  arguments.insert(arguments.begin(), TERSE_PROGRAM);
  launch.command = arguments;
  return testing::run_ranks(launch).exits.at(0);
}

// The JSON answer; a warning of the system may stand before it.
nlohmann::json answer(std::vector<std::string> arguments) {
  arguments.push_back("--json");
  const testing::Exit exit = terse(arguments);
  EXPECT_EQ(exit.code, 0) << exit.output;
  const size_t begin = exit.output.find_first_of("{[");
  auto json = nlohmann::json::parse(
      begin == std::string::npos ? std::string() : exit.output.substr(begin), nullptr, false);
  EXPECT_FALSE(json.is_discarded()) << exit.output;
  return json;
}

// The file's tensors of a packed projection, in row order.
std::vector<std::string> parts(const std::string& name) {
  const auto cut = [&](const std::string& packed, const std::vector<std::string>& into) {
    std::vector<std::string> all;
    for (const std::string& part : into)
      all.push_back(name.substr(0, name.size() - packed.size()) + part + ".weight");
    return all;
  };
  const std::string qkv = "qkv_proj.weight", gate_up = "gate_up_proj.weight";
  if (name.ends_with(qkv)) return cut(qkv, {"q_proj", "k_proj", "v_proj"});
  if (name.ends_with(gate_up)) return cut(gate_up, {"gate_proj", "up_proj"});
  return {name};
}

// Bit for bit: the file holds what the checkpoint holds, nothing was encoded again.
void expect_codes(const std::string& file, const std::string& run) {
  const Artifact artifact = read_artifact(file);
  const CheckpointSearch search = newest_checkpoint(run, 0);
  ASSERT_TRUE(search.found);
  int compared = 0;
  for (const std::string& key : search.found->tensor_names(Scope::shared)) {
    if (!key.starts_with("codes/")) continue;
    const std::string name = key.substr(6);
    std::vector<int8_t> codes;
    std::vector<float> scales;
    for (const std::string& part : parts(name)) {
      const Codes stored = artifact.weight(part).codes();
      codes.insert(codes.end(), stored.codes.begin(), stored.codes.end());
      scales.insert(scales.end(), stored.scales.begin(), stored.scales.end());
    }
    const auto trained = search.found->tensor(Scope::shared, key)->as<int8_t>();
    const auto trained_scales = search.found->tensor(Scope::shared, "scales/" + name)->as<float>();
    EXPECT_TRUE(std::equal(codes.begin(), codes.end(), trained.begin(), trained.end())) << name;
    EXPECT_TRUE(
        std::equal(scales.begin(), scales.end(), trained_scales.begin(), trained_scales.end()))
        << name;
    ++compared;
  }
  EXPECT_GE(compared, 8) << "two layers of four packed matrices";
}

// One loss, whoever computes it: the run's closing evaluation, the run again, the exported file.
void expect_one_loss(const std::string& run, const std::string& file, const std::string& data) {
  const auto results = nlohmann::json::parse(read_text(run + "/results.json"));
  const double of_run = answer({"eval", run}).at("loss").get<double>();
  const double of_file = answer({"eval", file, "--data", data}).at("loss").get<double>();
  EXPECT_EQ(of_run, of_file);
  // The verb prints nine digits; one rank adds up what two did, in fp64.
  const double closing = results.at("evaluations").at(0).at("loss").get<double>();
  EXPECT_NEAR(of_run, closing, 1e-8 * closing);
}

void expect_other_formats(const SmallRun& small, const std::string& run) {
  // Four-bit codes as dense F32: larger, the same values.
  const std::string folder = small.path("hf");
  EXPECT_EQ(answer({"export", run, "--format", "hf", "--out", folder}).at("path"), folder);
  EXPECT_EQ(terse({"verify", folder, "--against", run}).code, 0);
  // Code times scale has more digits than bf16: refused before anything is written.
  const std::string refused = small.path("bf16.gguf");
  const testing::Exit exit = terse({"export", run, "--format", "gguf:bf16", "--out", refused});
  EXPECT_EQ(exit.code, 2) << exit.output;
  EXPECT_THAT(exit.output, HasSubstr("q_proj"));
  EXPECT_FALSE(std::filesystem::exists(refused));
  const auto list = answer({"export", "--list"});
  ASSERT_TRUE(list.is_array());
  EXPECT_THAT(list.at(0).at("verdict").get<std::string>(),
              AnyOf("exact", "exact-after", "impossible"));
}

// Training and export leave a probe beside the file: the model's own answer to the first tokens of
// the validation text.
void expect_probe(const std::string& file) {
  const LogitsProbe probe = read_probe(probe_path(file));
  EXPECT_EQ(probe.ids.size(), 32u);
  EXPECT_EQ(probe.ids.front(), 1);
  EXPECT_EQ(static_cast<int64_t>(probe.logits.size()), 32 * probe.vocab);
  // Each token's probability given those before it: better than guessing, after a little training.
  double loss = 0;
  for (size_t i = 0; i + 1 < probe.ids.size(); ++i) {
    const float* row = probe.logits.data() + i * static_cast<size_t>(probe.vocab);
    double sum = 0;
    for (int64_t v = 0; v < probe.vocab; ++v) sum += std::exp(double{row[v]});
    loss += std::log(sum) - double{row[probe.ids[i + 1]]};
  }
  EXPECT_LT(loss / 31, std::log(static_cast<double>(probe.vocab)));
}

// A four-bit run in eight bits: encoded anew only when asked, said in the file, and verified as
// such.
void expect_requantized(const SmallRun& small, const std::string& run) {
  const std::string file = small.path("bf16.gguf");
  const auto exported =
      answer({"export", run, "--format", "gguf:bf16", "--requantize", "--no-probe", "--out", file});
  EXPECT_EQ(exported.at("requantized"), true);
  EXPECT_FALSE(std::filesystem::exists(probe_path(file)));
  const testing::Exit verified = terse({"verify", file, "--against", run});
  EXPECT_EQ(verified.code, 0) << verified.output;
  EXPECT_THAT(verified.output, HasSubstr("encoded anew as gguf:bf16"));
  EXPECT_THAT(answer({"inspect", file}).at("metadata").at("terse.requantized"), "gguf:bf16");
}

// layers.json: rank 0's residual of every layer, which together are no more than all of it.
void expect_residuals(const std::string& run) {
  const auto layers = nlohmann::json::parse(read_text(run + "/layers.json"));
  double squares = 0;
  for (const auto& layer : layers.is_array() ? layers : layers.at("layers")) {
    const double norm = layer.at("residual_norm").get<double>();
    EXPECT_GT(norm, 0) << layer.at("name");
    squares += norm * norm;
  }
  std::ifstream metrics(run + "/metrics.jsonl");
  double all = 0;  // of the last step, biases and server residual included
  for (std::string line; std::getline(metrics, line);)
    if (const auto record = nlohmann::json::parse(line); record.at("kind") == "step")
      all = record.at("residual_norm").get<double>();
  EXPECT_GT(squares, 0.1 * all * all);
  EXPECT_LT(squares, all * all);
}

// The file cannot say how activations were rounded: its evaluation says what it leaves out.
TEST(Verbs, EvaluationOfAFileSaysThatActivationsAreNotRounded) {
  SmallRun small;
  const testing::Outcome trained =
      small.train("run", 1,
                  {"export.format=\"gguf\"", "train.steps=8", "optim.warmup=2", "optim.freeze=4",
                   "qat.act_bits=8"});
  ASSERT_TRUE(trained.ok()) << trained.text();
  const std::string run = small.path("run");
  const testing::Exit of_file = terse({"eval", run + "/model.gguf", "--data", small.path("data")});
  EXPECT_EQ(of_file.code, 0);
  EXPECT_THAT(of_file.output, HasSubstr("the run rounded activations to 8 bits"));
  EXPECT_THAT(terse({"eval", run}).output, Not(HasSubstr("rounded activations")));
}

// A folder of compressed-tensors and an archive can: one loss, and no word of it.
TEST(Verbs, EvaluationOfAFileRoundsActivationsAsItSays) {
  SmallRun small;
  const testing::Outcome trained =
      small.train("run", 1,
                  {"export.format=\"compressed-tensors\"", "train.steps=8", "optim.warmup=2",
                   "optim.freeze=4", "qat.target=\"compressed-tensors:w8a8\""});
  ASSERT_TRUE(trained.ok()) << trained.text();
  const std::string run = small.path("run"), folder = run + "/compressed-tensors",
                    archive = small.path("a.terse");
  EXPECT_EQ(terse({"export", run, "--format", "archive", "--out", archive}).code, 0);
  for (const std::string& path : {folder, archive}) {
    expect_one_loss(run, path, small.path("data"));
    EXPECT_THAT(terse({"eval", path, "--data", small.path("data")}).output,
                Not(HasSubstr("rounded activations")));
    EXPECT_EQ(terse({"verify", path, "--against", run}).code, 0);
    EXPECT_THAT(terse({"inspect", path}).output, HasSubstr("input int_signed b8 absmax"));
  }
  // Dense weights cannot say it, and their evaluation is another one.
  EXPECT_EQ(terse({"export", run, "--format", "hf", "--out", small.path("hf")}).code, 0);
  EXPECT_NE(answer({"eval", small.path("hf"), "--data", small.path("data")}).at("loss"),
            answer({"eval", run}).at("loss"));
  EXPECT_NE(read_probe(probe_path(small.path("hf"))).logits, read_probe(probe_path(folder)).logits);
}

TEST(Verbs, OfAFinishedRun) {
  SmallRun small;
  const testing::Outcome trained =
      small.train("run", 2, {"export.format=\"gguf\"", "train.steps=20", "optim.freeze=10"});
  ASSERT_TRUE(trained.ok()) << trained.text();
  const std::string run = small.path("run"), file = run + "/model.gguf";

  const testing::Exit verified = terse({"verify", file, "--against", run});
  EXPECT_EQ(verified.code, 0) << verified.output;
  expect_codes(file, run);
  expect_one_loss(run, file, small.path("data"));
  expect_probe(file);
  expect_other_formats(small, run);
  expect_requantized(small, run);
  expect_residuals(run);
  for (const std::string& path : {file, run, run + "/checkpoints/step-00000020"})
    EXPECT_FALSE(answer({"inspect", path}).at("tensors").empty()) << path;

  const std::string page = small.path("page.html");
  EXPECT_EQ(terse({"report", run, "--out", page}).code, 0);
  EXPECT_THAT(read_text(page), StartsWith("<!doctype html>"));

  // One byte of the last tensor.
  const auto size = static_cast<std::streamoff>(std::filesystem::file_size(file));
  std::fstream bytes(file, std::ios::in | std::ios::out | std::ios::binary);
  bytes.seekg(size - 100);
  const auto old = static_cast<char>(bytes.get());
  bytes.seekp(size - 100).put(static_cast<char>(old ^ 1));
  bytes.close();
  const testing::Exit flipped = terse({"verify", file, "--against", run});
  EXPECT_EQ(flipped.code, 5) << flipped.output;
  EXPECT_THAT(flipped.output, HasSubstr(file));
}

}  // namespace
}  // namespace terse
