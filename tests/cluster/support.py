"""What the tests of scripts/cluster share: starting one, and whether this machine can."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
SCRIPT = HERE.parents[1] / "scripts/cluster"
TRANSFER = [sys.executable, str(HERE / "transfer.py")]
LIMIT = 120.0  # seconds; nothing here takes a tenth of it


def why_not():
    """What this machine lacks, found without the script under test; empty if nothing."""
    if os.geteuid() != 0:
        return "not root"
    name = f"tersetest{os.getpid()}"
    tries = [["ip", "netns", "add", name],
             ["ip", "-n", name, "link", "add", "veth0", "type", "veth", "peer", "name", "veth1"],
             ["tc", "-n", name, "qdisc", "add", "dev", "veth0", "root", "tbf", "rate", "100mbit",
              "burst", "16kb", "latency", "50ms"],
             ["ip", "-n", name, "link", "add", "bridge0", "type", "bridge"]]
    try:
        for words in tries:
            done = subprocess.run(words, capture_output=True, text=True)
            if done.returncode != 0:
                return f"{' '.join(words)}: {done.stderr.strip()}"
        return ""
    except FileNotFoundError as missing:
        return f"{missing.filename} is not installed"
    finally:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def namespaces():
    folder = pathlib.Path("/run/netns")
    return set(os.listdir(folder)) if folder.is_dir() else set()


def alive(pid):
    """A killed process stays in /proc until init has asked for its status."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(what, limit=LIMIT):
    end = time.monotonic() + limit
    while not what():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.02)


class ClusterTest(unittest.TestCase):
    def setUp(self):
        self._folder = tempfile.TemporaryDirectory()
        self.addCleanup(self._folder.cleanup)
        self.folder = pathlib.Path(self._folder.name)

    def start(self, *options, command):
        """Each of the command's ranks should touch `up.RANK`."""
        process = subprocess.Popen([str(SCRIPT), *options, "--", *command], text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   start_new_session=True)
        self.addCleanup(self._end, process)
        return process

    def run_cluster(self, *options, command):
        """(exit status, standard output, standard error)"""
        process = self.start(*options, command=command)
        out, err = process.communicate(timeout=LIMIT)
        return process.returncode, out, err

    def succeed(self, *options, command):
        status, out, err = self.run_cluster(*options, command=command)
        self.assertEqual(status, 0, out + err)
        return out

    def shell(self, *options, text, first=""):
        """Starts two plain ranks that run `first`, say that they are there, and run `text`; returns
        the process, the ranks' pids and the cluster's namespaces."""
        up = f'echo $$ > "{self.folder}/pid.$RANK"; hostname > "{self.folder}/up.$RANK"; '
        process = self.start("--launcher", "plain", *options, command=["sh", "-c", first + up + text])
        wait_until(lambda: all((self.folder / f"up.{r}").exists() and
                               (self.folder / f"up.{r}").read_text() for r in (0, 1)))
        hosts = [(self.folder / f"up.{r}").read_text().strip() for r in (0, 1)]
        pids = [int((self.folder / f"pid.{r}").read_text()) for r in (0, 1)]
        cluster = hosts[0].split("-")[0]
        mine = {n for n in namespaces() if n.startswith(cluster + "-")}
        self.assertEqual(mine, {f"{cluster}-{what}" for what in ("host0", "host1", "switch")})
        return process, pids, mine

    def after_go(self, text):
        """For shell(): waits for go() first."""
        return f"while [ ! -e {self.folder}/go ]; do sleep 0.05; done; {text}"

    def go(self):
        (self.folder / "go").touch()

    def bytes_of(self, path):
        return json.loads(pathlib.Path(path).read_text())["hosts"]

    @staticmethod
    def _end(process):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGTERM)
            process.wait()
        for pipe in (process.stdout, process.stderr):
            pipe.close()


def main():
    lacking = why_not()
    if lacking:
        print(f"skipped: {lacking}")
        sys.exit(77)
    unittest.main(verbosity=2)
