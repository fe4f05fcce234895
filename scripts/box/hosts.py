"""The hosts of a cluster: a namespace each, wired to a switch in a namespace of its own."""

import json
import os
import pathlib
import re
import subprocess
import sys

from box import link
from box.state import Failure, run

INTERFACE = "eth0"

# What runs on a host: its name, its view of /etc/hosts, its cores.
ENTER = """#!/bin/sh
# enter HOST COMMAND...
host=$1
shift
case $host in
{cores}
  *) echo "enter: no host $host" >&2; exit 2 ;;
esac
exec ip netns exec "$host" unshare --uts sh -c '
  hostname "$1" && mount --bind "$2" /etc/hosts || exit 2
  cpus=$3; shift 3
  exec taskset -c "$cpus" "$@"' sh "$host" {folder}/hosts "$cpus" "$@"
"""
# Like ssh: HOST, then words that a shell of the host reads.
AGENT = """#!/bin/sh
host=$1
shift
exec {folder}/enter "$host" sh -c "$*"
"""


class Host:
    def __init__(self, name, index, cpus):
        self.name = name  # of the namespace, and the host's own
        self.address = f"10.77.0.{index + 1}"
        self.port = f"port{index}"  # its end of the wire at the switch
        self.cpus = cpus


def by_core(cpu):
    """Hardware threads of one core side by side, so that no two hosts share a core."""
    path = pathlib.Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        return int(re.match(r"\d+", path.read_text())[0]), cpu
    except (OSError, TypeError):
        return cpu, cpu


def share_cores(hosts, cores_per_host):
    """A list of cpu numbers for each host; they wrap around where there are too few."""
    allowed = sorted(os.sched_getaffinity(0), key=by_core)
    each = cores_per_host or max(1, len(allowed) // hosts)
    if each > len(allowed):
        raise Failure(f"--cores-per-host {each}: this machine has {len(allowed)}")
    if hosts * each > len(allowed):
        print(f"scripts/cluster: {hosts} hosts of {each} share {len(allowed)} cores: "
              "timings will be those of the machine, not of the links", file=sys.stderr)
    return [[allowed[(h * each + c) % len(allowed)] for c in range(each)] for h in range(hosts)]


class Cluster:
    """Made when constructed; it goes with its claim (state.py)."""

    def __init__(self, claim, options):
        self.options = options
        self.folder = claim.folder
        self.switch = claim.namespace("switch")
        self.relay = None
        shares = share_cores(options.hosts, options.cores_per_host)
        self.hosts = [Host(claim.namespace(f"host{i}"), i, cpus) for i, cpus in enumerate(shares)]
        self._add_namespaces()
        for host in self.hosts:
            self._wire(host)
        self._connect()
        self._write_scripts()

    def enter(self, host):
        """The words before a command that run it on that host."""
        return [str(self.folder / "enter"), host.name]

    @property
    def agent(self):
        return str(self.folder / "agent")

    def counters(self):
        """What has crossed each host's interface, by host name; tx_again: TCP segments sent again."""
        found = {}
        for host in self.hosts:
            text = run("ip", "-n", host.name, "-j", "-s", "link", "show", "dev", INTERFACE)
            stats = json.loads(text)[0]["stats64"]
            found[host.name] = {f"{way}_{what}": stats[way][what] for way in ("tx", "rx")
                                for what in ("bytes", "packets", "dropped")}
            names, values = (line.split() for line in run(
                "ip", "netns", "exec", host.name, "grep", "^Tcp:", "/proc/net/snmp").splitlines())
            found[host.name]["tx_again"] = int(dict(zip(names, values))["RetransSegs"])
        return found

    def write_bytes(self, path, before):
        after = self.counters()
        hosts = [{"name": h.name, "address": h.address,
                  **{key: value - before[h.name][key] for key, value in after[h.name].items()}}
                 for h in self.hosts]
        pathlib.Path(path).write_text(json.dumps({"hosts": hosts}, indent=2) + "\n")

    def _add_namespaces(self):
        for name in [self.switch] + [h.name for h in self.hosts]:
            run("ip", "netns", "add", name)
            # IPv6 would chat on its own.
            run("ip", "netns", "exec", name, "sh", "-c",
                "for f in /proc/sys/net/ipv6/conf/*/disable_ipv6; do [ ! -e $f ] || echo 1 >$f; done")

    def _wire(self, host):
        run("ip", "link", "add", host.port, "netns", self.switch, "type", "veth",
            "peer", "name", INTERFACE, "netns", host.name)
        lines = ["link set lo up", f"address add {host.address}/24 dev {INTERFACE}"]
        if self.options.loss:
            lines.append(f"link set {INTERFACE} gso_max_segs 1")
        elif self.options.link:
            lines.append(f"link set {INTERFACE} gso_max_size {link.segment_bytes(self.options.link)}")
        run("ip", "-n", host.name, "-batch", "-",
            given="\n".join(lines + [f"link set {INTERFACE} up"]))
        run("ip", "-n", self.switch, "link", "set", host.port, "up")
        if self.options.link:
            self._tc(host.name, INTERFACE, "root", link.shaping(self.options.link))

    def _connect(self):
        """Joins the ports: by a bridge, or by the relay where the kernel cannot delay packets."""
        delayed = self.options.latency or self.options.loss
        netem = delayed and self._netem()
        for host in self.hosts:
            if self.options.link:
                where = "parent 1:1" if netem else "root"
                self._tc(self.switch, host.port, where, link.shaping(self.options.link))
        if delayed and not netem:
            self._start_relay()
        else:
            lines = ["link add bridge type bridge mcast_snooping 0", "link set bridge up"]
            lines += [f"link set {host.port} master bridge" for host in self.hosts]
            run("ip", "-n", self.switch, "-batch", "-", given="\n".join(lines))
            # Docker has every packet on a bridge looked at by the firewall; a switch does not look.
            run("ip", "netns", "exec", self.switch, "sh", "-c",
                "for f in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -w $f ] || echo 0 >$f; done")

    def _netem(self):
        words = link.emulation(self.options.latency, self.options.loss)
        try:
            for host in self.hosts:
                self._tc(self.switch, host.port, "root handle 1:", words)
        except Failure:
            return False
        return True

    def _tc(self, namespace, device, where, words):
        run("tc", "-n", namespace, "qdisc", "add", "dev", device, *where.split(), *words.split())

    def _start_relay(self):
        program = pathlib.Path(__file__).with_name("relay.py")
        self.relay = subprocess.Popen(
            ["ip", "netns", "exec", self.switch, sys.executable, str(program),
             str(self.options.latency), str(self.options.loss), *[h.port for h in self.hosts]],
            stdout=subprocess.PIPE, text=True, start_new_session=True)
        if self.relay.stdout.readline() != "ready\n":
            raise Failure("the relay for --latency and --loss did not start")

    def _write_scripts(self):
        names = "".join(f"{h.address} {h.name}\n" for h in self.hosts)
        (self.folder / "hosts").write_text("127.0.0.1 localhost\n" + names)
        cores = "\n".join(f"  {h.name}) cpus={','.join(map(str, h.cpus))} ;;" for h in self.hosts)
        for name, text in (("enter", ENTER), ("agent", AGENT)):
            path = self.folder / name
            path.write_text(text.format(cores=cores, folder=self.folder))
            path.chmod(0o755)
