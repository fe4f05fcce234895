// The Group of a verb without a recipe, from the common options alone.
#pragma once
#include "comm/connect.h"
#include "trainer/cli/arguments.h"

namespace terse {

inline Connection connect_lab(const CommonArguments& common, const std::string& device = "cpu") {
  ConnectOptions options;
  options.device = device;
  options.flags = common.world;
  options.backend = common.backend;
  options.timeout_s = common.timeout_s;
  options.threads = common.threads;
  options.bind = parse_bind(common.bind);
  return connect(options);
}

}  // namespace terse
