// Paths of `terse lab`: one pattern for the files of all ranks.
#pragma once
#include <string>

namespace terse {

// Every "{rank}" replaced by the number.
inline std::string ranked_path(std::string path, int rank) {
  const std::string mark = "{rank}", number = std::to_string(rank);
  for (size_t at = 0; (at = path.find(mark, at)) != std::string::npos; at += number.size())
    path.replace(at, mark.size(), number);
  return path;
}

}  // namespace terse
