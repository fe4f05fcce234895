// The progress of a run as text: one line that is rewritten on a terminal, plain lines in a pipe.
//
// Lines are at most 120 columns. Text goes to `print`, never to a stream of our own. Rank 0 only.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "trainer/telemetry/records.h"

namespace terse {

using Print = std::function<void(std::string_view)>;

struct ProgressOptions {
  bool terminal = false;  // rewrite one line
  bool colour = false;    // ANSI colours; only with terminal
  int64_t every = 10;     // plain lines: each so many steps, and the first and the last
  int columns = 120;      // of the terminal; lines are cut to it
  // From the environment and a file descriptor: isatty, NO_COLOR, TERM=dumb, window size.
  static ProgressOptions detect(int fd);
};

// "step 120/2000 6% eta 5m44s | loss 2.8311 | norm 0.91 | 183 ms | 41.2k tok/s | wire 0.94 MB
// (x106) | ..."
std::string progress_line(const StepRecord& record, int64_t total_steps, double eta_seconds);
std::string eval_line(const EvalRecord& record);

class Progress {
 public:
  Progress(ProgressOptions options, int64_t total_steps, Print print);
  ~Progress();  // leaves the cursor on a new line
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void step(const StepRecord& record);
  void eval(const EvalRecord& record);
  void note(std::string_view text);  // a line of its own, whatever the mode

 private:
  void line(std::string_view text);

  ProgressOptions options_;
  int64_t total_steps_;
  Print print_;
  double step_seconds_ = 0;  // smoothed, for the ETA
  bool open_ = false;        // a line without its newline is on the terminal
};

}  // namespace terse
