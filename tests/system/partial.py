"""Partial connectivity: the scenarios, and the clients that measure how a replicated system gets through them.

Quorum loss, constrained election and chain are those that tell leader elections apart (Ng, Haridi, Carbone:
"Omni-Paxos", EuroSys 2023). Who leads is whoever leads when the links are cut; who else does what is drawn.
"""
import itertools
import random as randomness
import threading
import time

from harness import wait_until

PREPARE_S = 1.0  # for which the hub of the constrained election misses what is chosen


def ways_of(links):
    return [way for link in links for way in (tuple(link), tuple(link)[::-1])]


def ways_but(n, links):
    """All ways between n replicas, but those of these links."""
    kept = set(ways_of(links))
    return [way for way in itertools.permutations(range(n), 2) if way not in kept]


class Scenario:
    """What is cut. `hub` is the one that has to lead then, where only one replica can."""

    n, hub_lags, leader_dies = 5, False, False

    def arrange(self, leader, others):
        """Answers (hub or None, the ways (a, b) that are cut from a to b) for `others` in random order."""
        raise NotImplementedError


class QuorumLoss(Scenario):
    """All are linked to the hub and to nobody else; the leader lives, and is linked to the hub like all others."""

    name = "quorum loss"

    def arrange(self, leader, others):
        return others[0], ways_but(5, [(others[0], i) for i in [leader, *others[1:]]])


class ConstrainedElection(Scenario):
    """The leader dies, and of the others only the hub reaches a majority: the one that missed the last messages."""

    name, hub_lags, leader_dies = "constrained election", True, True

    def arrange(self, leader, others):
        return others[0], ways_but(5, [(others[0], i) for i in others[1:]])


class Chain(Scenario):
    """A chain with the leader at its end."""

    def __init__(self, n):
        self.n, self.name = n, f"chain of {n}"

    def arrange(self, leader, others):
        return None, ways_but(self.n, itertools.pairwise([leader, *others]))


class MuteLeader(Scenario):
    """Nothing that the leader sends reaches these many others, but it hears all."""

    def __init__(self, n_deaf):
        self.n_deaf, self.name = n_deaf, f"leader unheard by {n_deaf}"

    def arrange(self, leader, others):
        return None, [(leader, i) for i in others[:self.n_deaf]]


class DeafLeader(Scenario):
    """The leader is heard by all, and hears nobody."""

    name = "deaf leader"

    def arrange(self, leader, others):
        return None, [(i, leader) for i in others]


class Pentagon(Scenario):
    """Cut in one direction each, in a circle: every replica is linked to two others, which are linked to one of the two
    that it is not linked to."""

    name = "pentagon"

    def arrange(self, leader, others):
        circle = [leader, *others]
        return leader, [(circle[i], circle[(i + 1) % 5]) for i in range(5)]


class RandomLinks(Scenario):
    """Any cuts, in one direction or both, that leave somebody linked to a majority."""

    name = "random links"

    def __init__(self, seed):
        self.random = randomness.Random(seed)

    def arrange(self, leader, others):
        while True:
            share, cut = self.random.uniform(0.3, 0.6), []
            for link in itertools.combinations(range(5), 2):
                ways = [link, link[::-1]]
                if self.random.random() > share:
                    cut += ways if self.random.random() < 0.8 else [self.random.choice(ways)]
            if any(sum(distance(5, cut, i, j) == 1 for j in range(5)) >= 2 for i in range(5)):
                return None, cut


def compared():
    """Those that other systems are held against."""
    return [QuorumLoss(), ConstrainedElection(), Chain(3), Chain(5)]


def distance(n, cut, a, b):
    """How many links lie between them; None where there is no way. What works one way only is no link."""
    unlinked = set(cut) | {way[::-1] for way in cut}
    reached, border, steps = {a}, {a}, 0
    while border and b not in reached:
        border = {y for x, y in itertools.permutations(range(n), 2) if x in border and (x, y) not in unlinked} - reached
        reached |= border
        steps += 1
    return steps if b in reached else None


class Client(threading.Thread):
    """Sends one message after the other through one replica only, each until it is acknowledged, and writes down when.

    `attempt(text)` answers the place of the message once it is acknowledged, and None where it has to be sent again."""

    def __init__(self, number, attempt):
        super().__init__(daemon=True)
        self.number, self.attempt = number, attempt
        self.calls = []  # (text, invoked, returned, outcome, slot), as harness.History judges them
        self.stopping, self.failure = threading.Event(), None
        self.start()

    def run(self):
        try:
            self.send_all()
        except Exception as e:  # for whoever stops it
            self.failure = e

    def send_all(self):
        for i in itertools.count():
            text, invoked, slot = f"c{self.number}-{i}", time.monotonic(), None
            while slot is None and not self.stopping.is_set():
                slot = self.attempt(text)
                self.stopping.wait(0.005)  # leaves the machine to those who are measured
            self.calls.append((text, invoked, time.monotonic(), "unknown" if slot is None else "chosen", slot))
            if self.stopping.is_set():
                return

    def acknowledged_at(self, invoked_after=0.0):
        return [returned for _, invoked, returned, _, slot in list(self.calls)
                if slot is not None and invoked > invoked_after]

    def wait(self):
        self.join(20)
        assert not self.is_alive(), f"the client of replica {self.number} hangs"
        if self.failure:
            raise self.failure


class Outcome:
    """`first_s`: from the cut until a message that was sent after it is acknowledged; None: never. `served_s`: the same
    for each replica's own client. `changes`: how many bids led since the cut. `gap_s`: the longest time without an
    acknowledgement after the first one."""

    def __init__(self, n, leader, hub, cut):
        self.leader, self.hub, self.cut = leader, hub, cut
        self.ways = [way for way in itertools.permutations(range(n), 2) if way not in cut]
        self.first_s, self.gap_s, self.changes, self.served_s, self.clients = None, 0.0, 0, {}, []

    def __str__(self):
        served = ", ".join(f"{i}: {'never' if s is None else f'{s:.2f} s'}" for i, s in sorted(self.served_s.items()))
        first = "never" if self.first_s is None else f"{self.first_s:.2f} s"
        links = [f"{a}-{b}" for a, b in self.ways if a < b and (b, a) in self.ways]
        one_way = [f"{a}>{b}" for a, b in self.ways if (b, a) not in self.ways]
        return (f"leader {self.leader}, left of the links: {' '.join(links + one_way)}; acknowledged again after "
                f"{first} ({served}), longest gap then {self.gap_s:.2f} s, {self.changes} leader changes")


def disturb(system, lan, out, scenario, clients):
    """Cuts. Answers how often somebody had begun to lead, who lives on, and between which times it was cut."""
    live = [i for i in range(scenario.n) if i != out.leader or not scenario.leader_dies]
    if scenario.hub_lags:
        alone = time.monotonic()
        lan.cut([way for way in itertools.permutations(range(scenario.n), 2) if out.hub in way])
        time.sleep(PREPARE_S)
        assert any(len(c.acknowledged_at(alone)) > 3 for c in clients.values()), "the hub has missed nothing"
    changes = system.leaderships(live)
    before = time.monotonic()
    if scenario.leader_dies:
        system.kill(out.leader)
        clients.pop(out.leader).stopping.set()
    lan.cut(out.cut)
    return changes, live, before, time.monotonic()


def go_through(system, lan, scenario, seed, limit_s, watch_s, everyone=False):
    """Runs one scenario on a system that works, and leaves the links cut and the clients stopped. It lasts until one
    client is served, or everyone is, but for no longer than the limit, and then as long as it is watched.

    `system` knows leader(), leaderships(replicas): how often one of them began to lead, kill(i), and attempt(i): the
    function for a client of replica i."""
    leader = system.leader()
    others = [i for i in range(scenario.n) if i != leader]
    randomness.Random(seed).shuffle(others)
    out = Outcome(scenario.n, leader, *scenario.arrange(leader, others))
    out.clients = [Client(i, system.attempt(i)) for i in range(scenario.n)]
    try:
        wait_until("every client is served before the cut",
                   lambda: all(len(c.acknowledged_at()) > 3 for c in out.clients))
        clients = dict(enumerate(out.clients))
        changes, live, before, after = disturb(system, lan, out, scenario, clients)

        def again():
            return sorted(t for c in clients.values() for t in c.acknowledged_at(after))
        served = all if everyone else any
        while not served(c.acknowledged_at(after) for c in clients.values()) and time.monotonic() < before + limit_s:
            time.sleep(0.01)
        time.sleep(watch_s)
        out.changes = system.leaderships(live) - changes
        ended, times = time.monotonic(), again()
        for i, client in clients.items():
            returned = client.acknowledged_at(after)
            out.served_s[i] = returned[0] - before if returned else None
    finally:
        for client in out.clients:
            client.stopping.set()
        for client in out.clients:
            client.wait()
    if times:
        out.first_s = times[0] - before
        out.gap_s = max(b - a for a, b in itertools.pairwise([*times, ended]))
    return out
