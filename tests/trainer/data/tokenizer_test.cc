#include "trainer/data/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/trainer/data/sample_text.h"
#include "tests/trainer/data/temporary_folder.h"

namespace terse {
namespace {

const Tokenizer& tokenizer() {
  static const std::string text = sample_text(2000);
  static const Tokenizer trained = Tokenizer::train({text}, 400);
  return trained;
}

TEST(Tokenizer, HasLlamasSpecialIdsAndByteTokens) {
  const Tokenizer& t = tokenizer();
  EXPECT_EQ(t.vocab(), 400);
  EXPECT_EQ(t.unknown(), 0);
  EXPECT_EQ(t.bos(), 1);
  EXPECT_EQ(t.eos(), 2);
  const auto pieces = t.pieces();
  ASSERT_EQ(pieces.size(), 400u);
  EXPECT_EQ(pieces[0].type, PieceType::unknown);
  EXPECT_EQ(pieces[1].type, PieceType::control);
  EXPECT_EQ(pieces[2].type, PieceType::control);
  for (size_t byte = 0; byte < 256; ++byte) {
    EXPECT_EQ(pieces[3 + byte].type, PieceType::byte);
    EXPECT_EQ(pieces[3 + byte].text, fmt::format("<0x{:02X}>", byte));
  }
  EXPECT_EQ(pieces[259].type, PieceType::normal);
}

TEST(Tokenizer, GivesBackOddTextByteForByte) {
  for (const std::string text : {"",
                                 " ",
                                 "   ",
                                 "\n",
                                 "\n\n",
                                 "a\nb",
                                 "a\r\nb\r\n",
                                 "tab\there",
                                 "  two  leading",
                                 "trailing  ",
                                 "line \n line",
                                 "日本語 and straße",
                                 "emoji 👩‍👩‍👧‍👦 joined",
                                 "combining e\u0301 and \u00e9",
                                 "\u00a0no-break\u3000ideographic",
                                 "\ufeffmark",
                                 "<s> </s> <unk> <0x41>",
                                 "ﬁ ligature ①",
                                 "never seen: Ωμέγα \U0001F9EA",
                                 "\x01\x02\x7f"}) {
    EXPECT_EQ(tokenizer().decode(tokenizer().encode(text)), text);
  }
  const std::string zero("a\0b", 3);
  EXPECT_EQ(tokenizer().decode(tokenizer().encode(zero)), zero);
}

TEST(Tokenizer, NeverEmitsControlOrUnknownIdsForText) {
  for (const int32_t id : tokenizer().encode("<s> </s> <unk> \U0001F9EA Ω\n")) EXPECT_GT(id, 2);
}

TEST(Tokenizer, CuttingLongTextChangesNoId) {
  // Far beyond the block size, with line ends of every kind in between; sentencepiece's own answer
  // for the whole text is the oracle: encoding line by line differs by the dummy space.
  std::string text;
  while (text.size() < 400000) text += sample_text(50) + "\n\n  indented\n \n";
  const std::vector<int32_t> cut = tokenizer().encode(text);
  std::string one_line = text;  // without line ends there is nothing to cut at
  for (char& c : one_line)
    if (c == '\n') c = '\r';
  std::vector<int32_t> whole = tokenizer().encode(one_line);
  for (int32_t& id : whole)
    if (id == 3 + '\r') id = 3 + '\n';
  EXPECT_EQ(cut, whole);
  EXPECT_EQ(tokenizer().decode(cut), text);
}

TEST(Tokenizer, IsDeterministic) {
  const std::string text = sample_text(2000);
  EXPECT_EQ(Tokenizer::train({text}, 400).model(), tokenizer().model());
}

TEST(Tokenizer, TrainsOnLinesOfAnyLength) {
  std::string text = sample_text(2000);
  for (char& c : text)
    if (c == '\n') c = ' ';
  EXPECT_EQ(Tokenizer::train({text}, 400).vocab(), 400);
}

TEST(Tokenizer, LoadsWhatItSaved) {
  TemporaryFolder folder;
  const Tokenizer loaded = Tokenizer::load(folder.write("t.model", tokenizer().model()));
  EXPECT_EQ(loaded.encode("light upon the waters\n"),
            tokenizer().encode("light upon the waters\n"));
}

TEST(Tokenizer, TooLargeAVocabularySaysHowManyPiecesFit) {
  try {
    Tokenizer::train({"abc abc abd\n"}, 4096);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    EXPECT_THAT(error.what(), testing::HasSubstr("4096"));
    EXPECT_THAT(error.what(), testing::HasSubstr("Vocabulary size too high"));
  }
}

TEST(Tokenizer, RefusesFilesThatAreNoModel) {
  TemporaryFolder folder;
  for (const std::string_view bytes : {"", "no model at all", "\x0a\xff\xff\xff\xff\x0f"}) {
    const std::string path = folder.write("bad.model", bytes);
    try {
      Tokenizer::load(path);
      FAIL() << bytes;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::invalid_file);
      EXPECT_THAT(error.what(), testing::HasSubstr(path));
    }
  }
  EXPECT_THROW(Tokenizer::load(folder.file("missing")), Error);
}

TEST(Tokenizer, RefusesToDecodeIdsOutsideTheVocabulary) {
  EXPECT_THROW(tokenizer().decode({400}), Error);
  EXPECT_THROW(tokenizer().decode({-1}), Error);
}

TEST(Utf8, FindsTheFirstMalformedByte) {
  EXPECT_EQ(first_malformed_utf8(""), -1);
  EXPECT_EQ(first_malformed_utf8("straße 日本語 👍"), -1);
  EXPECT_EQ(first_malformed_utf8("ab\xff"), 2);
  EXPECT_EQ(first_malformed_utf8("a\xc0\x80"), 1);          // overlong
  EXPECT_EQ(first_malformed_utf8("a\xe0\x80\x80"), 1);      // overlong
  EXPECT_EQ(first_malformed_utf8("a\xed\xa0\x80"), 1);      // surrogate
  EXPECT_EQ(first_malformed_utf8("a\xf4\x90\x80\x80"), 1);  // beyond U+10FFFF
  EXPECT_EQ(first_malformed_utf8("a\xe6\x97"), 1);          // cut short
}

}  // namespace
}  // namespace terse
