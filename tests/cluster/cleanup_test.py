"""Nothing of a cluster is left, however it ends."""

import os
import pathlib
import signal
import subprocess

from support import SCRIPT, ClusterTest, alive, main, namespaces, wait_until

SLEEP = "exec sleep 1000"
DEAF = "trap '' TERM INT HUP; "
FOREVER = "while :; do sleep 0.1; done"


class Cleanup(ClusterTest):
    def assert_gone(self, mine, pids):
        self.assertFalse(mine & namespaces())
        for pid in pids:
            self.assertFalse(alive(pid), pid)
        number = next(iter(mine)).split("-")[0].removeprefix("terse")
        self.assertFalse(pathlib.Path(f"/run/terse-cluster/{number}").exists())

    def ended_by(self, number, text=SLEEP, first=""):
        process, pids, mine = self.shell(text=text, first=first)
        process.send_signal(number)
        process.wait(60)
        self.assert_gone(mine, pids)
        return process.returncode

    def test_after_the_end(self):
        process, pids, mine = self.shell(text=self.after_go("true"))
        self.go()
        process.wait(60)
        self.assertEqual(process.returncode, 0)
        self.assert_gone(mine, pids)

    def test_daemons_that_a_rank_left_behind(self):
        process, pids, mine = self.shell(
            text=f"setsid sh -c 'echo $$ > {self.folder}/left; exec sleep 1000' & "
                 f"while [ ! -s {self.folder}/left ]; do sleep 0.05; done; " + self.after_go("true"))
        self.go()
        process.wait(60)
        self.assertEqual(process.returncode, 0)
        self.assert_gone(mine, pids + [int((self.folder / "left").read_text())])

    def test_after_a_failure(self):
        process, pids, mine = self.shell(text=self.after_go("exit 7"))
        self.go()
        process.wait(60)
        self.assertEqual(process.returncode, 7)
        self.assert_gone(mine, pids)

    def test_exit_status_of_one_rank_of_two(self):
        status, _, _ = self.run_cluster("--launcher", "plain",
                                        command=["sh", "-c", '[ "$RANK" = 0 ] || exit 5'])
        self.assertEqual(status, 5)

    def test_interrupt(self):
        self.assertEqual(self.ended_by(signal.SIGINT), 128 + signal.SIGINT)

    def test_terminate(self):
        self.assertEqual(self.ended_by(signal.SIGTERM), 128 + signal.SIGTERM)

    def test_hang_up(self):
        self.assertEqual(self.ended_by(signal.SIGHUP), 128 + signal.SIGHUP)

    def test_a_command_that_answers_a_signal_has_the_last_word(self):
        self.assertEqual(self.ended_by(signal.SIGTERM, FOREVER, "trap 'exit 75' TERM; "), 75)

    def test_user_signals_are_passed_on(self):
        self.assertEqual(self.ended_by(signal.SIGUSR1, FOREVER, "trap 'exit 76' USR1; "), 76)

    def test_the_second_interrupt_kills(self):
        process, pids, mine = self.shell(text=FOREVER, first=DEAF)
        process.send_signal(signal.SIGINT)
        # Two that arrive together count as one.
        while process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(0.2)
            except subprocess.TimeoutExpired:
                pass
        self.assertEqual(process.returncode, 128 + signal.SIGINT)
        self.assert_gone(mine, pids)

    def killed(self):
        process, pids, mine = self.shell("--latency", "1ms", text=FOREVER, first=DEAF)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(60)
        return pids, mine

    def test_the_next_start_removes_what_a_killed_owner_left(self):
        pids, mine = self.killed()
        self.succeed("--launcher", "plain", command=["true"])
        self.assert_gone(mine, pids)

    def test_clean_removes_what_a_killed_owner_left(self):
        pids, mine = self.killed()
        subprocess.run([str(SCRIPT), "--clean"], check=True, capture_output=True)
        self.assert_gone(mine, pids)

    def test_sleeping_ranks_end_with_a_killed_owner(self):
        process, pids, _ = self.shell(text=SLEEP)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(60)
        wait_until(lambda: not any(alive(pid) for pid in pids))
        subprocess.run([str(SCRIPT), "--clean"], check=True, capture_output=True)

    def test_clean_leaves_living_clusters_alone(self):
        process, pids, mine = self.shell(text=SLEEP)
        listed = subprocess.run([str(SCRIPT), "--list"], check=True, capture_output=True, text=True)
        subprocess.run([str(SCRIPT), "--clean"], check=True, capture_output=True)
        self.assertLessEqual(mine, namespaces())
        self.assertIsNone(process.poll())
        self.assertIn(f"{process.pid} sh -c", listed.stdout)


if __name__ == "__main__":
    main()
