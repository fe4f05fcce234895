"""The launchers' ranks see several machines; two clusters do not see each other."""

import json
import os
import pathlib
import shutil
import unittest

from support import HERE, TRANSFER, ClusterTest, main

TERSE = os.environ.get("TERSE_PROGRAM", "")
TORCHRUN = shutil.which("torchrun") or str(HERE.parents[1] / ".venv-peers/bin/torchrun")


def documents(text):
    """All JSON objects in a launcher's output, which may stand among other lines."""
    decoder, found, at = json.JSONDecoder(), [], text.find("{\n")
    while at >= 0:
        value, end = decoder.raw_decode(text, at)
        found.append(value)
        at = text.find("{\n", end)
    return found


class Launchers(ClusterTest):
    def doctor(self, launcher, *options):
        """The reports of `terse doctor`, by rank."""
        reports = []
        out = self.succeed("--launcher", launcher, "--link", "100Mbit", *options, command=[
            "sh", "-c", f'"{TERSE}" doctor --json > "$(mktemp -p {self.folder})"'])
        for path in pathlib.Path(self.folder).iterdir():
            reports += documents(path.read_text())
        self.assertEqual(out.strip(), "")
        return sorted(reports, key=lambda report: report["world"]["rank"])

    def check_two_nodes(self, launcher):
        reports = self.doctor(launcher)
        self.assertEqual([r["world"]["rank"] for r in reports], [0, 1])
        self.assertEqual([r["host"].split("-")[1] for r in reports], ["host0", "host1"])
        cpus = [set(r["binding"]["cpus"]) for r in reports]
        if len(os.sched_getaffinity(0)) > 1:
            self.assertFalse(cpus[0] & cpus[1], "hosts share cores")
        return reports

    def check_nodes_known(self, reports):
        self.assertEqual({r["world"]["nodes"] for r in reports}, {2})
        self.assertEqual({r["world"]["local_size"] for r in reports}, {1})

    @unittest.skipUnless(TERSE, "no terse program")
    def test_mpirun_sees_two_nodes(self):
        self.check_nodes_known(self.check_two_nodes("mpirun"))

    @unittest.skipUnless(TERSE and os.path.exists(TORCHRUN), "no terse program or no torchrun")
    def test_torchrun_sees_two_nodes(self):
        reports = self.check_two_nodes("torchrun")
        self.check_nodes_known(reports)
        self.assertEqual([r["world"]["node"] for r in reports], [0, 1])

    @unittest.skipUnless(TERSE, "no terse program")
    def test_plain_ranks_have_hosts_of_their_own(self):
        # Plain variables do not tell; join() finds out by the host names (wire_bytes_test).
        self.check_two_nodes("plain")

    @unittest.skipUnless(TERSE, "no terse program")
    def test_two_ranks_a_host(self):
        reports = self.doctor("mpirun", "--ranks-per-host", "2")
        self.assertEqual([r["host"].split("-")[1] for r in reports],
                         ["host0", "host0", "host1", "host1"])
        self.assertEqual([r["world"]["local_rank"] for r in reports], [0, 1, 0, 1])

    def test_mpirun_passes_the_exit_status_on(self):
        status, _, _ = self.run_cluster(command=["sh", "-c", "exit 6"])
        self.assertEqual(status, 6)

    def test_two_clusters_at_once(self):
        first = self.shell(text=self.after_go("true"))
        path = self.folder / "bytes.json"
        self.succeed("--launcher", "plain", "--bytes", str(path), command=TRANSFER + ["1000000"])
        names = {host["name"] for host in self.bytes_of(path)}
        self.assertFalse(names & first[2])
        self.assertIsNone(first[0].poll())
        self.go()
        first[0].wait(60)
        self.assertEqual(first[0].returncode, 0)

    def test_host_names_resolve(self):
        # One write a rank: under PYTHONUNBUFFERED print() sends its newline separately, and two ranks
        # that share a pipe run into each other.
        text = ("import socket, sys; "
                "sys.stdout.write(socket.gethostbyname(socket.gethostname()) + '\\n')")
        out = self.succeed("--launcher", "plain", command=["python3", "-c", text])
        self.assertEqual(sorted(out.split()), ["10.77.0.1", "10.77.0.2"])

    def test_usage_errors(self):
        for options in (["--link", "fast"], ["--latency", "5"], ["--loss", "100%"], ["--hosts", "0"]):
            status, _, err = self.run_cluster(*options, command=["true"])
            self.assertEqual(status, 2)
            self.assertIn(options[1].rstrip("%"), err)


if __name__ == "__main__":
    main()
