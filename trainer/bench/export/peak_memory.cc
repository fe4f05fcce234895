#include "trainer/bench/export/peak_memory.h"

#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <string>
#include <thread>

namespace terse {
namespace {

struct Now {
  int64_t resident = 0, anonymous = 0, high_water = 0;
};

Now look() {
  Now now;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    const auto take = [&](const char* key, int64_t& bytes) {
      const std::string prefix = std::string(key) + ":";
      if (line.starts_with(prefix)) bytes = 1024 * std::stoll(line.substr(prefix.size()));
    };
    take("VmRSS", now.resident);
    take("RssAnon", now.anonymous);
    take("VmHWM", now.high_water);
  }
  return now;
}

// man 5 proc: 5 resets the peak resident size to what is resident now.
bool restart_high_water() {
  std::ofstream file("/proc/self/clear_refs");
  file << "5" << std::flush;
  return file.good();
}

}  // namespace

PeakMemory peak_memory(const std::function<void()>& work) {
  ::malloc_trim(0);
  const bool exact = restart_high_water();
  PeakMemory peak;
  const auto note = [&peak](const Now& now) {
    peak.resident = std::max(peak.resident, now.resident);
    peak.anonymous = std::max(peak.anonymous, now.anonymous);
  };
  {
    const std::jthread watcher([&](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        note(look());
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    });
    work();
  }  // joins
  const Now end = look();
  note(end);
  if (exact) peak.resident = std::max(peak.resident, end.high_water);
  return peak;
}

}  // namespace terse
