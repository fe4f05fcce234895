#include "trainer/recipe/one_table.h"

#include <fmt/format.h>

#include <algorithm>

namespace terse {

Document document_of_sets(const std::vector<std::string>& sets,
                          const std::vector<std::string>& tables, std::vector<Problem>& problems) {
  Document document{"the command line", {}};
  for (const std::string& set : sets) {
    const bool named = set.substr(0, set.find('=')).find('.') != std::string::npos;
    apply_set(document, named ? set : tables.front() + "." + set, problems);
  }
  std::string known;
  for (const std::string& name : tables)
    known += fmt::format("{}[{}]", known.empty() ? "" : ", ", name);
  for (const Table& table : document.tables)
    if (std::ranges::find(tables, table.name) == tables.end()) {
      Problem problem{table.place, fmt::format("only keys of {} mean something here", known)};
      problems.push_back(std::move(problem));
    }
  return document;
}

}  // namespace terse
