// Stopping on request: SIGINT, SIGTERM and SIGUSR1 (what Slurm sends before a time limit) set a
// flag that the training loop polls once a step; it then saves and ends with exit code 75. A second
// SIGINT ends the process at once.
#pragma once

namespace terse {

// Installs the handlers; to be called once, by verbs that poll.
void install_stop_signals();
// Whether a signal has come. Async-signal-safe, callable from any thread.
bool stop_requested();
// The number of the signal that came first, or 0.
int stop_signal();

}  // namespace terse
