"""The rows of tests/bench/suite: each a function that measures something, and answers a list of results."""
import contextlib
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import time

import harness
import systems
import wire

CLIENTS = (1, 8, 64, 256, 1024)
PEERS = {"raft": systems.Raft, "etcd": systems.Etcd}
FAILOVER = pathlib.Path(__file__).resolve().parent / "failover"
ROWS = {}


def row(function):
    ROWS[function.__name__] = function
    return function


class Bench:
    """What a row works with."""

    def __init__(self, context, options):
        self.context, self.options = context, options
        self.driver = systems.Driver(context, options.warmup)
        self.programs = {}

    def rounds(self, n):
        return self.options.rounds or n

    def mpaxos(self, **keys):
        return systems.Mpaxos(self.context, **keys)

    def beside(self):
        return [PEERS[name](self.context, self.programs) for name in self.options.beside]


def result(what, unit, values, goal="", **more):
    return {"what": what, "unit": unit, "values": [round(v, 6) for v in values], "goal": goal, **more}


def ratio(ours, theirs):
    return round(statistics.median(ours) / statistics.median(theirs), 3)


def closed_loop(bench, clients, seconds, goals, **load):
    """Every system in turn in every round, idle while another is measured."""
    ours = bench.mpaxos()
    others = bench.beside()
    settings = [(ours, "spread", ours.endpoints()), (ours, "leader", [ours.leader_endpoint()])]
    settings += [(s, "leader", [s.leader_endpoint()] if s.name == "raft" else s.endpoints()) for s in others]
    measured = {}
    for _ in range(bench.rounds(3)):
        for n in clients:
            for system, how, endpoints in settings:
                m = bench.driver.load(system, n, endpoints=endpoints, seconds=seconds, **load)
                measured.setdefault((n, system.name, how), []).append(m)
    out = []
    for n in clients:
        theirs = [m["rate"] for m in measured.get((n, "raft", "leader"), [])]
        for system, how, _ in settings:
            ms = measured[n, system.name, how]
            where = f", clients {'on the leader' if how == 'leader' else 'spread'}" if system is ours else ""
            name = f"{system.name}, N={n}{where}"
            rates = [m["rate"] for m in ms]
            mine = system is ours
            out.append(result(name, "msg/s", rates, f"{goals[n]} x raft" if mine and n in goals else "",
                              **({"ratio": ratio(rates, theirs)} if mine and theirs else {})))
            out.append(result(name, "p50 ms", [m["p50_usec"] / 1000 for m in ms]))
            out.append(result(name, "p99 ms", [m["p99_usec"] / 1000 for m in ms], "< 10" if mine and n == 256 else ""))
            out.append(result(name, "CPU s/1000", [1000 * m["cpu_s"] / m["messages"] for m in ms],
                              "<= 0.008" if mine and n == 1024 else ""))
            errors = sum(m["errors"] for m in ms)
            if errors:
                out.append(result(name, "errors", [errors]))
    return out


@row
def clients(bench):
    """1 to 1024 closed-loop clients, spread and all on the leader."""
    return closed_loop(bench, CLIENTS, bench.options.seconds, {1: 1.2, 8: 1.5, 64: 2, 256: 2, 1024: 2})


def closed_loop_row(n, goal):
    def measure(bench):
        return closed_loop(bench, (n,), bench.options.seconds, {n: goal})
    measure.__doc__ = f"Of these, {n} alone."
    ROWS[f"clients{n}"] = measure


for number, wanted in zip(CLIENTS, (1.2, 1.5, 2, 2, 2)):
    closed_loop_row(number, wanted)


@row
def floor(bench):
    """1 client on the leader, against what a message costs bare processes: one sync and the hops."""
    ours = bench.mpaxos()
    bare = systems.Floor(bench.context, bench.options.warmup)
    measured = []
    for _ in range(bench.rounds(6)):
        m = bench.driver.load(ours, 1, endpoints=[ours.leader_endpoint()], seconds=bench.options.seconds)
        measured.append({"mpaxos_usec": m["p50_usec"], **bare.measure(bench.options.seconds)})
    names = ("mpaxos", "sync", "hops", "chain")
    p50, sync, hops, chain = ([m[f"{name}_usec"] / 1000 for m in measured] for name in names)
    both = [a + b for a, b in zip(sync, hops)]
    return [result("mpaxos, N=1, clients on the leader", "p50 ms", p50),
            result("one sync, while two others sync", "p50 ms", sync),
            result("the hops to a follower and back", "p50 ms", hops),
            result("sync + hops (ratio of mpaxos)", "p50 ms", both, "ratio <= 1.5", ratio=ratio(p50, both)),
            result("bare chain, 2 of 3 disks (ratio of mpaxos)", "p50 ms", chain, ratio=ratio(p50, chain))]


def compare(bench, what, plain, other, load, goal=""):
    """Two ways in turn: the rate and the CPU of each, and the ratio of the second to the first; `goal` is the rate's."""
    measured = {plain: [], other: []}
    for _ in range(bench.rounds(5)):
        for way, into in measured.items():
            into.append(load(way))
    out = []
    for get, unit, wanted in ((lambda m: m["rate"], "msg/s", goal),
                              (lambda m: 1000 * m["cpu_s"] / m["messages"], "CPU s/1000", "")):
        a, b = [get(m) for m in measured[plain]], [get(m) for m in measured[other]]
        out += [result(f"{what}, {plain}", unit, a), result(f"{what}, {other}", unit, b, wanted, ratio=ratio(b, a))]
    return out


def sealed_row(name, clients, goal=""):
    def measure(bench):
        clusters = {"without cluster key": bench.mpaxos(), "with cluster key": bench.mpaxos(name="sealed", sealed=True)}
        return compare(bench, f"N={clients} spread", *clusters,
                       lambda way: bench.driver.load(clusters[way], clients, seconds=bench.options.seconds), goal)
    measure.__doc__ = f"{clients} clients, with a cluster key (datagrams encrypted and authenticated) against without."
    ROWS[name] = measure


sealed_row("sealed", 256, ">= 0.9 of the rate")
sealed_row("sealed1024", 1024)


def flooded(bench, system, port, payloads, forge):
    with wire.Flood(port, payloads, 100000, forge) if port else contextlib.nullcontext():
        return bench.driver.load(system, 64, seconds=bench.options.seconds)["rate"]


@row
def flood(bench):
    """100,000 datagrams a second without the key: throughput, against none, and against as many that nobody reads."""
    ours = bench.mpaxos(sealed=True)
    tap = wire.Tap([ours.cluster.port + i for i in range(ours.cluster.n)])
    ours.cluster[2].kill()
    ours.cluster[2].start()
    ours.cluster.wait_quorum()
    bench.driver.load(ours, 64, seconds=0.5)
    leader = ours.cluster.leader()
    port = ours.cluster.port + leader.number
    kinds = wire.forgeries(tap.stop(), port)
    out = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        targets = {"none": 0, "that nobody reads": nobody.getsockname()[1], "at the leader": port}
        for kind in ("forged", "of no session", "noise"):
            rates = {name: [] for name in targets}
            for _ in range(bench.rounds(5)):
                for name, target in targets.items():
                    rates[name].append(flooded(bench, ours, target, kinds[kind], True))
            for name, values in rates.items():
                goal = ">= 0.5 of none" if name == "at the leader" else ""
                out.append(result(f"N=64, flood {kind}: {name}", "msg/s", values, goal,
                                  **({} if name == "none" else {"ratio": ratio(values, rates["none"])})))
    return out


@row
def messagekey(bench):
    """With a key of its own for each message, against one that the replica draws."""
    ours = bench.mpaxos()
    return compare(bench, "N=1024 spread", "no message key", "message key",
                   lambda way: bench.driver.load(ours, 1024, seconds=bench.options.seconds, key=way == "message key"))


@row
def pipelined(bench):
    """64 connections with 64 messages in flight each."""
    ours = bench.mpaxos()
    ms = [bench.driver.load(ours, 64, in_flight=64, seconds=bench.options.seconds) for _ in range(bench.rounds(5))]
    return [result("pipelined, 64 x 64", "msg/s", [m["rate"] for m in ms], ">= 200000"),
            result("pipelined, 64 x 64", "p99 ms", [m["p99_usec"] / 1000 for m in ms]),
            result("pipelined, 64 x 64", "CPU s/1000", [1000 * m["cpu_s"] / m["messages"] for m in ms])]


def disk_mb_s(directory, n_files=3, size=1 << 20, seconds=2.0):
    """What n writers get through here at once, each writing a preallocated file and syncing every MiB."""
    script = (
        "import os,sys,time\n"
        "path,size,seconds=sys.argv[1],int(sys.argv[2]),float(sys.argv[3])\n"
        "fd=os.open(path,os.O_RDWR|os.O_CREAT);block=os.urandom(size)\n"
        "for i in range(16): os.pwrite(fd,block,i*size)\n"
        "os.fsync(fd);end=time.monotonic()+seconds;n=0\n"
        "while time.monotonic()<end: os.pwrite(fd,block,n%16*size);os.fdatasync(fd);n+=1\n"
        "print(n*size/seconds/1e6)\n")
    processes = [subprocess.Popen([sys.executable, "-c", script, directory / f"disk.{i}", str(size), str(seconds)],
                                  stdout=subprocess.PIPE, text=True) for i in range(n_files)]
    return sum(float(p.communicate()[0]) for p in processes)


@row
def large(bench):
    """1 KiB and 16 KiB messages: text acknowledged."""
    ours = bench.mpaxos()
    out = []
    for size, n in ((1024, 1024), (16384, 256)):
        ms = [bench.driver.load(ours, n, size=size, seconds=bench.options.seconds) for _ in range(bench.rounds(3))]
        out.append(result(f"{size // 1024} KiB messages, N={n}", "MB/s", [m["rate"] * size / 1e6 for m in ms],
                          "> 150, or the disk"))
    disk = [disk_mb_s(bench.context.dir) for _ in range(2)]
    out.append(result("the disk: 3 writers of 1 MiB and fdatasync", "MB/s", disk))
    out.append(result("a third of it: one copy on each replica", "MB/s", [x / 3 for x in disk]))
    return out


def failover_gaps(bench, *flags):
    command = [sys.executable, str(FAILOVER), "--build", str(bench.options.build), "--rounds", str(bench.rounds(20)), *flags]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [float(line.split()[-2]) for line in lines if line.startswith("round")]


@row
def leaderkill(bench):
    """The leader killed under load: the gap, median and worst of 20."""
    gaps = failover_gaps(bench)
    return [result("leader killed: gap", "ms", gaps, "median < 400"),
            result(f"leader killed: worst of {len(gaps)}", "ms", [max(gaps)], "< 900")]


@row
def leaderstop(bench):
    """The leader stopped by SIGTERM under load: the gap."""
    gaps = failover_gaps(bench, "--orderly")
    return [result("leader stopped: gap", "ms", gaps, "< 50"),
            result(f"leader stopped: worst of {len(gaps)}", "ms", [max(gaps)], "< 50")]


@row
def elections(bench):
    """False elections in a minute of full load."""
    ours = bench.mpaxos()
    before = [r.status()["ballot"] for r in ours.cluster]
    bench.driver.load(ours, 1024, seconds=60)
    after = [r.status()["ballot"] for r in ours.cluster]
    rounds = max(b["round"] for b in after) - max(b["round"] for b in before)
    return [result("elections in a minute of full load", "ballots", [rounds], "0")]


def position(replica):
    with replica.connect() as c:
        return c.call("Position")["slot"]


def caught_up(leader, replica):
    """Whether the replica knows what the leader knew just before."""
    try:
        wanted = position(leader)
        return position(replica) >= wanted
    except (OSError, ConnectionError, harness.Failed):
        return False


@row
def catchup(bench):
    """A replica that missed 100,000 messages comes back under load."""
    ours = bench.mpaxos()
    missed, answers, times, before, meanwhile = [], [], [], [], []
    for _ in range(bench.rounds(5)):
        leader, replica = ours.cluster.leader(), ours.cluster.followers()[0]
        replica.stop()
        before.append(bench.driver.load(ours, 64, seconds=1.5)["p99_usec"])
        replica.start()
        harness.wait_until("the replica has caught up", lambda: caught_up(leader, replica), timeout=60)
        known = position(replica)
        replica.stop()
        bench.driver.count(ours, 100000)
        load = bench.driver.start_load(ours, 64, seconds=1.5)
        time.sleep(bench.options.warmup)
        missed.append(position(leader) - known)
        begun = time.monotonic()
        replica.start()
        answers.append(time.monotonic() - begun)
        harness.wait_until("the replica has caught up", lambda: caught_up(leader, replica), timeout=60, step=0.002)
        times.append(time.monotonic() - begun)
        meanwhile.append(bench.driver.result(load)["p99_usec"])
        ours.cluster.wait_quorum()
    return [result("missed when it starts again", "messages", missed),
            result("from start to its first answer", "s", answers),
            result("from start to caught up", "s", times, "< 1"),
            result("p99 of N=64 without the replica", "ms", [x / 1000 for x in before]),
            result("p99 of N=64 while it catches up (ratio)", "ms", [x / 1000 for x in meanwhile], "at most doubled",
                   ratio=ratio(meanwhile, before))]


@row
def coldstart(bench):
    """From the start of three replicas to the first acknowledged message."""
    out = {"first start of all": [], "all started again": []}
    for k in range(bench.rounds(5)):
        cluster = bench.context.cluster(name=f"cluster{k}", sealed=False)
        for times in out.values():
            begun = time.monotonic()
            for r in cluster:
                r.start(wait=False)
            times.append(1000 * (systems.first_acknowledged([r.socket for r in cluster]) - begun))
            cluster.wait_quorum()
            for r in cluster:
                r.signal(signal.SIGTERM)
            for r in cluster:
                r.process.wait()
    return [result(f"{name}: first message acknowledged", "ms", times, "< 300") for name, times in out.items()]


@row
def memory(bench):
    """Memory of a replica: idle, under each kind of load, and with the table of keys full."""
    ours = bench.mpaxos()

    def most(what="VmHWM"):
        return [max(systems.memory_mib(pid, what) for pid in ours.pids())]
    out = [result("memory, idle after the start", "MiB", most("VmRSS"))]
    bench.driver.load(ours, 1024, seconds=2)
    out.append(result("memory, peak after N=1024", "MiB", most()))
    bench.driver.load(ours, 256, size=16384, seconds=2)
    out.append(result("memory, peak after 16 KiB messages too", "MiB", most()))
    ours.close()
    ours = bench.mpaxos(name="keys")
    bench.driver.count(ours, 1_200_000)
    out.append(result("memory, peak with the table of keys full", "MiB", most(), "< 40 + 48 of the table"))
    return out


@row
def kept(bench):
    """With 10 million messages kept: restart, and memory."""
    ours = bench.mpaxos(retain_mb=8192)
    n = bench.options.kept
    filled = bench.driver.count(ours, n)
    out = [result(f"{n} messages sent, 64 x 64", "msg/s", [filled["rate"]]),
           result(f"memory, peak with {n} kept", "MiB", [max(systems.memory_mib(p) for p in ours.pids())], "< 128")]
    answers, votes = [], []
    for _ in range(bench.rounds(3)):
        replica = ours.cluster.followers()[0]
        replica.stop()
        begun = time.monotonic()
        replica.start()
        answers.append(time.monotonic() - begun)
        harness.wait_until("it sees a quorum", lambda: replica.status()["quorum"], step=0.005)
        votes.append(time.monotonic() - begun)
    out.append(result(f"restart with {n} kept: answers", "s", answers, "< 1"))
    out.append(result(f"restart with {n} kept: votes", "s", votes, "< 2"))
    out.append(result("journal on disk of each message", "bytes", [replica.status()["journal_bytes"] / n]))
    out.append(result(f"memory after restart with {n} kept", "MiB", [systems.memory_mib(replica.process.pid)], "< 128"))
    return out


@row
def reading(bench):
    """Read: streaming the log, and what a reader that follows costs."""
    ours = bench.mpaxos()
    bench.driver.count(ours, 1_000_000)
    follower = ours.cluster.followers()[0]
    rates = [bench.driver.result(bench.driver.start_read(follower, 1 << 60))["rate"] for _ in range(bench.rounds(3))]
    cost = {False: [], True: []}
    for _ in range(bench.rounds(3)):
        for follow, into in cost.items():
            reader = bench.driver.start_read(follower, 1 << 60, follow=True) if follow else None
            load = bench.driver.start_load(ours, 64, seconds=2)
            time.sleep(0.5)
            begun = systems.cpu_seconds(follower.process.pid)
            m = bench.driver.result(load)
            into.append(1000 * (systems.cpu_seconds(follower.process.pid) - begun) / m["messages"])
            if reader:
                reader.kill()
                reader.wait()
    return [result("Read streams", "msg/s", rates, "> 500000"),
            result("a follower's CPU, N=64", "s/1000", cost[False]),
            result("the same with a reader that follows (ratio)", "s/1000", cost[True], "< 1.1",
                   ratio=ratio(cost[True], cost[False]))]
