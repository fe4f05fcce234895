#include "comm/plan/transport_probe.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <thread>
#include <vector>

namespace terse {
namespace {

class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  ~Socket() {
    if (fd_ >= 0) ::close(fd_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

constexpr size_t kPiece = 128 << 10;  // as transports write
constexpr size_t kPieces = 512;

void send_all(int fd) {
  const std::vector<char> piece(kPiece);
  for (size_t i = 0; i < kPieces; ++i)
    for (size_t at = 0; at < kPiece;) {
      const ssize_t sent = ::send(fd, piece.data() + at, kPiece - at, MSG_NOSIGNAL);
      if (sent <= 0) return;
      at += static_cast<size_t>(sent);
    }
}

size_t receive_all(int fd) {
  std::vector<char> piece(kPiece);
  size_t all = 0;
  while (all < kPiece * kPieces) {
    const ssize_t came = ::recv(fd, piece.data(), piece.size(), 0);
    if (came <= 0) break;
    all += static_cast<size_t>(came);
  }
  return all;
}

double busy_seconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

}  // namespace

double measure_transport() {
  const Socket listener(::socket(AF_INET, SOCK_STREAM, 0)), out(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* any = reinterpret_cast<sockaddr*>(&address);
  if (::bind(listener.fd(), any, size) != 0 || ::listen(listener.fd(), 1) != 0 ||
      ::getsockname(listener.fd(), any, &size) != 0 || ::connect(out.fd(), any, size) != 0)
    return 0;
  const Socket in(::accept(listener.fd(), nullptr, nullptr));
  const double begin = busy_seconds();
  std::thread sender([&] { send_all(out.fd()); });
  const size_t bytes = receive_all(in.fd());
  if (bytes < kPiece * kPieces) ::shutdown(out.fd(), SHUT_RDWR);
  sender.join();
  return bytes == 0 ? 0 : (busy_seconds() - begin) / static_cast<double>(bytes);
}

}  // namespace terse
