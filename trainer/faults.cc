#include "trainer/faults.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "base/error.h"

namespace terse {
namespace {

template <typename T>
T number(std::string_view text, const std::string& whole) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0)
    fail(ExitCode::usage, "TERSE_FAULT: '{}' in \"{}\" is no number; write kind:rank:step", text,
         whole);
  return value;
}

FaultKind kind_of(std::string_view name, const std::string& whole) {
  if (name == "kill") return FaultKind::kill;
  if (name == "nan") return FaultKind::nan;
  if (name == "hang") return FaultKind::hang;
  if (name == "exit") return FaultKind::exit;
  if (name == "full") return FaultKind::full;
  if (name == "torn") return FaultKind::torn;
  fail(ExitCode::usage,
       "TERSE_FAULT: unknown kind '{}' in \"{}\"; there are kill, nan, hang, exit, full, torn",
       name, whole);
}

// Everything works but writing: there is no space, or the process is killed halfway through.
class FaultyDisk final : public FileSystem {
 public:
  explicit FaultyDisk(FaultKind kind) : kind_(kind) {}
  std::unique_ptr<WritableFile> create(const std::string& path) override {
    return std::make_unique<File>(kind_, path, real().create(path));
  }
  std::unique_ptr<WritableFile> append_to(const std::string& path) override {
    return std::make_unique<File>(kind_, path, real().append_to(path));
  }
  void rename(const std::string& from, const std::string& to) override { real().rename(from, to); }
  void remove(const std::string& path) override { real().remove(path); }
  void remove_all(const std::string& path) override { real().remove_all(path); }
  void make_directories(const std::string& path) override { real().make_directories(path); }
  void sync_directory(const std::string& path) override { real().sync_directory(path); }
  bool exists(const std::string& path) override { return real().exists(path); }
  std::vector<std::string> list(const std::string& path) override { return real().list(path); }

 private:
  struct File final : WritableFile {
    File(FaultKind k, std::string p, std::unique_ptr<WritableFile> f)
        : kind(k), path(std::move(p)), file(std::move(f)) {}
    void append(std::span<const std::byte> bytes) override {
      if (kind == FaultKind::torn) {
        file->append(bytes.first(bytes.size() / 2));
        file->sync();
        ::kill(::getpid(), SIGKILL);
      }
      fail(ExitCode::invalid_file, "{}: write: No space left on device (TERSE_FAULT)", path);
    }
    void write_at(int64_t, std::span<const std::byte> bytes) override { append(bytes); }
    void sync() override { file->sync(); }
    FaultKind kind;
    std::string path;
    std::unique_ptr<WritableFile> file;
  };
  FaultKind kind_;
};

}  // namespace

std::vector<Fault> parse_faults(const std::string& text) {
  std::vector<Fault> faults;
  std::string_view rest = text;
  while (!rest.empty()) {
    const size_t comma = std::min(rest.find(','), rest.size());
    const std::string_view one = rest.substr(0, comma);
    const size_t first = one.find(':'), second = one.rfind(':');
    if (first == std::string_view::npos || first == second)
      fail(ExitCode::usage, "TERSE_FAULT: \"{}\" is not of the form kind:rank:step", one);
    faults.push_back({kind_of(one.substr(0, first), text),
                      number<int>(one.substr(first + 1, second - first - 1), text),
                      number<int64_t>(one.substr(second + 1), text)});
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return faults;
}

Faults::Faults(int rank, int restart) {
  const char* text = std::getenv("TERSE_FAULT");
  if (text == nullptr) return;
  for (const Fault& fault : parse_faults(text))
    if (fault.rank == rank &&
        (restart == 0 || fault.kind == FaultKind::nan || fault.kind == FaultKind::full))
      mine_.push_back(fault);
}

bool Faults::strike(int64_t step) const {
  bool poisoned = false;
  for (const Fault& fault : mine_) {
    if (fault.step != step) continue;
    if (fault.kind == FaultKind::kill) ::kill(::getpid(), SIGKILL);
    if (fault.kind == FaultKind::exit) ::_exit(1);
    while (fault.kind == FaultKind::hang) ::pause();
    poisoned = poisoned || fault.kind == FaultKind::nan;
  }
  return poisoned;
}

FileSystem& Faults::disk(int64_t step) const {
  static FaultyDisk full(FaultKind::full), torn(FaultKind::torn);
  for (const Fault& fault : mine_) {
    if (fault.step != step) continue;
    if (fault.kind == FaultKind::full) return full;
    if (fault.kind == FaultKind::torn) return torn;
  }
  return FileSystem::real();
}

}  // namespace terse
