// From the command line to an Invocation. The only file that includes CLI11 is parse.cc.
#pragma once
#include <string>
#include <vector>

#include "trainer/cli/arguments.h"

namespace terse {

// `arguments` without the program's name. Prints nothing. Error(usage) with one line that names the
// nearest verb or option for a wrong one.
Invocation parse_command_line(const std::vector<std::string>& arguments);

}  // namespace terse
