// Signals that ask a program to end: SIGINT (Ctrl-C), SIGTERM, SIGHUP, and SIGUSR1, which Slurm
// sends before a job's time is over. A library installs nothing: a program does.
#pragma once

#include "core/error.h"

namespace stagecoach {

// From here on the first of these signals is remembered. A Ctrl-C behind it ends the process at
// once; the others are repeated by schedulers, and change nothing. A signal that was ignored before
// (nohup) stays ignored.
void catch_interrupts();

// The number of the signal that came; 0: none did.
int interrupt_signal();
// "SIGINT"; "" for 0.
const char* name_of_signal(int number);

// Work was ended by a signal.
class Interrupted : public Error {
 public:
  Interrupted(const std::string& operation, int signal);
  int signal() const { return signal_; }

 private:
  int signal_;
};

// Throws Interrupted when a signal came: for long work between the pieces of it.
void check_interrupt(const char* operation);

}  // namespace stagecoach
