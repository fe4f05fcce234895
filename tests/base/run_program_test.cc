#include "base/run_program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file_system.h"
#include "tests/support/temporary_directory.h"

namespace terse {
namespace {

using ::testing::HasSubstr;

TEST(RunProgram, GivesOutputErrorsAndCode) {
  TemporaryDirectory folder;
  const std::string log = folder.path() + "/log";
  const ProgramEnd end = run_program({"sh", "-c", "echo out; echo err >&2; exit 7"}, log);
  EXPECT_EQ(end.code, 7);
  EXPECT_EQ(end.output, "out\n");
  EXPECT_EQ(read_text(log), "err\n");
  EXPECT_EQ(run_program({"sh", "-c", "kill -9 $$"}, log).code, 128 + 9);
  EXPECT_EQ(read_text(log), "");  // of the latest program only
}

TEST(RunProgram, NoShellReadsTheArguments) {
  const std::string odd = "a b'c\"d $HOME `date` ; \\ *\n";
  EXPECT_EQ(run_program({"printf", "%s", odd}, "/dev/null").output, odd);
}

// More than a pipe holds, with bytes that are no text; standard input is empty, not ours.
TEST(RunProgram, ReadsAllOfALongOutput) {
  EXPECT_EQ(run_program({"head", "-c", "3000000", "/dev/zero"}, "/dev/null").output,
            std::string(3'000'000, '\0'));
  EXPECT_EQ(run_program({"cat"}, "/dev/null").output, "");
}

TEST(RunProgram, WhatCannotBeStartedIsNamed) {
  try {
    run_program({"/nowhere/program"}, "/dev/null");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    EXPECT_THAT(error.what(), HasSubstr("cannot start /nowhere/program: No such file"));
  }
}

}  // namespace
}  // namespace terse
