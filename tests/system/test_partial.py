"""Five replicas in five network namespaces, with links that are really cut: who still can goes on, and the lead does
not wander. Each test prints what it measured. The heartbeat is slow, since other things run on the machine."""
import re
import threading
import time

import lan
import partial
from harness import Cluster, Failed, History
from stalls import Stalls

HEARTBEAT_MS = 200
AGAIN_S = (6 + 10) * HEARTBEAT_MS / 1000  # the election time, and ten heartbeats
HELD_UP = 3  # processes one after the other, whom the machine may hold up for as long as it did one
GAP_S = 8.0
CHANGES = 2
WATCH_S = 4.0
HOPS = 2  # over which a message reaches the leader
SILENCE_S = 3.0  # after that a peer is not waited for
LONG_BYTES = 16000
WAITING_MAX = 16000  # packets
CALL_MS = 10000  # longer than that: a call that was under way at the cut is served, too


class Replicas:
    """A cluster on a LAN, as the scenarios see it."""

    def __init__(self, context, n, heartbeat_ms=HEARTBEAT_MS):
        self.lan = lan.Lan(n)
        members = {i: {"ip": self.lan.address(i), "port": 7000} for i in range(n)}
        self.cluster = Cluster(context, f=n // 2, name=f"cluster{len(context.clusters)}", replicas=members,
                               heartbeat_ms=heartbeat_ms)
        for r in self.cluster:
            self.start(r.number)
        self.cluster.wait_quorum()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cluster.close()
        self.lan.close()

    def start(self, i):
        """As the unit does: without the privilege by which a socket gets as large a buffer as it asks for."""
        self.cluster[i].start(wait=False, wrapper=[*self.lan.hosts[i].wrapper, "setpriv", "--bounding-set=-net_admin"])

    def leader(self):
        return self.cluster.leader().number

    def kill(self, i):
        self.cluster[i].kill()

    def leaderships(self, replicas):
        texts = [self.cluster[i].call("Metrics")["text"] for i in replicas]
        return sum(int(re.search(r"^mpaxos_leaderships_total(?:{.*})? (\d+)", text, re.M)[1]) for text in texts)

    def attempt(self, i):
        return Attempt(self.cluster[i])


class Attempt:
    """Submits under one key until the outcome is known, through one replica."""

    def __init__(self, replica):
        self.replica, self.connection, self.text, self.since = replica, None, None, None

    def __call__(self, text):
        if text != self.text:
            self.text, self.since = text, None
        try:
            if self.connection is None:
                self.connection = self.replica.connect()
            if self.since is None:
                self.since = self.connection.call("Position")["slot"]
            return self.connection.call("Submit", text=text, author="a", key=text, since=self.since,
                                        timeout_ms=CALL_MS)["slot"]
        except Failed as failed:
            if failed.error not in ("Timeout", "NoQuorum", "Overloaded", "NotInitialized"):
                raise
        except (OSError, ConnectionError):
            self.connection = None
        return None


def check_all_is_well_once_healed(replicas, outcome):
    """Every link is back: all logs are equal, and hold what was acknowledged, once and in order."""
    replicas.lan.heal()
    for r in replicas.cluster:
        if r.process.poll() is not None:
            replicas.start(r.number)
    replicas.cluster.wait_quorum()
    history = History(replicas.cluster, 0, 0)
    history.senders = outcome.clients
    return history.check(replicas.cluster.check_identical())


def leader_now(replicas, live):
    ballots = [(s["ballot"]["round"], s["ballot"]["replica"]) for s in (replicas.cluster[i].status() for i in live)
               if s["role"] == "leader"]
    return max(ballots)[1] if ballots else None


def go_through(context, scenario, changes_max=CHANGES):
    seed = context.random.randrange(2**32)
    with Replicas(context, scenario.n) as replicas:
        with Stalls() as stalls:
            outcome = partial.go_through(replicas, replicas.lan, scenario, seed, 20, WATCH_S)
        leader = leader_now(replicas, outcome.served_s)
        print(f"     {scenario.name}: {outcome}, {leader} leads; the machine stalled for {stalls.seconds:.2f} s",
              flush=True)
        again_s = AGAIN_S + HELD_UP * stalls.seconds
        assert outcome.first_s is not None and outcome.first_s < again_s
        assert outcome.gap_s < GAP_S
        assert outcome.changes <= changes_max
        assert leader is not None and outcome.hub in (None, leader)
        for i, served_s in outcome.served_s.items():
            if partial.distance(scenario.n, outcome.cut, i, leader) in range(HOPS + 1):
                assert served_s is not None and served_s < again_s, f"the client of replica {i} is not served"
        assert check_all_is_well_once_healed(replicas, outcome) > 50


def test_quorum_loss(context):
    go_through(context, partial.QuorumLoss())


def test_constrained_election(context):
    go_through(context, partial.ConstrainedElection())


def test_chain_of_three(context):
    """The end of the chain that has no link to the leader is served through the middle, and the leader stays."""
    go_through(context, partial.Chain(3), changes_max=0)


def test_chain_of_five(context):
    """The leader, at the end of the chain, reaches no majority."""
    go_through(context, partial.Chain(5))


def test_leader_that_nobody_hears(context):
    go_through(context, partial.MuteLeader(4))


def test_leader_that_most_do_not_hear(context):
    go_through(context, partial.MuteLeader(3))


def test_leader_that_hears_nobody(context):
    go_through(context, partial.DeafLeader())


def test_circle_of_one_way_cuts(context):
    """The leader keeps a majority, and all others reach it over one other: nothing changes."""
    go_through(context, partial.Pentagon(), changes_max=0)


def send_long_ones(replica, stopping, told):
    with replica.connect() as c:
        while not stopping.is_set():
            try:
                c.call("Submit", text="x" * LONG_BYTES, timeout_ms=CALL_MS)
                told.append(time.monotonic())
            except Failed as failed:
                if failed.error not in ("Timeout", "NoQuorum", "Overloaded"):
                    raise


def send_for(replica, seconds):
    """Answers how many messages were acknowledged, and the longest time without one."""
    stopping, told = threading.Event(), []
    senders = [threading.Thread(target=send_long_ones, args=(replica, stopping, told)) for _ in range(8)]
    began = time.monotonic()
    for s in senders:
        s.start()
    time.sleep(seconds)
    stopping.set()
    for s in senders:
        s.join()
    times = sorted([began, *told, time.monotonic()])
    return len(told), max(b - a for a, b in zip(times, times[1:]))


def test_host_that_is_off(context):
    """Nobody answers for its address. What is sent there waits in the kernel until that has given it up, and counts as
    the sender's. Here as much of it waits for this one host as otherwise for many."""
    with Replicas(context, 3) as replicas:
        leader = replicas.leader()
        off = (leader + 1) % 3
        host = replicas.lan.hosts[leader]
        replicas.kill(off)
        replicas.lan.switch.run("ip", "link", "set", f"port{off}", "down")
        time.sleep(SILENCE_S)
        leaderships = replicas.leaderships(i for i in range(3) if i != off)
        host.run("ip", "ntable", "change", "name", "arp_cache", "dev", "eth0", "queue", str(WAITING_MAX))
        host.run("ip", "neigh", "flush", "dev", "eth0")
        with Stalls() as stalls:
            n, gap_s = send_for(replicas.cluster[leader], 8)
        print(f"     {n} messages, the longest wait {gap_s:.2f} s; the machine stalled for {stalls.seconds:.2f} s",
              flush=True)
        assert replicas.leaderships(i for i in range(3) if i != off) == leaderships
        assert gap_s < 1.0 + HELD_UP * stalls.seconds
        replicas.lan.switch.run("ip", "link", "set", f"port{off}", "up")
        replicas.start(off)
        replicas.cluster.wait_quorum()
        assert len(replicas.cluster.check_identical()) >= n


def test_random_cuts(context):
    for _ in range(3):
        go_through(context, partial.RandomLinks(context.random.randrange(2**32)))
