#include "comm/connect.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <future>

#include "base/error.h"
#include "comm/group_gpu.h"
#include "launch/rendezvous.h"

namespace terse {
namespace {

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
}

// "+text" of a success, "!code text" of an Error: what rank 0 tells the others.
std::string outcome(const std::function<std::string()>& work) {
  try {
    return fmt::format("+{}", work());
  } catch (const Error& error) {
    return fmt::format("!{} {}", static_cast<int>(error.code()), error.what());
  } catch (const std::exception& error) {
    return fmt::format("!{} {}", static_cast<int>(ExitCode::usage), error.what());
  }
}

std::string unwrap(const std::string& message) {
  if (message.front() == '+') return message.substr(1);
  const size_t space = message.find(' ');
  throw Error(static_cast<ExitCode>(std::stoi(message.substr(1, space - 1))),
              message.substr(space + 1));
}

// Every rank's, through the store: the Group needs to know the device already. Collective.
std::vector<std::string> problems_of_all(c10d::Store& store, const World& world,
                                         const std::string& own) {
  const auto key = [](int rank) { return fmt::format("gpu-problem/{}", rank); };
  store.set(key(world.rank), std::vector<uint8_t>(own.begin(), own.end()));
  std::vector<std::string> problems;
  for (int rank = 0; rank < world.size; ++rank) {
    const std::vector<uint8_t> text = store.get(key(rank));
    problems.emplace_back(text.begin(), text.end());
  }
  return problems;
}

}  // namespace

bool choose_gpus(const std::string& device, const std::vector<std::string>& problems) {
  const auto problem = std::find_if(problems.begin(), problems.end(),
                                    [](const std::string& text) { return !text.empty(); });
  if (device == "cpu" || problem == problems.end()) return device != "cpu";
  if (device == "cuda")
    fail(ExitCode::usage,
         "[train] device = \"cuda\", but rank {} cannot use a GPU: {}; or set device = \"cpu\"",
         problem - problems.begin(), *problem);
  return false;
}

Connection connect(const ConnectOptions& options) {
  Connection connection;
  connection.world = resolve_world(current_environment(), options.flags);
  const auto store = join(connection.world, milliseconds(options.timeout_s));
  BindingOptions binding;
  binding.bind = options.bind;
  if (options.threads > 0) binding.threads = static_cast<int>(options.threads);
  connection.binding = apply_binding(connection.world, binding);
  GroupOptions group;
  group.backend = parse_backend(options.backend);
  group.timeout = milliseconds(options.timeout_s);
  if (options.device != "cpu") {
    const std::string own = gpu_problem(connection.world, group.backend);
    group.cuda = choose_gpus(options.device, problems_of_all(*store, connection.world, own));
  }
  if (group.cuda) connection.device = gpu_of(connection.world);
  connection.group = make_group(connection.world, store, group);
  return connection;
}

std::string on_leader(Group group, const std::function<std::string()>& work) {
  if (group.size() == 1) return unwrap(outcome(work));
  const std::string alive = ".";
  if (group.rank() != 0) {
    for (;;) {
      const std::string message = group.broadcast_text({}, 0, "waiting for rank 0");
      if (message != alive) return unwrap(message);
    }
  }
  auto result = std::async(std::launch::async, [&] { return outcome(work); });
  while (result.wait_for(std::chrono::seconds(1)) != std::future_status::ready)
    group.broadcast_text(alive, 0, "waiting for rank 0");
  return unwrap(group.broadcast_text(result.get(), 0, "waiting for rank 0"));
}

std::vector<std::string> all_gather_text(Group group, const std::string& own,
                                         std::string_view tag) {
  std::vector<std::string> texts;
  for (const auto& part : group.all_gather_bytes(std::as_bytes(std::span(own)), tag))
    texts.emplace_back(reinterpret_cast<const char*>(part.data()), part.size());
  return texts;
}

void require_same(Group group, uint64_t value, const std::string& what) {
  const auto all = group.all_gather_value(value, what);
  std::vector<int> different;
  for (size_t rank = 0; rank < all.size(); ++rank)
    if (all[rank] != all[0]) different.push_back(static_cast<int>(rank));
  if (!different.empty())
    fail(ExitCode::disagree,
         "the {} of rank {} differs from rank 0's; start all ranks with the same files and flags",
         what, fmt::join(different, ", "));
}

}  // namespace terse
