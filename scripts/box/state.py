"""Which clusters exist, who owns them, and how to remove one.

Cluster N is a folder /run/terse-cluster/N, whose file `lock` the owner holds locked (flock) for as long
as it lives, and network namespaces named terseN-...; everything else (interfaces, queues, processes)
lives inside these and goes with them. The kernel drops the lock however the owner ends, so a cluster
whose lock is free has no owner and may be removed by anybody. A lock on the parent folder's file makes
claiming, removing and looking one at a time.
"""

import contextlib
import fcntl
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import time

ROOT = pathlib.Path("/run/terse-cluster")
NAMESPACE = re.compile(r"terse(\d+)-\w+$")
KILL_LIMIT = 10.0  # seconds for killed processes to be gone


class Failure(Exception):
    """Ends the script with its text as the message."""


def run(*command, given=None):
    """The command's output; Failure with its own message if it fails."""
    try:
        done = subprocess.run(command, input=given, text=True, capture_output=True)
    except FileNotFoundError:
        raise Failure(f"{command[0]} is not installed (Debian: iproute2)") from None
    if done.returncode != 0:
        raise Failure(f"{shlex.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


@contextlib.contextmanager
def one_at_a_time():
    ROOT.mkdir(exist_ok=True)
    with open(ROOT / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def try_lock(folder):
    """The open lock file, or None if the owner lives."""
    file = open(folder / "lock", "a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def namespaces():
    """Names by cluster number."""
    found = {}
    folder = pathlib.Path("/run/netns")
    for name in sorted(os.listdir(folder)) if folder.is_dir() else []:
        match = NAMESPACE.match(name)
        if match:
            found.setdefault(int(match[1]), []).append(name)
    return found


def numbers():
    return sorted({int(f.name) for f in ROOT.iterdir() if f.name.isdigit()} | set(namespaces()))


def is_dead(number):
    folder = ROOT / str(number)
    if not folder.is_dir():
        return True  # namespaces alone
    lock = try_lock(folder)
    if lock:
        lock.close()
    return lock is not None


def processes(namespace):
    # A name whose namespace is not mounted (killed in between) has none.
    done = subprocess.run(["ip", "netns", "pids", namespace], text=True, capture_output=True)
    return [int(pid) for pid in done.stdout.split()]


def kill_all(names):
    """Everything that runs in these namespaces, and what it starts meanwhile."""
    end = time.monotonic() + KILL_LIMIT
    while left := [pid for name in names for pid in processes(name)]:
        if time.monotonic() > end:
            raise Failure(f"processes {left} do not die; they hold {', '.join(names)}")
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def remove(number):
    names = namespaces().get(number, [])
    kill_all(names)
    for name in names:
        run("ip", "netns", "delete", name)
    shutil.rmtree(ROOT / str(number), ignore_errors=True)


def remove_dead():
    """Returns the numbers of those removed; call it inside one_at_a_time()."""
    dead = [number for number in numbers() if is_dead(number)]
    for number in dead:
        remove(number)
    return dead


class Claim:
    """A cluster of ours: its number, its folder, and the lock that says that we live."""

    def __init__(self, command):
        with one_at_a_time():
            remove_dead()
            taken = numbers()
            self.number = next(n for n in range(len(taken) + 1) if n not in taken)
            self.folder = ROOT / str(self.number)
            self.folder.mkdir(mode=0o755)
            self.lock = try_lock(self.folder)
            self.lock.write(f"{os.getpid()} {shlex.join(command)}\n")
            self.lock.flush()

    def namespace(self, what):
        return f"terse{self.number}-{what}"

    def release(self):
        with one_at_a_time():
            remove(self.number)
            self.lock.close()


@contextlib.contextmanager
def claim(command):
    mine = Claim(command)
    try:
        yield mine
    finally:
        mine.release()


def report_clean():
    with one_at_a_time():
        dead = remove_dead()
        alive = numbers()
    print(f"removed {len(dead)}, {len(alive)} running")
    return 0


def report_list():
    with one_at_a_time():
        for number in numbers():
            lock = ROOT / str(number) / "lock"
            owner = "dead" if is_dead(number) else lock.read_text().strip()
            print(f"terse{number}: {owner}")
            for name in namespaces().get(number, []):
                print(f"  {name}: processes {' '.join(map(str, processes(name))) or 'none'}")
    return 0
