"""Crashes, pauses and losses under load, judged by the histories of the clients."""
import signal
import time

from harness import Connection, Failed, History, wait_until


def test_kill_anyone_at_any_moment(context):
    cluster = context.cluster().start()
    history = History(cluster, 10, context.random.randrange(2**32))
    for _ in range(12):
        time.sleep(context.random.uniform(0.05, 0.6))
        victim = context.random.choice(cluster.replicas)
        victim.kill()
        time.sleep(context.random.uniform(0, 0.5))
        victim.start()
    wait_until("messages", lambda: history.acknowledged() > 50)
    history.stop()
    history.check(cluster.check_identical())


def test_kill_all_at_once(context):
    cluster = context.cluster().start()
    history = History(cluster, 10, context.random.randrange(2**32))
    for _ in range(4):
        time.sleep(context.random.uniform(0.3, 1.0))
        for r in cluster:
            r.signal(signal.SIGKILL)
        for r in cluster:
            r.kill()
        for r in cluster:
            r.start(wait=False)
        cluster.wait_quorum()
    wait_until("messages", lambda: history.acknowledged() > 50)
    history.stop()
    history.check(cluster.check_identical())


def test_paused_leader(context):
    cluster = context.cluster().start()
    history = History(cluster, 8, context.random.randrange(2**32))
    for _ in range(3):
        time.sleep(0.5)
        leader = cluster.leader()
        leader.signal(signal.SIGSTOP)
        others = [r for r in cluster if r is not leader]

        def another_leads():
            return any(r.status()["role"] == "leader" for r in others)
        wait_until("another replica leads", another_leads)
        before = history.acknowledged()
        wait_until("messages are acknowledged meanwhile", lambda: history.acknowledged() > before + 20)
        time.sleep(1.0)
        leader.signal(signal.SIGCONT)
        cluster.wait_quorum()
    history.stop()
    history.check(cluster.check_identical())


def test_no_stale_read_from_a_leader_that_was_paused(context):
    cluster = context.cluster().start()
    old = cluster.leader()
    with old.connect() as waiting:
        old.signal(signal.SIGSTOP)
        waiting.send("Position", {"linearizable": True, "timeout_ms": 10000})
        others = [r for r in cluster if r is not old]
        wait_until("another replica leads", lambda: any(r.status()["role"] == "leader" for r in others))
        slot = others[0].call("Submit", text="while the old leader slept", timeout_ms=10000)["slot"]
        old.signal(signal.SIGCONT)
        try:
            assert waiting.receive()["slot"] >= 1
        except Failed as failed:
            assert failed.error in ("Timeout", "NoQuorum", "Overloaded"), failed
    assert old.call("Position", linearizable=True, timeout_ms=10000)["slot"] >= slot


def test_loss_on_every_replica(context):
    cluster = context.cluster(f=1).start()
    for r in cluster:
        r.call("SetDrop", rate=30, direction="both")
    history = History(cluster, 10, context.random.randrange(2**32))
    wait_until("messages all the same", lambda: history.acknowledged() > 100, timeout=120)
    history.stop()
    for r in cluster:
        r.call("SetDrop", rate=0)
    history.check(cluster.check_identical())


def test_rejoining_highest_id_does_not_take_over(context):
    cluster = context.cluster().start()
    cluster[2].kill()
    leader = wait_until("a leader among 0 and 1", lambda: next(
        (r for r in cluster.alive() if r.status()["role"] == "leader"), None))
    ballot = leader.status()["ballot"]
    for _ in range(3):
        cluster[2].start()
        cluster.wait_quorum()
        time.sleep(0.7)
        cluster[2].kill()
    assert leader.status()["role"] == "leader" and leader.status()["ballot"] == ballot


def test_late_replica_catches_up(context):
    cluster = context.cluster().start()
    late = cluster.followers()[0]
    late.kill()
    cluster.ctl("load", "64", "300")
    late.start()
    cluster.check_identical()


def test_no_quorum_is_said_and_nothing_is_chosen(context):
    cluster = context.cluster().start()
    cluster.ctl("send", "with a quorum")
    cluster[1].kill()
    cluster[2].kill()
    wait_until("replica 0 notices", lambda: not cluster[0].status()["quorum"])
    time.sleep(1.5)
    try:
        cluster[0].call("Submit", text="alone", timeout_ms=2000)
        raise AssertionError("a message was chosen without a majority")
    except Failed as failed:
        assert failed.error == "NoQuorum" and failed.parameters["needed"] == 2, failed
    assert cluster.ctl("-i", "0", "status", expect=2).stdout
    assert cluster.ctl("-i", "0", "--timeout", "2", "send", "alone", expect=2).stderr
    assert [m["text"] for m in cluster[0].read_all()] == ["with a quorum"], "reads go on without a quorum"
    cluster[1].start()
    cluster.wait_quorum([cluster[0], cluster[1]])
    cluster[0].call("Submit", text="again")
    cluster[2].start()
    assert [m["text"] for m in cluster.check_identical()] == ["with a quorum", "again"]


def test_skipped_slots_become_no_ops(context):
    cluster = context.cluster(replicas={i: {"skip_slot": [5, 9]} for i in range(3)}).start()
    for i in range(12):
        cluster[i % 3].call("Submit", text=f"m{i}", timeout_ms=20000)
    log = cluster.check_identical()
    assert [m["text"] for m in log] == [f"m{i}" for i in range(12)]
    assert not {5, 9} & {m["slot"] for m in log}, "a skipped slot holds a message"
    assert all(r.status()["noops"] >= 2 for r in cluster)


def test_skip_by_the_tool(context):
    cluster = context.cluster().start()
    slot = cluster.ctl("send", "first").stdout.split()[-1]
    skipped = int(slot) + 2
    cluster.ctl("skip", skipped)
    for i in range(4):
        cluster.ctl("--timeout", "20", "send", f"m{i}")
    log = cluster.check_identical()
    assert skipped not in {m["slot"] for m in log} and len(log) == 5, log


def test_retries_of_one_key_through_different_replicas(context):
    cluster = context.cluster().start()
    since = cluster[0].call("Position")["slot"]
    first = cluster[0].call("Submit", text="once", author="a", key="k", since=since)
    assert first["duplicate"] is False
    for i in (1, 2, 0):
        again = cluster[i].call("Submit", text="once", author="a", key="k", since=since)
        assert again == {"slot": first["slot"], "key": "k", "duplicate": True}, again
    try:
        cluster[1].call("Submit", text="twice", author="a", key="k", since=since)
        raise AssertionError("the same key was taken for another text")
    except Failed as failed:
        assert failed.error == "KeyConflict" and failed.parameters["slot"] == first["slot"], failed
    assert cluster[2].call("Submit", text="once", author="b", key="k")["duplicate"] is False, "keys are an author's own"
    leader = cluster.leader()
    leader.kill()
    other = cluster.alive()[0]
    again = other.call("Submit", text="once", author="a", key="k", since=since, timeout_ms=20000)
    assert again["duplicate"] and again["slot"] == first["slot"]
    leader.start()
    assert len(cluster.check_identical()) == 2


def test_forgotten_key_is_refused(context):
    cluster = context.cluster(dedup_slots=8).start()
    since = cluster[0].call("Position")["slot"]
    cluster[0].call("Submit", text="old", author="a", key="old", since=since)
    for i in range(20):
        cluster[0].call("Submit", text=f"m{i}", author="a")
    try:
        cluster[1].call("Submit", text="old", author="a", key="old", since=since)
        raise AssertionError("a forgotten key was stored again")
    except Failed as failed:
        assert failed.error == "KeyExpired", failed
    assert len([m for m in cluster.check_identical() if m["text"] == "old"]) == 1


def test_pipelined_order_over_a_leader_change(context):
    cluster = context.cluster().start()
    leader = cluster.leader()
    follower = cluster.followers()[0]
    n = 2000
    since = follower.call("Position")["slot"]
    with follower.connect(timeout=60) as c:
        for i in range(n):
            c.send("Submit", {"text": f"m{i}", "author": "p", "key": f"k{i}", "since": since, "timeout_ms": 60000})
            if i == n // 2:
                leader.kill()
        slots = [c.receive()["slot"] for _ in range(n)]
    assert slots == sorted(set(slots)), "the order of the connection is lost"
    leader.start()
    assert [m["text"] for m in cluster.check_identical()] == [f"m{i}" for i in range(n)]
