"""Runs a command on the hosts of a cluster: the launchers, signals, and the exit status."""

import ctypes
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

from box.hosts import INTERFACE
from box.state import Failure

STOP = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
PASS_ON = STOP | {signal.SIGUSR1, signal.SIGUSR2}
HELD = PASS_ON | {signal.SIGCHLD, signal.SIGALRM}
MASTER_PORT = "29500"
STOP_LIMIT = 10.0  # seconds between passing a signal on and killing
PEER_LIMIT = 20.0  # seconds that the others have once a rank has failed
LOOK = 0.2  # seconds between looking at deadlines
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


class Launcher:
    def __init__(self, cluster, ranks_per_host):
        self.cluster = cluster
        self.hosts = cluster.hosts
        self.ranks = ranks_per_host

    def variables(self):
        """Ranks of one host see all its cores: as many threads each as is their share."""
        threads = max(1, len(self.hosts[0].cpus) // self.ranks)
        return {"GLOO_SOCKET_IFNAME": INTERFACE, "NCCL_SOCKET_IFNAME": INTERFACE,
                "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}

    def processes(self, command):
        """(words, environment variables to add) of each process to start here."""
        raise NotImplementedError


class Mpirun(Launcher):
    def processes(self, command):
        slots = ",".join(f"{h.name}:{self.ranks}" for h in self.hosts)
        words = ["mpirun", "-n", str(self.ranks * len(self.hosts)), "--host", slots,
                 "--bind-to", "none"]
        return [(self.cluster.enter(self.hosts[0]) + words + command,
                 self.variables() | self.components())]

    def components(self):
        """All daemons start from the first host: a tree would only be slower here. TCP alone, so
        that every byte between hosts crosses their link."""
        chosen = {
            "plm": "rsh", "plm_rsh_agent": self.cluster.agent, "plm_rsh_no_tree_spawn": "1",
            "pml": "ob1", "btl": "tcp,self", "btl_tcp_if_include": INTERFACE,
            "oob_tcp_if_include": INTERFACE, "orte_tmpdir_base": str(self.cluster.folder),
        }
        own = {f"OMPI_MCA_{key}": value for key, value in chosen.items()}
        root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
        return {key: os.environ.get(key, value) for key, value in (own | root).items()}


class Torchrun(Launcher):
    def processes(self, command):
        words = [self.program(), "--no-python", "--nnodes", str(len(self.hosts)),
                 "--nproc-per-node", str(self.ranks), "--master-addr", self.hosts[0].address,
                 "--master-port", MASTER_PORT]
        return [(self.cluster.enter(host) + words + ["--node-rank", str(i)] + command,
                 self.variables()) for i, host in enumerate(self.hosts)]

    def program(self):
        venv = pathlib.Path(__file__).parents[2] / ".venv-peers/bin/torchrun"
        found = shutil.which("torchrun") or (str(venv) if venv.exists() else None)
        if not found:
            raise Failure("no torchrun in PATH, and no .venv-peers (scripts/setup --peers makes it)")
        return found


class Plain(Launcher):
    def processes(self, command):
        size = self.ranks * len(self.hosts)
        job = {"WORLD_SIZE": str(size), "MASTER_ADDR": self.hosts[0].address,
               "MASTER_PORT": MASTER_PORT}
        return [(self.cluster.enter(self.hosts[rank // self.ranks]) + command,
                 self.variables() | job | {"RANK": str(rank)}) for rank in range(size)]


LAUNCHERS = {"mpirun": Mpirun, "torchrun": Torchrun, "plain": Plain}


def hold_signals():
    """From here on signals wait until run() takes them, so that none interrupts what must be whole."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD)


def _in_child():
    # Asked to end if we are killed; what stays behind is removed by the next start.
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)


def start(words, variables):
    # A session of its own, so that Ctrl-C comes by way of us alone.
    return subprocess.Popen(words, env=os.environ | variables, preexec_fn=_in_child,
                            start_new_session=True)


class Waiting:
    """What is still running, and until when it may."""

    def __init__(self, processes):
        self.running = processes
        self.first_failure = 0
        self.deadline = None

    def reap(self):
        for process in [p for p in self.running if p.poll() is not None]:
            self.running.remove(process)
            if process.returncode != 0 and self.first_failure == 0:
                code = process.returncode
                self.first_failure = code if code > 0 else 128 - code
                self.end_within(PEER_LIMIT)

    def end_within(self, limit):
        end = time.monotonic() + limit
        self.deadline = end if self.deadline is None else min(end, self.deadline)

    def pass_on(self, number):
        for process in self.running:
            os.killpg(process.pid, number)

    def overdue(self):
        return self.deadline is not None and time.monotonic() > self.deadline


def run(cluster, commands):
    """Returns the exit status: that of the first process that failed, or 128 + signal if it was
    ended by one, or if we had to end it after one."""
    waiting = Waiting([start(words, variables) for words, variables in commands])
    stopped_by = 0
    # Not sigtimedwait(): in Python 3.11 it returns garbage when we were stopped and continued.
    signal.setitimer(signal.ITIMER_REAL, LOOK, LOOK)
    while waiting.running and not waiting.overdue():
        if cluster.relay and cluster.relay.poll() is not None:
            raise Failure("the relay that delays packets died; the job cannot go on")
        taken = signal.sigwait(HELD)
        if taken in STOP and stopped_by:
            break
        if taken in PASS_ON:
            waiting.pass_on(taken)
        if taken in STOP:
            stopped_by = taken
            waiting.end_within(STOP_LIMIT)
        waiting.reap()
    if waiting.running:
        print(f"scripts/cluster: killed {len(waiting.running)} processes that did not end",
              file=sys.stderr)
        return waiting.first_failure or 128 + stopped_by
    return waiting.first_failure
