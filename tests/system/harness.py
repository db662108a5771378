"""What the system tests stand on: clusters of real daemons, a Varlink client of its own, and checks of what was promised."""
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import threading
import time


SUPPRESSIONS = pathlib.Path(__file__).resolve().parent / "tsan.supp"


class Skip(Exception):
    """The machine lacks what the test needs."""


class Failed(Exception):
    """A reply that carries an error."""

    def __init__(self, error, parameters):
        super().__init__(f"{error} {parameters}")
        self.error = error.rpartition(".")[2]
        self.parameters = parameters


def wait_until(what, condition, timeout=60.0, step=0.02):
    """Waits for a condition to hold and answers its value; what it was that did not happen is in the error."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"did not happen within {timeout} s: {what}")
        time.sleep(step)


def memory_bytes(pid, what="VmRSS"):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) << 10 for line in f if line.startswith(what + ":"))


def alone(test):
    """Marks a test that takes the machine for itself, or measures times: no other runs beside it."""
    test.alone = True
    return test


RESERVED = []  # sockets


def free_ports(n):
    """A run of ports on 127.0.0.1 that nobody uses now, nor another test while this process lives: each has a name that
    only one can hold."""
    while True:
        base = random.SystemRandom().randrange(20000, 32000)
        probes, names = [], []
        try:
            for port in range(base, base + n):
                for sockets, kind, address in ((probes, (socket.AF_INET, socket.SOCK_DGRAM), ("127.0.0.1", port)),
                                               (probes, (socket.AF_INET, socket.SOCK_STREAM), ("127.0.0.1", port)),
                                               (names, (socket.AF_UNIX, socket.SOCK_DGRAM), f"\0mpaxos-test-port-{port}")):
                    sockets.append(socket.socket(*kind))
                    sockets[-1].bind(address)
            RESERVED.extend(names)
            return base
        except OSError:
            continue
        finally:
            for s in probes:
                s.close()


class Connection:
    """One Varlink connection."""

    def __init__(self, path, timeout=90.0):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        self.socket.connect(str(path))
        self.buffer = b""

    def send(self, method, parameters=None, **flags):
        if "." not in method:
            method = "org.mpaxos.Replica." + method
        self.send_bytes(json.dumps({"method": method, "parameters": parameters or {}, **flags}).encode() + b"\0")

    def send_bytes(self, data):
        self.socket.sendall(data)

    def receive_raw(self):
        while b"\0" not in self.buffer:
            data = self.socket.recv(1 << 16)
            if not data:
                raise ConnectionError("closed by the daemon")
            self.buffer += data
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def receive(self):
        reply = self.receive_raw()
        if "error" in reply:
            raise Failed(reply["error"], reply.get("parameters", {}))
        return reply["parameters"]

    def call(self, method, **parameters):
        self.send(method, parameters)
        return self.receive()

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Replica:
    """One daemon of a cluster."""

    def __init__(self, cluster, number):
        self.cluster, self.number = cluster, number
        self.process = None
        self.stderr = cluster.dir / f"stderr.{number}"

    @property
    def socket(self):
        return self.cluster.dir / "run" / str(self.number) / "control"

    @property
    def state(self):
        return self.cluster.dir / "state" / str(self.number)

    @property
    def log(self):
        return self.cluster.dir / "log" / f"replica_{self.number}.log"

    def start(self, wait=True, wrapper=()):
        with open(self.stderr, "ab") as err:
            self.process = subprocess.Popen(
                [*wrapper, self.cluster.context.mpaxosd, "--dir", self.cluster.dir, *self.cluster.key_options,
                 self.cluster.config_path, "-i", str(self.number)],
                stdout=err, stderr=err, stdin=subprocess.DEVNULL)
        if wait:
            wait_until(f"replica {self.number} answers", self.answers)
        return self

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f"replica {self.number} ended with {self.process.returncode}: {self.said()}")
        try:
            with Connection(self.socket) as c:
                return c.call("Status")
        except (OSError, ConnectionError):
            return None

    def said(self):
        return self.stderr.read_text(errors="replace") if self.stderr.exists() else ""

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()

    def stop(self, timeout=60):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def wait_exit(self, timeout=60):
        return self.process.wait(timeout)

    def connect(self, **options):
        return Connection(self.socket, **options)

    def call(self, method, **parameters):
        with self.connect() as c:
            return c.call(method, **parameters)

    def status(self):
        return self.call("Status")

    def read_all(self):
        """Every message of the log, in order."""
        messages = []
        with self.connect() as c:
            c.send("Read", more=True)
            while True:
                reply = c.receive_raw()
                if "error" in reply:
                    raise Failed(reply["error"], reply.get("parameters", {}))
                messages += reply["parameters"]["messages"]
                if not reply.get("continues"):
                    return messages


class Cluster:
    """2F+1 daemons on 127.0.0.1, in manual mode, each started by hand; with a cluster key, but for sealed=False."""

    def __init__(self, context, f=1, name="cluster", replicas=None, sealed=True, **keys):
        self.context = context
        self.dir = context.dir / name
        self.dir.mkdir()
        self.f, self.keys = f, keys
        self.n = 2 * f + 1
        self.port = free_ports(self.n)
        self.config_path = self.dir / "replica_config.json"
        self.key_path = self.dir / "cluster.key"
        self.key_options = ["--key-file", self.key_path] if sealed else []
        if sealed:
            context.ctl("keygen", self.key_path)
        self.per_replica = replicas or {}
        self.write_config()
        self.replicas = [Replica(self, i) for i in range(self.n)]
        context.clusters.append(self)

    def write_config(self, **changed):
        self.keys.update(changed)
        members = [{"id": i, "ip": "127.0.0.1", "port": self.port + i, "skip_slot": [], "drop_rate": 0,
                    **self.per_replica.get(i, {})} for i in range(self.n)]
        self.config_path.write_text(json.dumps({"f": self.f, "mode": "manual", **self.keys, "replica_list": members}, indent=1))

    def __getitem__(self, number):
        return self.replicas[number]

    def __iter__(self):
        return iter(self.replicas)

    def start(self):
        for r in self.replicas:
            r.start(wait=False)
        for r in self.replicas:
            wait_until(f"replica {r.number} answers", r.answers)
        self.wait_quorum()
        return self

    def wait_quorum(self, replicas=None, timeout=60):
        for r in replicas or self.replicas:
            wait_until(f"replica {r.number} sees a quorum", lambda r=r: (r.answers() or {}).get("quorum"), timeout)

    def alive(self):
        return [r for r in self.replicas if r.process and r.process.poll() is None]

    def leader(self, timeout=60):
        def look():
            for r in self.alive():
                try:
                    if r.status()["role"] == "leader":
                        return r
                except (OSError, ConnectionError):
                    continue
            return None
        return wait_until("somebody leads", look, timeout)

    def followers(self):
        leader = self.leader()
        return [r for r in self.alive() if r is not leader]

    def wait_level(self, timeout=60):
        """All that run have the same chosen prefix."""
        def level():
            chosen = {r.status()["chosen"] for r in self.alive()}
            return len(chosen) == 1 and chosen
        return wait_until("all replicas have the same chosen prefix", level, timeout)

    def ctl(self, *arguments, **options):
        return self.context.ctl("--dir", self.dir, *arguments, **options)

    def check_identical(self):
        """All logs are equal, on the wire and, after a flush of all, in the files. Answers the messages."""
        while True:
            self.wait_level()
            logs = [r.read_all() for r in self.replicas]
            for r, log in zip(self.replicas, logs):
                n = min(len(log), len(logs[0]))
                assert log[:n] == logs[0][:n], f"the logs of replicas 0 and {r.number} differ"
            results = self[0].call("Flush", all=True, timeout_ms=60000)["results"]
            assert len(results) == self.n and not any("error" in x for x in results), results
            files = [r.log.read_bytes() for r in self.replicas]
            # What a client gave up on may still be chosen: then there is more to compare.
            if all(log == logs[0] for log in [self[0].read_all(), *logs]) and len({x["slot"] for x in results}) == 1:
                break
        for r, content in zip(self.replicas, files):
            assert content == files[0], f"the log files of replicas 0 and {r.number} differ"
        assert files[0].count(b"\n") == len(logs[0]), "the file has another number of lines than the log"
        return logs[0]

    def close(self):
        for r in self.alive():
            try:
                r.process.send_signal(signal.SIGCONT)
                if self.context.sanitized:
                    r.process.send_signal(signal.SIGTERM)
            except ProcessLookupError:
                pass
        for r in self.alive():
            if self.context.sanitized:
                try:
                    r.process.wait(20)
                except subprocess.TimeoutExpired:
                    pass
            r.kill()


class Context:
    """One test: its directory, its programs, its clusters and its randomness."""

    def __init__(self, build, base, seed):
        self.build, self.dir = build, base
        self.mpaxosd, self.mpaxosctl = build / "daemon" / "mpaxosd", build / "ctl" / "mpaxosctl"
        self.clusters, self.processes, self.measured = [], [], []
        self.random = random.Random(seed)
        # What a sanitizer finds, it writes here, also where nobody looks at the exit status. Leaks show in an orderly end
        # only.
        self.sanitized = any(name in self.mpaxosd.read_bytes() for name in (b"__asan_init", b"__tsan_init"))
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
            given = [x for x in os.environ.get(name, "").split(":") if x and not x.startswith(("log_path=", "suppressions="))]
            os.environ[name] = ":".join([*given, f"log_path={base}/sanitizer"])
        os.environ["TSAN_OPTIONS"] += f":suppressions={SUPPRESSIONS}"

    def cluster(self, **options):
        return Cluster(self, **options)

    def ctl(self, *arguments, check=True, expect=0, stdin="", timeout=120, env=None):
        result = subprocess.run([self.mpaxosctl, *map(str, arguments)], input=stdin, capture_output=True, text=True,
                                timeout=timeout, cwd=self.dir, env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})})
        if check:
            assert result.returncode == expect, (
                f"mpaxosctl {' '.join(map(str, arguments))}: exit {result.returncode}, not {expect}\n{result.stdout}{result.stderr}")
        return result

    def wait_quorum(self, directory):
        """Each of three replicas in script mode sees one."""
        for i in range(3):
            self.ctl("--dir", directory, "-i", i, "wait", "--quorum", "--timeout", 60)

    def daemon(self, *arguments, timeout=60, **options):
        """Runs a daemon that is expected to end by itself."""
        return subprocess.run([self.mpaxosd, *map(str, arguments)], capture_output=True, text=True, timeout=timeout,
                              cwd=self.dir, stdin=subprocess.DEVNULL, **options)

    def spawn(self, *arguments, **options):
        process = subprocess.Popen(list(map(str, arguments)), cwd=self.dir, stdin=subprocess.DEVNULL, **options)
        self.processes.append(process)
        return process

    def need_root(self):
        if os.geteuid() != 0:
            raise Skip("needs root")

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        for cluster in self.clusters:
            cluster.close()

    def reports(self):
        """What sanitizers found."""
        return "\n".join(f.read_text(errors="replace") for f in sorted(self.dir.glob("sanitizer.*")))

    def describe(self):
        parts = []
        for cluster in self.clusters:
            for r in cluster:
                tail = "\n       ".join(r.said().splitlines()[-12:])
                parts.append(f"     replica {r.number} of {cluster.dir.name} said:\n       {tail}")
        return "\n".join(parts)


class Sender(threading.Thread):
    """A client that sends numbered messages one after the other, on through whichever replica answers, and writes down what
    it was told: the history that History.check() holds against the log."""

    def __init__(self, history, cluster, number, seed):
        super().__init__(daemon=True)
        self.history, self.cluster, self.number = history, cluster, number
        self.random = random.Random(seed)
        self.calls = []  # (text, invoked, returned, outcome, slot)
        self.stopping = threading.Event()

    def run(self):
        connection, i = None, 0
        while not self.stopping.is_set():
            text = f"c{self.number}-{i}"
            key, since, invoked, outcome, slot = f"k{self.number}-{i}", None, time.monotonic(), "unknown", None
            while not self.stopping.is_set():
                try:
                    if connection is None:
                        connection = self.random.choice(self.cluster.replicas).connect(timeout=4)
                    if since is None:
                        since = connection.call("Position")["slot"]
                    reply = connection.call("Submit", text=text, author=f"a{self.number}", key=key, since=since, timeout_ms=1500)
                    outcome, slot = "duplicate" if reply["duplicate"] else "chosen", reply["slot"]
                    break
                except Failed as failed:
                    if failed.error not in ("Timeout", "NoQuorum", "Overloaded", "NotInitialized"):
                        outcome = failed.error
                        break
                    self.stopping.wait(0.05)
                except (OSError, ConnectionError, ValueError):
                    self.stopping.wait(0.02)
                if connection is not None:
                    connection.close()
                    connection = None
            self.calls.append((text, invoked, time.monotonic(), outcome, slot))
            i += 1
        if connection is not None:
            connection.close()


class History:
    """What many senders saw, to be checked against the log in the end (protocol: acknowledged once and in order)."""

    def __init__(self, cluster, n_senders, seed):
        self.senders = [Sender(self, cluster, i, seed + i) for i in range(n_senders)]
        for s in self.senders:
            s.start()

    def acknowledged(self):
        return sum(1 for s in self.senders for call in s.calls if call[4] is not None)

    def stop(self):
        for s in self.senders:
            s.stopping.set()
        for s in self.senders:
            s.join(20)
            assert not s.is_alive(), f"sender {s.number} hangs"

    def longest_gap(self):
        """Seconds between two acknowledgements, to whomever."""
        returned = sorted(call[2] for s in self.senders for call in s.calls if call[4] is not None)
        return max(b - a for a, b in zip(returned, returned[1:]))

    def longest_wait(self):
        """Seconds until a call was acknowledged, its repetitions counted in."""
        return max(call[2] - call[1] for s in self.senders for call in s.calls if call[4] is not None)

    def check(self, log):
        slots = {}
        for m in log:
            assert m["text"] not in slots, f"{m['text']} stands twice: at {slots[m['text']]} and {m['slot']}"
            slots[m["text"]] = m["slot"]
        numbers = [m["slot"] for m in log]
        assert numbers == sorted(set(numbers)), "slots do not ascend"
        times = [m["time_usec"] for m in log]
        assert times == sorted(times), "times decrease along the log"
        calls = [call for s in self.senders for call in s.calls]
        for text, _, _, outcome, slot in calls:
            if slot is not None:
                assert slots.get(text) == slot, f"{text}: acknowledged at {slot}, stands at {slots.get(text)}"
            elif outcome not in ("unknown",):
                assert text not in slots, f"{text}: refused as {outcome}, but stands at {slots[text]}"
        # Real time: what was acknowledged before another was sent stands before it.
        done = sorted((returned, slot) for _, _, returned, _, slot in calls if slot is not None)
        sent = sorted((invoked, slot, text) for text, invoked, _, _, slot in calls if slot is not None)
        highest, k = 0, 0
        for invoked, slot, text in sent:
            while k < len(done) and done[k][0] < invoked:
                highest = max(highest, done[k][1])
                k += 1
            assert slot > highest, f"{text} at {slot} was sent after slot {highest} had been acknowledged"
        return len(slots)
