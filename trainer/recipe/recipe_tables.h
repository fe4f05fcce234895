// The tables of a recipe in their fixed order: the one list that loading, writing, the manual and
// the hash go through. A new component adds its options to Recipe and a line here.
#pragma once
#include "trainer/recipe/recipe.h"

namespace terse {

// Calls visit(name, options) for each table.
template <typename Visit>
void for_each_table(Recipe& recipe, Visit visit) {
  visit("model", recipe.model);
  visit("data", recipe.data);
  visit("train", recipe.train);
  visit("distill", recipe.distill);
  visit("optim", recipe.optim);
  visit("exchange", recipe.exchange);
  visit("qat", recipe.qat);
  visit("sparsity", recipe.sparsity);
  visit("checkpoint", recipe.checkpoint);
  visit("export", recipe.export_);
}

}  // namespace terse
