#include "launch/rendezvous.h"

#include <arpa/inet.h>
#include <c10/util/Flags.h>
#include <c10/util/Logging.h>
#include <fmt/ranges.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <thread>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "base/error.h"
#include "base/first_line.h"
#include "launch/mpi_runtime.h"

C10_DECLARE_int(caffe2_log_level);

namespace terse {
namespace {

using Clock = std::chrono::steady_clock;
// How often a waiting rank looks whether the others have come.
constexpr std::chrono::milliseconds kPoll{20};

using StorePtr = c10::intrusive_ptr<c10d::Store>;

double seconds(std::chrono::milliseconds t) {
  return std::chrono::duration<double>(t).count();
}

// The first address of this machine that others can reach.
std::string public_address() {
  ifaddrs* list = nullptr;
  std::string found = host_name();
  if (::getifaddrs(&list) != 0) return found;
  for (const ifaddrs* i = list; i != nullptr; i = i->ifa_next) {
    const bool usable = i->ifa_addr != nullptr && i->ifa_addr->sa_family == AF_INET &&
                        (i->ifa_flags & IFF_UP) != 0 && (i->ifa_flags & IFF_LOOPBACK) == 0;
    if (!usable) continue;
    char text[INET_ADDRSTRLEN] = {};
    const auto* address = reinterpret_cast<const sockaddr_in*>(i->ifa_addr);
    ::inet_ntop(AF_INET, &address->sin_addr, text, sizeof text);
    found = text;
    break;
  }
  ::freeifaddrs(list);
  return found;
}

c10d::TCPStoreOptions tcp_options(const World& world, std::chrono::milliseconds timeout) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(world.master_port);
  options.timeout = timeout;
  options.waitWorkers = false;  // we wait ourselves, to name who is missing
  return options;
}

StorePtr listen(const World& world, std::chrono::milliseconds timeout) {
  auto options = tcp_options(world, timeout);
  options.isServer = true;
  try {
    return c10::make_intrusive<c10d::TCPStore>(
        world.master_address.empty() ? "127.0.0.1" : world.master_address, options);
  } catch (const std::exception& e) {
    fail(ExitCode::usage, "rank 0 cannot listen on {}:{} ({}); choose a free port of this machine",
         world.master_address, world.master_port, first_line(e.what()));
  }
}

StorePtr connect(const World& world, std::chrono::milliseconds timeout) {
  try {
    return c10::make_intrusive<c10d::TCPStore>(world.master_address, tcp_options(world, timeout));
  } catch (const std::exception& e) {
    fail(
        ExitCode::deadline,
        "rank {} of {} could not reach rank 0's store at {}:{} within {} s ({}); did rank 0 start, "
        "and is the address right?",
        world.rank, world.size, world.master_address, world.master_port, seconds(timeout),
        first_line(e.what()));
  }
}

// mpirun without MASTER_*: rank 0 takes any free port and MPI carries the address.
StorePtr meet_over_mpi(World& world, std::chrono::milliseconds timeout) {
  mpi::initialize();
  StorePtr store;
  std::string address;
  if (world.rank == 0) {
    world.master_address = world.local_size == world.size ? "127.0.0.1" : public_address();
    store = listen(world, timeout);
    const auto& tcp = dynamic_cast<const c10d::TCPStore&>(*store);
    address = fmt::format("{} {}", world.master_address, tcp.getPort());
  }
  address = mpi::broadcast_text(address);
  const size_t space = address.find(' ');
  world.master_address = address.substr(0, space);
  std::from_chars(address.data() + space + 1, address.data() + address.size(), world.master_port);
  world.origin["master_address"] = world.origin["master_port"] = "rank 0, over MPI";
  return world.rank == 0 ? store : connect(world, timeout);
}

StorePtr open_store(World& world, std::chrono::milliseconds timeout) {
  if (world.size == 1 && !world.agent_store) return c10::make_intrusive<c10d::HashStore>();
  if (world.master_address.empty()) return meet_over_mpi(world, timeout);
  if (world.rank == 0 && !world.agent_store) return listen(world, timeout);
  return connect(world, timeout);
}

std::string host_key(int rank) {
  return fmt::format("host/{}", rank);
}

std::vector<int> missing_ranks(c10d::Store& store, int size) {
  std::vector<int> missing;
  for (int r = 0; r < size; ++r) {
    if (!store.check({host_key(r)})) missing.push_back(r);
  }
  return missing;
}

constexpr const char* kMissingKey = "missing";
constexpr const char* kSizeKey = "size";
constexpr const char* kDisagreeKey = "disagree";

// The store dies with its host, which lets the others read first.
void let_others_read(const World& world) {
  if (world.rank == 0) std::this_thread::sleep_for(kPoll * 10);
}

[[noreturn]] void disagree(const World& world, const std::string& why) {
  let_others_read(world);
  fail(ExitCode::disagree, "{}", why);
}

// A rank and of how many it was started as one.
struct Start {
  std::string rank, size;
};

// The first to come leaves how many ranks it expects; whoever expects another number tells all. The
// text does not depend on who came first.
void require_same_size(c10d::Store& store, const World& world) {
  const Start own{fmt::format("{}", world.rank), fmt::format("{}", world.size)};
  const std::string first = store.compareSet(kSizeKey, "", own.size + " " + own.rank);
  const size_t space = first.find(' ');
  const Start other{first.substr(space + 1), first.substr(0, space)};
  if (other.size == own.size) return;
  const bool before = own.rank.size() != other.rank.size() ? own.rank.size() < other.rank.size()
                                                           : own.rank < other.rank;
  const Start &lower = before ? own : other, &upper = before ? other : own;
  const std::string why = fmt::format(
      "the ranks disagree on their number: rank {} was started as one of {}, rank {} as one of {}; "
      "give all of them the same WORLD_SIZE (or --world-size)",
      lower.rank, lower.size, upper.rank, upper.size);
  store.set(kDisagreeKey, why);
  disagree(world, why);
}

[[noreturn]] void give_up(c10d::Store& store, const World& world, std::chrono::milliseconds timeout,
                          const std::vector<int>& missing) {
  const std::string who = fmt::format("{}", fmt::join(missing, ", "));
  store.set(kMissingKey, who);
  let_others_read(world);
  fail(ExitCode::deadline, "rank {} of {} waited {} s at {}:{}, but rank{} {} did not come",
       world.rank, world.size, seconds(timeout), world.master_address, world.master_port,
       missing.size() == 1 ? "" : "s", who);
}

// Every rank leaves its host's name; returns all of them.
std::vector<std::string> meet(c10d::Store& store, const World& world,
                              std::chrono::milliseconds timeout) {
  const auto end = Clock::now() + timeout;
  require_same_size(store, world);
  store.set(host_key(world.rank), host_name());
  std::vector<int> missing = missing_ranks(store, world.size);
  while (!missing.empty()) {
    if (store.check({kDisagreeKey})) disagree(world, store.get_to_str(kDisagreeKey));
    if (Clock::now() > end || store.check({kMissingKey})) give_up(store, world, timeout, missing);
    std::this_thread::sleep_for(kPoll);
    missing = missing_ranks(store, world.size);
  }
  std::vector<std::string> hosts;
  for (int r = 0; r < world.size; ++r) hosts.push_back(store.get_to_str(host_key(r)));
  return hosts;
}

std::vector<std::string> meet_or_fail(c10d::Store& store, const World& world,
                                      std::chrono::milliseconds timeout) {
  try {
    return meet(store, world, timeout);
  } catch (const Error&) {
    throw;
  } catch (const std::exception& e) {
    fail(ExitCode::peer_lost,
         "rank {} of {} lost the store at {}:{} while it waited for the others ({})", world.rank,
         world.size, world.master_address, world.master_port, first_line(e.what()));
  }
}

// torch reports every failed connection on standard error, with a stack; our Errors say it once.
void quiet_torch() {
  if (std::getenv("TORCH_CPP_LOG_LEVEL") == nullptr) FLAGS_caffe2_log_level = c10::GLOG_FATAL;
}

void place(World& world, const std::vector<std::string>& hosts) {
  std::vector<std::string> distinct;
  std::vector<int> seen(hosts.size(), 0);
  int mine = 0;
  int before = 0;
  for (size_t r = 0; r < hosts.size(); ++r) {
    if (std::find(distinct.begin(), distinct.end(), hosts[r]) == distinct.end()) {
      distinct.push_back(hosts[r]);
    }
    if (hosts[r] != hosts[static_cast<size_t>(world.rank)]) continue;
    ++mine;
    if (static_cast<int>(r) < world.rank) ++before;
  }
  if (!world.local_known) {
    world.local_rank = before;
    world.local_size = mine;
    world.local_known = true;
    world.origin["local_rank"] = world.origin["local_size"] = "host names";
    const auto at =
        std::find(distinct.begin(), distinct.end(), hosts[static_cast<size_t>(world.rank)]);
    world.node = static_cast<int>(at - distinct.begin());
    world.nodes = static_cast<int>(distinct.size());
    world.origin["node"] = world.origin["nodes"] = "host names";
  } else if (!world.node_known) {
    const auto at =
        std::find(distinct.begin(), distinct.end(), hosts[static_cast<size_t>(world.rank)]);
    world.node = static_cast<int>(at - distinct.begin());
    world.origin["node"] = "host names";
  }
  world.node_known = true;
}

}  // namespace

std::string host_name() {
  char name[256] = {};
  if (::gethostname(name, sizeof name - 1) != 0) return "unknown";
  return name;
}

std::string own_address(const World& world) {
  std::string fallback = world.nodes > 1 ? public_address() : "127.0.0.1";
  const std::string& host = world.master_address;
  addrinfo hints{};
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), "9", &hints, &found) != 0) return fallback;
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_in mine{};
  socklen_t size = sizeof mine;
  const bool routed = fd >= 0 && ::connect(fd, found->ai_addr, found->ai_addrlen) == 0 &&
                      ::getsockname(fd, reinterpret_cast<sockaddr*>(&mine), &size) == 0;
  ::freeaddrinfo(found);
  if (fd >= 0) ::close(fd);
  if (!routed) return fallback;
  char text[INET_ADDRSTRLEN] = {};
  ::inet_ntop(AF_INET, &mine.sin_addr, text, sizeof text);
  // A host name that /etc/hosts maps to 127.0.1.1 is of no use to other machines.
  return std::string_view(text).starts_with("127.") ? fallback : text;
}

StorePtr join(World& world, std::chrono::milliseconds timeout) {
  quiet_torch();
  // A write to a peer that has just died is an error to report, not the end of this process.
  if (world.size > 1) std::signal(SIGPIPE, SIG_IGN);
  StorePtr store = open_store(world, timeout);
  store = c10::make_intrusive<c10d::PrefixStore>(
      fmt::format("terse/{}/{}", world.job, world.restart), store);
  store->setTimeout(timeout);
  place(world, meet_or_fail(*store, world, timeout));
  return store;
}

}  // namespace terse
