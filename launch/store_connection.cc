#include "launch/store_connection.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <filesystem>
#include <string>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

namespace terse {
namespace {

// 0: `fd` is no connected TCP socket.
int remote_port(int fd) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return 0;
  if (address.ss_family == AF_INET)
    return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
  if (address.ss_family == AF_INET6)
    return ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
  return 0;
}

void set(int fd, int level, int name, int value) {
  ::setsockopt(fd, level, name, &value, sizeof value);
}

void limit_socket(int fd, std::chrono::milliseconds limit) {
  const auto seconds = static_cast<int>(std::max<int64_t>(1, limit.count() / 2000));
  set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(limit.count()));
  set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds);
  set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
}

}  // namespace

void limit_silence(c10d::Store& store, std::chrono::milliseconds limit) {
  c10d::Store* inner = &store;
  while (auto* prefix = dynamic_cast<c10d::PrefixStore*>(inner))
    inner = prefix->getUnderlyingStore().get();
  const auto* tcp = dynamic_cast<const c10d::TCPStore*>(inner);
  if (tcp == nullptr) return;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", error)) {
    const std::string name = entry.path().filename();
    int fd = -1;
    std::from_chars(name.data(), name.data() + name.size(), fd);
    if (fd >= 0 && remote_port(fd) == tcp->getPort()) limit_socket(fd, limit);
  }
}

}  // namespace terse
