// Runs another program to its end and gives what it printed.
//
//   const ProgramEnd end = run_program({"/usr/bin/python3", "script.py", path}, folder + "/log");
//   if (end.code != 0) fail(ExitCode::invalid_file, "script.py: {}", read_text(folder + "/log"));
//
// No shell reads the command, so that arguments may hold anything. The program is looked for in
// $PATH unless its name has a '/', gets our environment, no standard input, and belongs to our
// process group: Ctrl-C ends it too. Blocks until it has closed its standard output and ended.
#pragma once
#include <string>
#include <vector>

namespace terse {

struct ProgramEnd {
  int code = 0;        // exit status; 128 + number when a signal ended it, as in a shell
  std::string output;  // all of standard output, bytes as they came
};

// command: the program and its arguments. errors: the file that its standard error replaces;
// "/dev/null" throws it away. Error (usage) when the program cannot be started, saying why.
ProgramEnd run_program(std::vector<std::string> command, const std::string& errors);

}  // namespace terse
