#include "trainer/recipe/document.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <cmath>

namespace terse {
namespace {

using testing::HasSubstr;

struct Parsed {
  Document document;
  std::vector<Problem> problems;
};

Parsed parse(std::string_view text) {
  Parsed parsed;
  parsed.document = parse_document(text, "r.toml", parsed.problems);
  return parsed;
}

Value value_of(const std::string& toml) {
  const Parsed parsed = parse("[t]\nv = " + toml + "\n");
  EXPECT_TRUE(parsed.problems.empty()) << toml;
  return parsed.document.find("t")->find("v")->value;
}

TEST(Document, ValuesHaveTheirPlace) {
  const Parsed parsed =
      parse("# comment\n[train]\nsteps = 5\n  lr = 0.5\n[data]\ntext = [\"a\"]\n");
  ASSERT_TRUE(parsed.problems.empty());
  const Table* train = parsed.document.find("train");
  ASSERT_NE(train, nullptr);
  EXPECT_EQ(train->place.to_text(), "r.toml:2:1");
  EXPECT_EQ(train->find("steps")->place.to_text(), "r.toml:3:1");
  EXPECT_EQ(train->find("lr")->place.to_text(), "r.toml:4:3");
  EXPECT_EQ(std::get<int64_t>(train->find("steps")->value.data), 5);
  EXPECT_EQ(parsed.document.tables[1].name, "data");
  EXPECT_EQ(train->find("missing"), nullptr);
}

TEST(Document, AllSyntaxProblemsAreCollectedAndTheRestIsRead) {
  const Parsed parsed = parse(
      "[train]\n"
      "steps = 5\n"
      "steps = 6\n"
      "seed = = 3\n"
      "clip = 1.0\n"
      "[data]\n"
      "dir = \"unclosed\n"
      "valid = 0.1\n"
      "[train]\n"
      "device = \"cpu\"\n");
  ASSERT_EQ(parsed.problems.size(), 4u);
  std::vector<std::string> places, messages;
  for (const Problem& p : parsed.problems) {
    places.push_back(fmt::format("{}", p.place.line));
    messages.push_back(p.message);
  }
  EXPECT_THAT(places, testing::UnorderedElementsAre("3", "4", "7", "9"));
  EXPECT_THAT(messages, testing::Contains(HasSubstr("duplicate key or table 'steps'")));
  EXPECT_THAT(messages, testing::Contains(HasSubstr("'train'")));
  EXPECT_NE(parsed.document.find("train")->find("clip"), nullptr);
  EXPECT_NE(parsed.document.find("data")->find("valid"), nullptr);
  EXPECT_EQ(parsed.document.tables.size(), 2u);
}

TEST(Document, NothingMakesTheReaderLoopOrCrash) {
  EXPECT_TRUE(parse("").problems.empty());
  EXPECT_FALSE(parse("\xff\xfe").problems.empty());
  EXPECT_FALSE(parse("[").problems.empty());
  EXPECT_FALSE(parse("[a\nb = [1,\n2\n").problems.empty());
  EXPECT_FALSE(parse("x = \"\"\"never\nends").problems.empty());
  std::string many;
  for (int i = 0; i < 100; ++i) many += "= broken\n";
  EXPECT_EQ(parse(many).problems.size(), 20u);
}

RC_GTEST_PROP(Document, AnyBytesEndInADocument, (const std::string& bytes)) {
  parse(bytes);
}

TEST(Document, KeyOutsideOfATableIsAProblem) {
  const Parsed parsed = parse("steps = 5\n");
  ASSERT_EQ(parsed.problems.size(), 1u);
  EXPECT_THAT(parsed.problems[0].message, HasSubstr("'steps' stands outside of any table"));
}

TEST(Set, OverridesFileAndEarlierFlags) {
  Parsed parsed = parse("[optim]\nname = \"adamw\"\nlr = 1\n");
  for (const char* set : {"optim.lr=2", "optim.lr=0.5", "optim.name=onebit_adam",
                          "data.text=[\"a\", \"b\"]", "qat.target=gguf:q4_0", "train.overlap=true"})
    apply_set(parsed.document, set, parsed.problems);
  EXPECT_TRUE(parsed.problems.empty());
  const Table* optim = parsed.document.find("optim");
  EXPECT_EQ(optim->entries.size(), 2u);
  EXPECT_EQ(std::get<double>(optim->find("lr")->value.data), 0.5);
  EXPECT_TRUE(optim->find("lr")->from_flag);
  EXPECT_EQ(optim->find("lr")->place.to_text(), "--set optim.lr");
  EXPECT_EQ(std::get<std::string>(optim->find("name")->value.data), "onebit_adam");
  EXPECT_EQ(
      std::get<std::vector<Value>>(parsed.document.find("data")->find("text")->value.data).size(),
      2u);
  EXPECT_EQ(std::get<std::string>(parsed.document.find("qat")->find("target")->value.data),
            "gguf:q4_0");
  EXPECT_TRUE(std::get<bool>(parsed.document.find("train")->find("overlap")->value.data));
}

TEST(Set, ValueCannotSmuggleInFurtherKeys) {
  Parsed parsed = parse("");
  apply_set(parsed.document, "a.b=1\nc = 2", parsed.problems);
  EXPECT_EQ(std::get<std::string>(parsed.document.find("a")->find("b")->value.data), "1\nc = 2");
}

TEST(Set, MalformedOnesAreProblems) {
  for (const char* set : {"steps=5", "train.steps", "", "=", ".x=1", "train.=1"}) {
    Parsed parsed = parse("");
    apply_set(parsed.document, set, parsed.problems);
    ASSERT_EQ(parsed.problems.size(), 1u) << set;
    EXPECT_THAT(parsed.problems[0].message, HasSubstr("table.key=value"));
  }
}

RC_GTEST_PROP(TomlText, NumbersReadBackBitForBit, (double x)) {
  RC_PRE(std::isfinite(x));
  RC_ASSERT(std::get<double>(value_of(toml_text(x)).data) == x);
}

RC_GTEST_PROP(TomlText, IntegersReadBack, (int64_t x)) {
  RC_ASSERT(std::get<int64_t>(value_of(toml_text(x)).data) == x);
}

TEST(TomlText, TextsReadBack) {
  for (const std::string text :
       {"", "plain", "quo\"te \\ back", "tab\tline\n", "ü日本", "\x01\x7f"})
    EXPECT_EQ(std::get<std::string>(value_of(toml_text(text)).data), text);
  EXPECT_EQ(toml_text(std::vector<double>{0.9, 1e-8, 1}), "[0.9, 1e-08, 1.0]");
  EXPECT_EQ(toml_text(std::vector<std::string>{"a", "b"}), "[\"a\", \"b\"]");
}

}  // namespace
}  // namespace terse
