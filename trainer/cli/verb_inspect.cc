#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "export/inspect.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/cli/verbs.h"

namespace terse {
namespace {

struct Row {
  std::string name, scope, type;
  std::vector<int64_t> shape;
};

std::vector<Row> rows_of(const Checkpoint& checkpoint) {
  std::vector<Row> rows;
  for (const Scope scope : {Scope::shared, Scope::own})
    for (const std::string& name : checkpoint.tensor_names(scope)) {
      const TensorView view = checkpoint.tensor(scope, name).value();
      rows.push_back({name, scope == Scope::shared ? "shared" : "rank 0",
                      std::string(dtype_name(view.dtype)), view.shape});
    }
  return rows;
}

std::string json_of(const Checkpoint& checkpoint) {
  nlohmann::ordered_json tensors = nlohmann::ordered_json::array();
  for (const Row& row : rows_of(checkpoint))
    tensors.push_back(
        {{"name", row.name}, {"scope", row.scope}, {"type", row.type}, {"shape", row.shape}});
  const nlohmann::ordered_json json = {
      {"path", checkpoint.folder()},       {"format", "checkpoint"}, {"step", checkpoint.step()},
      {"ranks", checkpoint.saved_ranks()}, {"checksums", "ok"},      {"tensors", tensors}};
  return json.dump(2);
}

std::string text_of(const Checkpoint& checkpoint) {
  std::string text = fmt::format("{}: checkpoint of step {}, {} ranks, verified\n",
                                 checkpoint.folder(), checkpoint.step(), checkpoint.saved_ranks());
  for (const Row& row : rows_of(checkpoint)) {
    std::string shape;
    for (const int64_t n : row.shape) shape += (shape.empty() ? "" : " x ") + std::to_string(n);
    text += fmt::format("  {:<6} {:<5} {:<16} {}\n", row.scope, row.type, shape, row.name);
  }
  return text;
}

std::string answer(const Checkpoint& checkpoint, bool json) {
  return json ? json_of(checkpoint) : text_of(checkpoint);
}

std::string inspected(const std::string& path, bool json) {
  if (std::filesystem::exists(path + "/manifest.json")) return answer(Checkpoint(path, 0), json);
  if (std::filesystem::is_directory(path + "/checkpoints")) {
    const CheckpointSearch search = newest_checkpoint(path, 0);
    if (search.found == nullptr)
      fail(ExitCode::invalid_file, "{}: no checkpoint of this run verifies{}{}", path,
           search.rejected.empty() ? "" : "; the newest: ",
           search.rejected.empty() ? "" : search.rejected.front());
    return answer(*search.found, json);
  }
  const Inspection inspection = inspect_file(path);
  return json ? to_json(inspection) : to_text(inspection);
}

}  // namespace

int verb_inspect(const CommonArguments& common, const InspectArguments& arguments) {
  fmt::print("{}\n", inspected(arguments.path, common.json));
  return 0;
}

}  // namespace terse
