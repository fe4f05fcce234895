#include "trainer/telemetry/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "trainer/telemetry/format.h"

namespace terse {
namespace {

constexpr int kMostColumns = 120;
constexpr double kSmoothing = 0.1;  // weight of the newest step in the ETA

// Columns on a terminal: UTF-8 continuation bytes and ANSI sequences have none.
std::string cut(std::string_view text, int columns) {
  size_t bytes = 0;
  for (int used = 0; bytes < text.size(); ++bytes) {
    if ((static_cast<unsigned char>(text[bytes]) & 0xc0) == 0x80) continue;
    if (used++ == columns) break;
  }
  return std::string(text.substr(0, bytes));
}

}  // namespace

namespace {

// Open MPI gives every rank a terminal of its own, wherever mpirun's output goes: ask mpirun's.
bool reaches_a_terminal(int fd) {
  if (::isatty(fd) != 1) return false;
  if (std::getenv("OMPI_COMM_WORLD_RANK") == nullptr) return true;
  char target[256];
  const std::string link = fmt::format("/proc/{}/fd/{}", ::getppid(), fd);
  const ssize_t length = ::readlink(link.c_str(), target, sizeof target);
  const std::string_view name(target, static_cast<size_t>(std::max<ssize_t>(length, 0)));
  return name.starts_with("/dev/pts/") || name.starts_with("/dev/tty");
}

}  // namespace

ProgressOptions ProgressOptions::detect(int fd) {
  ProgressOptions options;
  const char* term = std::getenv("TERM");
  options.terminal = reaches_a_terminal(fd) && term != nullptr && std::string_view(term) != "dumb";
  const char* no_colour = std::getenv("NO_COLOR");
  options.colour = options.terminal && (no_colour == nullptr || *no_colour == '\0');
  winsize size{};
  if (options.terminal && ::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 1) {
    options.columns = std::min<int>(kMostColumns, size.ws_col - 1);
  }
  return options;
}

std::string progress_line(const StepRecord& r, int64_t total_steps, double eta_seconds) {
  const int64_t percent = total_steps > 0 ? r.step * 100 / total_steps : 0;
  std::string line = fmt::format("step {}/{} {}%", r.step, total_steps, percent);
  if (std::isfinite(eta_seconds)) line += " eta " + format_seconds(eta_seconds);
  line += fmt::format(" | loss {} | norm {} | {} | {} tok/s", format_loss(r.loss),
                      format_number(r.gradient_norm), format_seconds(r.seconds),
                      format_count(r.tokens_per_second));
  if (r.wire_bytes > 0) {
    line += " | wire " + format_bytes(static_cast<double>(r.wire_bytes));
    if (r.phase == "codec") {
      line += fmt::format(" ({})", format_factor(static_cast<double>(r.dense_bytes) /
                                                 static_cast<double>(r.wire_bytes)));
    }
  }
  if (r.residual_norm > 0) line += " | ef " + format_number(r.residual_norm);
  if (!r.pattern.empty()) line += " | " + r.pattern;
  if (r.beta > 0 && r.stage == "progressive") line += " beta " + format_number(r.beta);
  if (r.skipped) line += fmt::format(" | SKIPPED, rank {} not finite", r.bad_rank);
  return cut(line, kMostColumns);
}

std::string eval_line(const EvalRecord& r) {
  const bool classifier = r.accuracy >= 0;
  return cut(fmt::format("eval at step {}: {} loss {} | {} {} | {} {} | {}", r.step, r.name,
                         format_loss(r.loss), classifier ? "accuracy" : "perplexity",
                         classifier ? format_accuracy(r.accuracy) : format_perplexity(r.perplexity),
                         format_count(static_cast<double>(r.tokens)),
                         classifier ? "images" : "tokens", format_seconds(r.seconds)),
             kMostColumns);
}

Progress::Progress(ProgressOptions options, int64_t total_steps, Print print)
    : options_(options), total_steps_(total_steps), print_(std::move(print)) {}

Progress::~Progress() {
  if (open_) print_("\n");
}

void Progress::step(const StepRecord& record) {
  step_seconds_ = step_seconds_ == 0
                      ? record.seconds
                      : (1 - kSmoothing) * step_seconds_ + kSmoothing * record.seconds;
  const double left = static_cast<double>(std::max<int64_t>(total_steps_ - record.step, 0));
  const std::string text = progress_line(record, total_steps_, left * step_seconds_);
  if (!options_.terminal) {
    const bool due = options_.every > 0 && record.step % options_.every == 0;
    if (due || record.step == 1 || record.step == total_steps_ || record.skipped) line(text);
    return;
  }
  // A skipped step stays on the screen; others are overwritten by the next.
  if (record.skipped) return line(text);
  print_("\r\x1b[2K" + cut(text, options_.columns));
  open_ = true;
}

void Progress::eval(const EvalRecord& record) {
  const std::string text = eval_line(record);
  line(options_.colour ? "\x1b[1m" + text + "\x1b[0m" : text);
}

void Progress::note(std::string_view text) {
  line(text);
}

void Progress::line(std::string_view text) {
  std::string out;
  if (open_) out = "\r\x1b[2K";
  open_ = false;
  out.append(text);
  out += '\n';
  print_(out);
}

}  // namespace terse
