#include "launch/doctor.h"

#define OMPI_SKIP_MPICXX 1  // the C++ bindings of old need a library of their own
#include <mpi.h>
#include <sys/utsname.h>
#include <torch/version.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/first_line.h"
#include "base/isa.h"
#include "launch/rendezvous.h"

namespace terse {
namespace {

// The text after "key:" (or "key" and blanks) in a file of such lines; empty if absent.
std::string value_in(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const size_t start = line.find_first_not_of(" \t:", key.size());
    return start == std::string::npos ? "" : line.substr(start);
  }
  return "";
}

int64_t leading_number(const std::string& text) {
  int64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::vector<std::string> find_gpus() {
  std::vector<std::string> gpus;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/driver/nvidia/gpus", error)) {
    gpus.push_back(value_in((entry.path() / "information").string(), "Model"));
  }
  return gpus;
}

std::string mpi_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = {};
  int length = 0;
  MPI_Get_library_version(text, &length);  // may be called before MPI_Init
  const std::string line = first_line(text);
  return line.substr(0, line.find(','));
}

int64_t cgroup_limit() {
  std::ifstream file("/sys/fs/cgroup/memory.max");
  int64_t limit = 0;
  return file >> limit && limit > 0 ? limit : INT64_MAX;
}

int64_t cgroup_used() {
  std::ifstream file("/sys/fs/cgroup/memory.current");
  int64_t used = 0;
  file >> used;
  return used;
}

std::string gib(int64_t bytes) {
  return fmt::format("{:.1f} GiB", static_cast<double>(bytes) / (1024.0 * 1024 * 1024));
}

nlohmann::json world_json(const World& w) {
  return {{"launcher", launcher_name(w.launcher)},
          {"rank", w.rank},
          {"size", w.size},
          {"local_rank", w.local_rank},
          {"local_size", w.local_size},
          {"local_known", w.local_known},
          {"node", w.node},
          {"nodes", w.nodes},
          {"node_known", w.node_known},
          {"restart", w.restart},
          {"job", w.job},
          {"master_address", w.master_address},
          {"master_port", w.master_port},
          {"agent_store", w.agent_store},
          {"origin", w.origin}};
}

}  // namespace

DoctorReport examine(const Environment& environment, const WorldFlags& flags,
                     BindingOptions binding) {
  DoctorReport report;
  try {
    report.world = resolve_world(environment, flags);
  } catch (const Error& e) {
    report.world_error = e.what();
  }
  utsname system{};
  if (::uname(&system) == 0) report.kernel = fmt::format("{} {}", system.sysname, system.release);
  report.host = host_name();
  report.processor = value_in("/proc/cpuinfo", "model name");
  binding.bound_by_mpirun = environment.contains(kBoundByMpirun);
  try {
    report.allowed_cpus = allowed_cpus();
    report.binding = intended_binding(report.world, binding);
  } catch (const Error& e) {
    report.binding.text = e.what();
  }
  report.isa = isa_name(isa());
  report.torch = TORCH_VERSION;
  report.mpi = mpi_version();
  report.mpi_launch = report.world.under_mpirun;
  report.cuda_built = TERSE_CUDA_BUILT != 0;
  report.gpus = find_gpus();
  report.memory_bytes = leading_number(value_in("/proc/meminfo", "MemTotal")) * 1024;
  report.available_bytes =
      std::min(leading_number(value_in("/proc/meminfo", "MemAvailable")) * 1024,
               std::max<int64_t>(0, cgroup_limit() - cgroup_used()));
  return report;
}

std::string render_text(const DoctorReport& r) {
  const World& w = r.world;
  std::string out;
  const auto line = [&out](const std::string& name, const std::string& value) {
    out += fmt::format("{:<12} {}\n", name, value);
  };
  if (!r.world_error.empty()) line("launch", "WRONG: " + r.world_error);
  line("launcher", std::string(launcher_name(w.launcher)));
  const auto valued = [&](const char* name, const std::string& value) {
    const auto it = w.origin.find(name);
    line(name, it == w.origin.end() ? value : fmt::format("{:<20} from {}", value, it->second));
  };
  valued("rank", fmt::format("{}", w.rank));
  valued("size", fmt::format("{}", w.size));
  valued("local_rank", w.local_known ? fmt::format("{}", w.local_rank) : "known after rendezvous");
  valued("local_size", w.local_known ? fmt::format("{}", w.local_size) : "known after rendezvous");
  valued("node", w.node_known ? fmt::format("{}", w.node) : "known after rendezvous");
  valued("nodes",
         w.origin.contains("nodes") ? fmt::format("{}", w.nodes) : "known after rendezvous");
  valued("restart", fmt::format("{}", w.restart));
  valued("job", w.job);
  if (w.size > 1) {
    valued("master_address", w.master_address.empty() ? "rank 0 picks" : w.master_address);
    valued("master_port", w.master_port == 0 ? "rank 0 picks" : fmt::format("{}", w.master_port));
    line("store", w.agent_store ? "hosted by torchrun's agent" : "hosted by rank 0");
  }
  line("host", r.host);
  line("system", r.kernel);
  line("processor",
       fmt::format("{}, {} allowed cpus, kernels: {}", r.processor, r.allowed_cpus, r.isa));
  line("binding", r.binding.text);
  line("memory", fmt::format("{}, {} available", gib(r.memory_bytes), gib(r.available_bytes)));
  line("torch", r.torch);
  line("mpi", r.mpi);
  line("cuda",
       fmt::format("{}, {}", r.cuda_built ? "built in" : "not built in",
                   r.gpus.empty() ? "no GPU"
                                  : fmt::format("{} GPU(s): {}", r.gpus.size(), r.gpus.front())));
  return out;
}

std::string render_json(const DoctorReport& r) {
  nlohmann::json json = {{"world", world_json(r.world)},
                         {"host", r.host},
                         {"kernel", r.kernel},
                         {"processor", r.processor},
                         {"allowed_cpus", r.allowed_cpus},
                         {"binding",
                          {{"cpus", r.binding.cpus},
                           {"cores", r.binding.cores},
                           {"threads", r.binding.threads},
                           {"text", r.binding.text}}},
                         {"isa", r.isa},
                         {"torch", r.torch},
                         {"mpi", r.mpi},
                         {"mpi_launch", r.mpi_launch},
                         {"cuda_built", r.cuda_built},
                         {"gpus", r.gpus},
                         {"memory_bytes", r.memory_bytes},
                         {"available_bytes", r.available_bytes}};
  if (!r.world_error.empty()) json["world_error"] = r.world_error;
  return json.dump(2);
}

}  // namespace terse
