"""The cluster key: who has none, another one or a new one; and those who read the wire and send what they like."""
import os
import re
import socket
import subprocess
import time

import wire
from harness import History, Skip, alone, memory_bytes, wait_until


def metric(replica, name, **labels):
    label = ",".join(f'{k}="{v}"' for k, v in labels.items())
    text = replica.call("Metrics")["text"]
    return float(re.search(rf"^mpaxos_{name}(?:_total)?{re.escape('{' + label + '}') if label else ''} (\S+)$", text, re.M)[1])


def dropped(replica, *reasons):
    return sum(metric(replica, "datagrams_dropped", reason=r) for r in reasons)


def peer(replica, number):
    return next(p for p in replica.status()["peers"] if p["id"] == number)


def ports(cluster):
    return [cluster.port + i for i in range(cluster.n)]


# --- the key file ---


def test_without_a_key_only_on_loopback(context):
    plain = context.cluster(f=0, sealed=False).start()
    status = plain[0].status()
    assert "keys" not in status
    assert any("not authenticated (no cluster key" in w for w in status["warnings"]), status["warnings"]
    assert "neither encrypted nor authenticated" in plain[0].said()
    far = context.cluster(name="far", sealed=False, replicas={1: {"ip": "192.0.2.1"}})
    for options in (), ("--key-file", far.dir / "nothing.key"):
        result = context.daemon("--dir", far.dir, *options, far.config_path, "-i", "0")
        assert result.returncode == 78, result
        for part in "192.0.2.1", "mpaxosctl keygen", "install -m 0400", *map(str, options):
            assert part in result.stderr, result.stderr
    assert not (far.dir / "state").exists(), "something was started"


def test_script_mode_hands_the_key_on(context):
    cluster = context.cluster(sealed=False, name="script")
    config = cluster.config_path.read_text().replace('"manual"', '"script"')
    cluster.config_path.write_text(config)
    context.ctl("keygen", cluster.key_path)
    context.spawn(context.mpaxosd, "--dir", cluster.dir, "--key-file", cluster.key_path, cluster.config_path,
                  stderr=subprocess.DEVNULL)
    context.wait_quorum(cluster.dir)
    keys = [cluster.ctl("-i", i, "status").stdout for i in range(3)]
    assert all(re.search(r"^  Key [0-9a-f]{8}$", k, re.M) for k in keys), keys


def test_a_key_that_others_may_touch_is_refused(context):
    cluster = context.cluster(f=0)
    secret = cluster.key_path.read_text().strip()
    for change, part in ((lambda: cluster.key_path.chmod(0o440), "chmod 0400"),
                         (lambda: cluster.key_path.chmod(0o402), "chmod 0400"),
                         (lambda: (cluster.key_path.chmod(0o600), cluster.key_path.write_text("no key\n")), "64 hexadecimal")):
        change()
        result = context.daemon("--dir", cluster.dir, *cluster.key_options, cluster.config_path, "-i", "0")
        assert result.returncode == 78 and part in result.stderr and str(cluster.key_path) in result.stderr, result
        assert secret not in result.stderr


# --- another key ---


def test_another_key_is_named_on_both_sides(context):
    cluster = context.cluster().start()
    cluster.ctl("send", "before")
    odd = cluster.followers()[0]
    odd.stop()
    cluster.key_path.rename(cluster.dir / "first.key")
    context.ctl("keygen", cluster.key_path)
    odd.start()
    others = [r for r in cluster if r is not odd]
    for r in others:
        wait_until("it is refused", lambda r=r: peer(r, odd.number)["role"] == "refused")
        assert "wrong cluster key" in peer(r, odd.number)["note"]
        assert any(f"compare the key files of {odd.number} and {r.number}" in x for x in r.status()["remedies"])
        wait_until("it is told", lambda r=r: f"replica {odd.number} (127.0.0.1 port" in r.said() and "wrong cluster key" in r.said())
        wait_until("so says the other side", lambda r=r: peer(odd, r.number)["role"] == "refused")
        assert r.status()["quorum"]
    result = cluster.ctl("-i", odd.number, "status", expect=2)
    assert re.search(rf"{others[0].number} refused: wrong cluster key", result.stdout), result.stdout
    assert "compare the key files" in result.stdout
    # The word of the file is looked up again at a restart.
    cluster.key_path.unlink()
    (cluster.dir / "first.key").rename(cluster.key_path)
    odd.stop()
    odd.start()
    cluster.wait_quorum()
    cluster.ctl("send", "after")
    assert [m["text"] for m in cluster.check_identical()] == ["before", "after"]


def test_a_replica_without_the_key_is_named(context):
    cluster = context.cluster()
    cluster.key_options = []
    odd = cluster[2].start()
    cluster.key_options = ["--key-file", cluster.key_path]
    for r in cluster.replicas[:2]:
        r.start()
    for r in cluster.replicas[:2]:
        wait_until("it is refused", lambda r=r: peer(r, 2)["role"] == "refused" and "no cluster key" in peer(r, 2)["note"])
        wait_until("so says the other side", lambda r=r: "this replica has none" in peer(odd, r.number).get("note", ""))


# --- a change of keys ---


def test_keys_change_under_load_without_a_gap(context):
    cluster = context.cluster().start()
    history = History(cluster, 4, 7)
    wait_until("load", lambda: history.acknowledged() > 100)
    new = context.ctl("keygen", "-").stdout
    old_line = cluster.key_path.read_text()

    def step(text):
        cluster.key_path.write_text(text)
        for r in cluster:
            assert r.call("Reload")["changed"] == ["keys"]
            time.sleep(0.3)  # each host in turn, with load between
        for r in cluster:
            own = r.status()["keys"]
            wait_until("all have taken the step", lambda r=r, own=own: all(
                p.get("keys") == own or (set(p.get("keys", [])) == set(own) and p["keys"][0] == own[0])
                for p in r.status()["peers"] if p["role"] != "self"))
        return own

    first = cluster[0].status()["keys"]
    both = step(old_line + new)
    assert both[0] == first[0] and len(both) == 2
    assert step(new + old_line) == [both[1], both[0]]
    assert step(new) == [both[1]]
    done = history.acknowledged()
    wait_until("load goes on", lambda: history.acknowledged() > done + 100)
    history.stop()
    failed = [call for s in history.senders for call in s.calls[:-1] if call[3] not in ("chosen", "duplicate")]
    assert not failed, failed
    print(f"     longest gap {1000 * history.longest_gap():.0f} ms, longest wait of one call {1000 * history.longest_wait():.0f} ms")
    history.check(cluster.check_identical())
    for r in cluster:
        assert "is refused" not in r.said() and metric(r, "leaderships") <= 1, r.said()


def test_a_wrong_key_file_changes_nothing(context):
    cluster = context.cluster().start()
    before = cluster[0].status()["keys"]
    good = cluster.key_path.read_text()
    for text, part in (("nonsense\n", "line 1"), (good + good, "leave one out"), ("", "line 1")):
        cluster.key_path.write_text(text)
        result = cluster.ctl("-i", 0, "reload", expect=78)
        assert str(cluster.key_path) in result.stderr and part in result.stderr, result.stderr
    cluster.key_path.unlink()
    assert "not there any more" in cluster.ctl("-i", 0, "reload", expect=78).stderr
    assert cluster[0].status()["keys"] == before
    cluster.ctl("send", "goes on")


def test_a_key_is_taken_up_by_a_restart_only(context):
    cluster = context.cluster(sealed=False)
    cluster.key_options = ["--key-file", cluster.key_path]
    cluster.start()
    context.ctl("keygen", cluster.key_path)
    assert cluster[0].call("Reload")["changed"] == []
    assert any("cluster key" in w and "restart" not in w for w in cluster[0].status()["warnings"])
    cluster.ctl("send", "plain still")


# --- where keys must not be ---


def readable_memory(pid):
    """What a core dump would hold: all mappings that are not left out of it."""
    with open(f"/proc/{pid}/smaps") as f:
        text = f.read()
    parts = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) (\S+) .*\n(?:(?![0-9a-f]+-[0-9a-f]+ ).*\n)*?VmFlags: (.*)\n", text, re.M)
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for start, end, rights, flags in parts:
            if "r" not in rights or "dd" in flags.split():
                continue
            try:
                memory.seek(int(start, 16))
                yield memory.read(int(end, 16) - int(start, 16))
            except OSError:
                continue


def test_keys_stay_secret(context):
    wire.need_root()
    cluster = context.cluster().start()
    old = cluster.key_path.read_text().strip()
    new = context.ctl("keygen", "-").stdout.strip()
    cluster.ctl("load", "4", "50")
    cluster.key_path.write_text(f"{new}\n{old}\n")
    for r in cluster:
        r.call("Reload")
    cluster.key_path.write_text("not a key\n")
    for r in cluster:
        cluster.ctl("-i", r.number, "reload", expect=78)
    said = "".join(r.said() + repr(r.status()) + r.call("Metrics")["text"] for r in cluster)
    for r in cluster:
        with open(f"/proc/{r.status()['pid']}/cmdline", "rb") as a, open(f"/proc/{r.status()['pid']}/environ", "rb") as b:
            said += (a.read() + b.read()).decode(errors="replace")
    for key in old, new:
        assert key not in said and key.upper() not in said
        wanted = key.encode(), bytes.fromhex(key)
        for r in cluster:
            for content in readable_memory(r.status()["pid"]):
                for w in wanted:
                    assert w not in content, "a core dump would hold the key"
        for file in (x for x in cluster.dir.rglob("*") if x.is_file() and not x.is_socket()):
            content = file.read_bytes()
            assert not any(w in content for w in wanted), f"the key stands in {file}"


def test_keys_that_cannot_be_locked_are_told(context):
    """As little memory as none may be locked: the replica runs, and says so."""
    if context.sanitized:
        raise Skip("a sanitizer has mlock() succeed and do nothing")
    if os.geteuid() == 0:
        bounds = ["setpriv", "--bounding-set=-ipc_lock", "prlimit", "--memlock=0:0"]
    else:
        bounds = ["prlimit", "--memlock=0:0"]
    cluster = context.cluster(f=0)
    cluster[0].start(wrapper=bounds)
    cluster.wait_quorum()
    status = cluster[0].status()
    assert any("keys may be swapped to the disk" in w for w in status["warnings"]), status["warnings"]
    assert any("LimitMEMLOCK=" in r for r in status["remedies"]), status["remedies"]
    assert cluster[0].said().count("LimitMEMLOCK=") == 1, cluster[0].said()
    cluster.ctl("send", "on it goes")
    cluster[0].stop()
    cluster[0].start()
    cluster.wait_quorum()
    assert not any("swapped" in w for w in cluster[0].status()["warnings"])


# --- on the wire ---


def test_nothing_can_be_read_on_the_wire(context):
    cluster = context.cluster()
    tap = wire.Tap(ports(cluster))
    cluster.start()
    cluster.ctl("send", "a secret that nobody else shall read")
    cluster.check_identical()
    tape = tap.stop()
    kinds = {d.payload[wire.KIND] for d in tape}
    assert kinds == {wire.SEALED, wire.HELLO, wire.HELLO_ACK}, kinds
    assert not any(b"secret" in d.payload for d in tape)
    # Nothing is answered by more than was asked with, and what is not authentic not at all.
    hellos = {len(d.payload) for d in tape if d.payload[wire.KIND] in (wire.HELLO, wire.HELLO_ACK)}
    assert len(hellos) == 1, hellos


def test_strangers_get_no_answer(context):
    cluster = context.cluster(f=0).start()
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("127.0.0.1", 0))
    s.settimeout(0.05)
    for i in range(2000):
        data = bytearray(context.random.randbytes(context.random.choice([104, 120, 300])))
        data[:5] = b"MPXD\x02"
        data[wire.KIND] = i % 4
        data[wire.TO] = 0
        s.sendto(data, ("127.0.0.1", cluster.port))
        if i % 100 == 0:
            try:
                raise AssertionError(f"it answered {s.recv(2000)}")
            except TimeoutError:
                pass


def restart(replica):
    replica.kill()
    replica.start()


def test_recordings_of_real_traffic(context):
    """All that was ever said, sent again under the old addresses: to those who heard it, to others, and to replicas that were
    started again since. Nothing of it is taken, and nobody loses a session for it."""
    cluster = context.cluster()
    tap = wire.Tap(ports(cluster))
    cluster.start()
    cluster.ctl("load", "8", "50")
    for r in cluster.followers():
        restart(r)
        cluster.wait_quorum()
    cluster.ctl("load", "8", "50")
    tape = tap.stop()
    assert len(tape) > 200
    forger = wire.Forger()
    before = [dropped(r, "stale", "replayed") for r in cluster]
    leaderships = sum(metric(r, "leaderships") for r in cluster)
    history = History(cluster, 4, 3)
    wait_until("load", lambda: history.acknowledged() > 50)
    forger.replay(tape)
    forger.replay(reversed(tape))
    for d in tape:  # swapped receivers, and sent back to where they came from
        for port in ports(cluster):
            if port != d.target:
                forger.send(d.source, port, d.payload)
                changed = bytearray(d.payload)
                changed[wire.TO] = port - cluster.port
                forger.send(d.source, port, bytes(changed))
    assert all(dropped(r, "stale", "replayed") > b + 100 for r, b in zip(cluster, before)), "they are not counted"
    assert any(dropped(r, "replayed") > 20 for r in cluster), "what a living session opened is opened again"
    assert sum(metric(r, "leaderships") for r in cluster) == leaderships, "recordings changed the leader"
    for r in cluster:  # and again, while each of them comes back
        r.kill()
        r.start(wait=False)
        forger.replay(tape)
        wait_until("it is back", r.answers)
        cluster.wait_quorum()
    forger.replay(tape)
    done = history.acknowledged()
    wait_until("load goes on", lambda: history.acknowledged() > done + 50)
    history.stop()
    log = cluster.check_identical()
    history.check([m for m in log if re.match(r"c\d+-", m["text"])])
    assert any("datagrams came in and were refused" in r.said() for r in cluster)
    assert any("datagrams refused" in w for r in cluster for w in r.status()["warnings"])


def test_votes_of_a_wiped_disk(context):
    """What a member said before its disk was lost, sent again in its name: its votes are gone for good."""
    cluster = context.cluster()
    tap = wire.Tap(ports(cluster))
    cluster.start()
    leader = cluster.leader()
    lost, other = cluster.followers()
    cluster.ctl("load", "8", "100")
    tape = [d for d in tap.stop() if d.source == cluster.port + lost.number]
    assert len(tape) > 50
    lost.kill()
    for file in lost.state.iterdir():
        file.unlink()
    other.kill()
    forger = wire.Forger()
    wait_until("the leader is alone", lambda: not leader.status()["quorum"])
    chosen = leader.status()["chosen"]
    for _ in range(3):
        forger.replay(tape)
        cluster.ctl("-i", leader.number, "--timeout", "0.3", "send", "nobody votes for this", check=False)
        time.sleep(0.2)
    assert leader.status()["chosen"] == chosen and not leader.status()["quorum"]
    lost.start()  # blank now: it may not vote, and its recordings do not help it
    for _ in range(3):
        forger.replay(tape)
        time.sleep(0.3)
    assert leader.status()["chosen"] == chosen and not leader.status()["quorum"]
    assert peer(leader, lost.number)["role"] == "refused"
    other.start()
    wait_until("two are a majority", lambda: leader.status()["quorum"])
    cluster.ctl("-i", other.number, "send", "and these two do")


# --- floods ---


def throughput(cluster):
    text = cluster.ctl("load", "64", "100").stdout
    return int(re.search(r"^(\d+) messages/s", text, re.M)[1])


@alone
def test_flood(context):
    """100,000 datagrams a second, sent to the leader: it loses nothing and does not grow. How fast it goes on is shown, not
    judged: the machine has a say in it."""
    cluster = context.cluster()
    tap = wire.Tap(ports(cluster))
    cluster.start()
    cluster.ctl("load", "64", "100")
    time.sleep(0.2)
    tape = tap.stop()
    leader = cluster.leader()
    before = memory_bytes(leader.process.pid)
    calm = throughput(cluster)
    for name, payloads in wire.forgeries(tape, cluster.port + leader.number).items():
        received, began = metric(leader, "datagrams_received"), time.monotonic()
        with wire.Flood(cluster.port + leader.number, payloads, 100000, forge=not name.startswith("recorded")):
            flooded = throughput(cluster)
            rate = (metric(leader, "datagrams_received") - received) / (time.monotonic() - began)
        before_it, calm = calm, throughput(cluster)
        print(f"     {name}: {flooded} messages/s, calm {before_it} and {calm}; {rate:.0f} datagrams/s came in")
    grown = memory_bytes(leader.process.pid) - before
    print(f"     resident memory: {grown >> 10} KiB more")
    # A sanitizer keeps what was freed.
    assert grown < (512 if context.sanitized else 32) << 20, f"it grew by {grown >> 20} MiB"
    cluster.check_identical()
