#include "base/name_pattern.h"

#include <gtest/gtest.h>

namespace terse {
namespace {

TEST(NamePattern, StarsMatchAnything) {
  EXPECT_TRUE(matches("*", ""));
  EXPECT_TRUE(matches("a*c*", "abbcd"));
  EXPECT_TRUE(matches("*.mlp.*", "model.layers.3.mlp.up_proj"));
  EXPECT_FALSE(matches("a*c", "abcd"));
  EXPECT_FALSE(matches("", "a"));
}

TEST(NamePattern, IgnoreWinsAndWeightMayBeLeftOut) {
  const std::string name = "model.layers.0.mlp.down_proj.weight";
  EXPECT_TRUE(selected({}, {}, name));
  EXPECT_TRUE(selected({"*down_proj"}, {}, name));
  EXPECT_TRUE(selected({"*down_proj.weight"}, {}, name));
  EXPECT_FALSE(selected({"*up_proj"}, {}, name));
  EXPECT_FALSE(selected({"*mlp*"}, {"*down*"}, name));
  EXPECT_FALSE(selected({}, {"lm_head"}, "lm_head.weight"));
}

}  // namespace
}  // namespace terse
