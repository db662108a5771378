"""What tests/bench/suite measures: mpaxos, and on the same machine the C raft library and etcd. Each a cluster of three."""
import http.client
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import harness

HERE = pathlib.Path(__file__).resolve().parent


def compile_c(target, sources, *flags):
    """The suite's own programs; they are no part of the build."""
    command = [os.environ.get("CC", "cc").split()[-1], "-O2", "-g", "-D_GNU_SOURCE", f"-I{HERE.parent.parent}", "-o", str(target),
               *map(str, sources), *flags]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise harness.Skip(f"{target.name} cannot be built: {result.stderr}")
    return target


class Mpaxos:
    """Without a cluster key, as the others beside it, unless `sealed`."""

    name, protocol = "mpaxos", "varlink"

    def __init__(self, context, sealed=False, **keys):
        self.cluster = context.cluster(sealed=sealed, **keys).start()

    def pids(self):
        return [r.process.pid for r in self.cluster.alive()]

    def endpoints(self):
        return [r.socket for r in self.cluster.alive()]

    def leader_endpoint(self):
        return self.cluster.leader().socket

    def close(self):
        self.cluster.close()


class Raft:
    """libraft, by the server of our own beside this file. Its servers do not forward: clients go to the leader."""

    name, protocol = "raft", "line"

    def __init__(self, context, programs):
        if "raft_server" not in programs:
            compile_c(context.dir / "raft_server", [HERE / "raft_server.c"], "-lraft", "-luv")
            programs["raft_server"] = context.dir / "raft_server"
        base = harness.free_ports(3)
        addresses = [f"127.0.0.1:{base + i}" for i in range(3)]
        self.dir = context.dir / "raft"
        self.processes = []
        for i in range(3):
            (self.dir / str(i)).mkdir(parents=True)
            with open(self.dir / f"stderr.{i}", "wb") as err:
                self.processes.append(context.spawn(programs["raft_server"], self.dir / str(i), i + 1, self.dir / f"socket.{i}",
                                                    *addresses, stdout=err, stderr=err))
        harness.wait_until("raft elects a leader", self.leader)

    def leader(self):
        """Its number from 1; 0: they do not agree on one."""
        told = set()
        for i in range(3):
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
                    s.connect(str(self.dir / f"socket.{i}"))
                    s.sendall(b"?\n")
                    told.add(int(s.recv(64)))
            except (OSError, ValueError):
                return 0
        return told.pop() if len(told) == 1 else 0

    def pids(self):
        return [p.pid for p in self.processes]

    def endpoints(self):
        return [self.leader_endpoint()]

    def leader_endpoint(self):
        number = harness.wait_until("raft has a leader", self.leader)
        return self.dir / f"socket.{number - 1}"

    def close(self):
        for p in self.processes:
            p.kill()
            p.wait()


def find_etcd(directory):
    """Unpacked, not installed: else it would run on this machine as a service."""
    if shutil.which("etcd"):
        return shutil.which("etcd")
    print("Fetching Debian's etcd-server", file=sys.stderr)
    subprocess.run(["apt-get", "update", "-qq"], check=True)
    subprocess.run(["apt-get", "download", "-qq", "etcd-server"], check=True, cwd=directory)
    package, = pathlib.Path(directory).glob("etcd-server_*.deb")
    subprocess.run(["dpkg-deb", "-x", package, directory], check=True)
    return directory / "usr/bin/etcd"


class Etcd:
    """By its HTTP gateway, since that takes no client library; its gRPC is somewhat faster."""

    name, protocol = "etcd", "etcd"

    def __init__(self, context, programs):
        binary = programs.setdefault("etcd", find_etcd(context.dir))
        base = harness.free_ports(6)
        peer = [f"http://127.0.0.1:{base + i}" for i in range(3)]
        self.ports = [base + 3 + i for i in range(3)]
        names = ",".join(f"m{i}={peer[i]}" for i in range(3))
        self.processes = []
        for i in range(3):
            client = f"http://127.0.0.1:{self.ports[i]}"
            with open(context.dir / f"etcd.{i}", "wb") as log:
                self.processes.append(context.spawn(
                    binary, "--name", f"m{i}", "--data-dir", context.dir / f"m{i}", "--initial-cluster", names,
                    "--initial-advertise-peer-urls", peer[i], "--listen-peer-urls", peer[i],
                    "--listen-client-urls", client, "--advertise-client-urls", client, stdout=log, stderr=log))
        harness.wait_until("etcd elects a leader", lambda: self.leader() is not None)

    def leader(self):
        ids = {}
        for i, port in enumerate(self.ports):
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
                connection.request("POST", "/v3/maintenance/status", "{}", {"Content-Type": "application/json"})
                with connection.getresponse() as response:
                    answer = json.load(response)
                    ids[answer["header"]["member_id"]] = (i, answer.get("leader"))
            except (OSError, http.client.HTTPException, ValueError, KeyError):
                return None
        return next((ids[leader][0] for _, leader in ids.values() if leader in ids), None)

    def pids(self):
        return [p.pid for p in self.processes]

    def endpoints(self):
        return self.ports

    def leader_endpoint(self):
        return self.ports[harness.wait_until("etcd has a leader", lambda: (self.leader() or 0) + 1) - 1]

    def close(self):
        for p in self.processes:
            p.kill()
            p.wait()


class Driver:
    """The load: tests/bench/driver.c, a process of its own."""

    def __init__(self, context, warmup_s):
        self.warmup_s = warmup_s
        self.program = compile_c(context.dir / "driver", [HERE / "driver.c", HERE.parent.parent / "ctl" / "histogram.c"])

    def start(self, verb, *arguments):
        return subprocess.Popen([self.program, verb, *map(str, arguments)], stdout=subprocess.PIPE, text=True)

    @staticmethod
    def result(process):
        out, _ = process.communicate()
        if process.returncode != 0:
            raise AssertionError(f"the load driver ended with {process.returncode}")
        return json.loads(out)

    def start_load(self, system, clients, *, in_flight=1, size=128, seconds=2.0, key=False, endpoints=None):
        return self.start("load", system.protocol, clients, in_flight, size, int(self.warmup_s * 1000), int(seconds * 1000), int(key),
                          ",".join(map(str, system.pids())), *(endpoints or system.endpoints()))

    def load(self, system, clients, **options):
        return self.result(self.start_load(system, clients, **options))

    def count(self, system, messages, *, clients=64, in_flight=64, size=128, endpoints=None):
        return self.result(self.start("count", system.protocol, clients, in_flight, size, messages, 0, "-",
                                      *(endpoints or system.endpoints())))

    def start_read(self, replica, messages, follow=False):
        return self.start("read", messages, int(follow), replica.socket)


class Floor:
    """What a message costs at the least: tests/bench/floor.c, bare processes and the journal's vfs."""

    def __init__(self, context, warmup_s):
        self.dir, self.warmup_s = context.dir, warmup_s
        root = HERE.parent.parent
        sources = [HERE / "floor.c", root / "ctl" / "histogram.c", root / "daemon" / "journal" / "vfs_posix.c"]
        self.program = compile_c(context.dir / "floor", sources, f"-I{root / 'daemon'}")

    def measure(self, seconds):
        with tempfile.TemporaryDirectory(prefix="floor-", dir=self.dir) as directory:
            command = [self.program, directory, str(int(self.warmup_s * 1000)), str(int(seconds * 1000))]
            return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid, what="VmHWM"):
    return harness.memory_bytes(pid, what) / 2**20


def first_acknowledged(endpoints, limit_s=30):
    """When (monotonic) a replica first acknowledges a message, asked again and again from the very beginning."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        for path in endpoints:
            try:
                with harness.Connection(path, timeout=5) as c:
                    c.call("Submit", text="first", timeout_ms=5000)
                    return time.monotonic()
            except (OSError, ConnectionError, harness.Failed):
                pass
        time.sleep(0.001)
    raise AssertionError(f"nothing was acknowledged within {limit_s} s")
