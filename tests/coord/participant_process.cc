#include "coord/participant_process.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace godwit::coord {

ParticipantProcess::ParticipantProcess(Backend& backend, Act act) {
  int orders[2];
  int reports[2];
  if (pipe(orders) != 0 || pipe(reports) != 0) return;
  pid_ = fork();
  if (pid_ != 0) {
    close(orders[0]);
    close(reports[1]);
    orders_ = orders[1];
    reports_ = reports[0];
    return;
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  close(orders[1]);
  close(reports[0]);
  char order = 0;
  if (read(orders[0], &order, 1) != 1) _exit(1);
  const Report report = [fd = reports[1]](char c) {
    if (write(fd, &c, 1) != 1) _exit(1);
  };
  auto coordinator = backend.open([report](SessionEvent event) {
    report(event == SessionEvent::connected      ? 'c'
           : event == SessionEvent::disconnected ? 'd'
                                                 : 'x');
  });
  if (coordinator == nullptr) _exit(1);
  act(*coordinator, report);
  for (;;) pause();
}

ParticipantProcess::~ParticipantProcess() {
  kill_and_wait();
  close(orders_);
  close(reports_);
}

void ParticipantProcess::start() {
  const char order = 's';
  if (write(orders_, &order, 1) != 1) kill_and_wait();
}

bool ParticipantProcess::wait_report(char report) {
  pollfd readable{reports_, POLLIN, 0};
  while (poll(&readable, 1, 20000) == 1) {
    char seen = 0;
    if (read(reports_, &seen, 1) != 1) return false;
    if (seen == report) return true;
  }
  return false;
}

void ParticipantProcess::signal(int number) {
  kill(pid_, number);
}

void ParticipantProcess::kill_and_wait() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

}  // namespace godwit::coord
