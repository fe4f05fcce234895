#include "trainer/recipe/recipe_keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace terse {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// A component as any other folder has them.
struct Options {
  bool on = false;
  int64_t count = 3;
  double rate = 0.5;
  std::string title = "none";
  std::string mode = "fast";
  std::vector<double> betas{0.9, 0.95};
  std::vector<std::string> names;
  void bind(Keys& keys) {
    keys.flag("on", on, "whether");
    keys.integer("count", count, 1, 10, "how many");
    keys.number("rate", rate, 0, 1, "how fast");
    keys.text("title", title, "called");
    keys.choice("mode", mode, {"fast", "exact"}, "how");
    keys.numbers("betas", betas, "decays");
    keys.texts("names", names, "who");
  }
};

struct Bound {
  Options options;
  std::vector<Problem> problems;
  std::vector<BoundKey> keys;
  std::vector<std::string> texts() const {
    std::vector<std::string> result;
    for (const Problem& p : problems) result.push_back(p.place.to_text() + ": " + p.message);
    return result;
  }
};

Bound bind(std::string_view text, const std::vector<std::string>& sets = {}) {
  Bound bound;
  Document document = parse_document(text, "r.toml", bound.problems);
  for (const std::string& set : sets) apply_set(document, set, bound.problems);
  RecipeKeys keys(document, "t", bound.problems);
  bound.options.bind(keys);
  keys.report_unknown();
  bound.keys = keys.keys();
  return bound;
}

TEST(RecipeKeys, DefaultsStayWithoutATable) {
  const Bound bound = bind("");
  EXPECT_TRUE(bound.problems.empty());
  EXPECT_EQ(bound.options.count, 3);
  ASSERT_EQ(bound.keys.size(), 7u);
  EXPECT_EQ(bound.keys[1].origin, "default");
  EXPECT_EQ(bound.keys[1].value, "3");
  EXPECT_EQ(bound.keys[4].range, "\"fast\" | \"exact\"");
}

TEST(RecipeKeys, ReadsEveryKindAndItsOrigin) {
  const Bound bound = bind(
      "[t]\non = true\ncount = 10\nrate = 1\ntitle = \"x\"\nmode = \"exact\"\nbetas = [1, 0.5]\n"
      "names = \"alone\"\n",
      {"t.count=1"});
  EXPECT_THAT(bound.texts(), ElementsAre());
  const Options& o = bound.options;
  EXPECT_TRUE(o.on);
  EXPECT_EQ(o.count, 1);
  EXPECT_EQ(o.rate, 1.0);
  EXPECT_EQ(o.title, "x");
  EXPECT_EQ(o.mode, "exact");
  EXPECT_THAT(o.betas, ElementsAre(1.0, 0.5));
  EXPECT_THAT(o.names, ElementsAre("alone"));
  EXPECT_EQ(bound.keys[0].origin, "file");
  EXPECT_EQ(bound.keys[1].origin, "flag");
  EXPECT_EQ(bound.keys[1].standard, "3");
}

TEST(RecipeKeys, AllProblemsAtOnceWithPlaceAndNearestName) {
  const Bound bound = bind(
      "[t]\n"
      "on = 1\n"
      "count = 11\n"
      "rate = \"quick\"\n"
      "title = 5\n"
      "mode = \"exat\"\n"
      "betas = [0.9, \"x\"]\n"
      "names = [1]\n"
      "cuont = 3\n");
  EXPECT_THAT(bound.texts(),
              ElementsAre("r.toml:2:1: [t] on: expected true or false, found an integer",
                          "r.toml:3:1: [t] count: 11 is out of bounds (integer, 1 to 10)",
                          "r.toml:4:1: [t] rate: expected a number, found a text",
                          "r.toml:5:1: [t] title: expected a text in quotes, found an integer",
                          "r.toml:6:1: [t] mode: 'exat' is none of \"fast\" | \"exact\"; did you "
                          "mean 'exact'?",
                          "r.toml:7:1: [t] betas: item 2 of the list: expected a number, found a "
                          "text",
                          "r.toml:8:1: [t] names: item 1 of the list: expected a text, found an "
                          "integer",
                          "r.toml:9:1: unknown key 'cuont' in [t]; did you mean 'count'?"));
  // Nothing changed: the defaults are what a later check sees.
  EXPECT_EQ(bound.options.count, 3);
  EXPECT_EQ(bound.options.mode, "fast");
}

TEST(RecipeKeys, FlagsAreNamedInProblems) {
  const Bound bound = bind("", {"t.count=many", "t.speed=3", "t.rate=nan"});
  EXPECT_THAT(bound.texts(),
              ElementsAre("--set t.count: [t] count: expected an integer, found a text",
                          "--set t.rate: [t] rate: nan is out of bounds (number, 0 to 1)",
                          "--set t.speed: unknown key 'speed' in [t]"));
}

TEST(RecipeKeys, IntegersAreNotRounded) {
  EXPECT_THAT(bind("[t]\ncount = 3.0\n").texts(),
              ElementsAre(HasSubstr("expected an integer, found a number")));
  EXPECT_THAT(bind("[t]\ncount = 99999999999999999999\n").problems, testing::SizeIs(1));
}

TEST(RecipeKeys, ComponentProblemsStandAtTheirKeyUnlessItIsFaultyAlready) {
  std::vector<Problem> problems;
  const Document document = parse_document("[t]\ncount = 0\nrate = 0.25\n", "r.toml", problems);
  RecipeKeys keys(document, "t", problems);
  Options options;
  options.bind(keys);
  keys.problem("rate", "too slow");
  keys.problem("rate", "said once");
  keys.problem("count", "follows from the fault");
  keys.problem("title", "not given");
  ASSERT_EQ(problems.size(), 3u);
  EXPECT_EQ(problems[1].place.to_text(), "r.toml:3:1");
  EXPECT_EQ(problems[1].message, "[t] rate: too slow");
  EXPECT_EQ(problems[2].place.to_text(), "r.toml:1:1");  // its table
}

}  // namespace
}  // namespace terse
