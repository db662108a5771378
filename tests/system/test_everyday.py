"""What a user does on an ordinary day."""
import json
import re
import signal

from harness import Failed, History, wait_until

LEAST = """{ "f": 1, "mode": "script",
  "replica_list": [
    { "id": 0, "ip": "localhost", "port": %d, "skip_slot": [], "drop_rate": 0 },
    { "id": 1, "ip": "localhost", "port": %d, "skip_slot": [], "drop_rate": 0 },
    { "id": 2, "ip": "localhost", "port": %d, "skip_slot": [2], "drop_rate": 10 } ] }
"""


def test_send_through_each_replica(context):
    cluster = context.cluster().start()
    for i in range(3):
        out = cluster.ctl("-i", i, "send", f"hello from {i}").stdout
        assert re.fullmatch(r"chosen at slot \d+\n", out), out
    assert [m["text"] for m in cluster.check_identical()] == ["hello from 0", "hello from 1", "hello from 2"]


def test_the_least_configuration_in_script_mode(context):
    from harness import free_ports, Connection
    port = free_ports(3)
    config = context.dir / "replica_config.json"
    config.write_text(LEAST % (port, port + 1, port + 2))
    err = open(context.dir / "err", "wb")
    daemon = context.spawn(context.mpaxosd, "--dir", context.dir, config, stderr=err)
    context.wait_quorum(context.dir)
    context.ctl("--dir", context.dir, "load", "8", "20")
    status = json.loads(context.ctl("--dir", context.dir, "-i", "2", "--json", "status").stdout)
    assert any(d["rate"] == 10 and d["direction"] == "out" for d in status["drops"]), status["drops"]

    with Connection(context.dir / "run" / "1" / "control") as c:
        pid = c.call("Status")["pid"]
    assert pid != daemon.pid
    import os
    os.kill(pid, signal.SIGKILL)

    def back():
        try:
            with Connection(context.dir / "run" / "1" / "control") as c:
                return c.call("Status")["pid"] != pid
        except OSError:
            return False
    wait_until("the supervisor starts replica 1 again", back)
    said = (context.dir / "err").read_text()
    assert "replica 1" in said and str(pid) in said, said
    context.wait_quorum(context.dir)
    context.ctl("--dir", context.dir, "load", "8", "20")
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(60) == 0
    for i in range(3):
        assert not (context.dir / "run" / str(i) / "control").exists(), f"replica {i} left its socket behind"


def test_children_die_with_the_supervisor(context):
    from harness import free_ports, Connection
    port = free_ports(3)
    config = context.dir / "replica_config.json"
    config.write_text(LEAST % (port, port + 1, port + 2))
    daemon = context.spawn(context.mpaxosd, "--dir", context.dir, config, stderr=open(context.dir / "err", "wb"))
    context.wait_quorum(context.dir)
    pids = []
    for i in range(3):
        with Connection(context.dir / "run" / str(i) / "control") as c:
            pids.append(c.call("Status")["pid"])
    daemon.kill()
    daemon.wait()

    def gone(pid):
        try:
            with open(f"/proc/{pid}/stat") as f:
                return f.read().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True
    wait_until("the children are gone", lambda: all(gone(p) for p in pids))


def test_manual_mode_needs_an_id(context):
    cluster = context.cluster()
    result = context.daemon("--dir", cluster.dir, cluster.config_path)
    assert result.returncode == 64 and "-i" in result.stderr, result


def test_orderly_stop_and_restart_of_all(context):
    cluster = context.cluster().start()
    cluster.ctl("send", "before")
    for r in cluster:
        assert r.stop() == 0, r.said()
    cluster.start()
    cluster.ctl("send", "after")
    assert [m["text"] for m in cluster.check_identical()] == ["before", "after"]


def test_gpl3_through_a_follower_while_the_leader_is_killed(context):
    import threading
    source = open("/usr/share/common-licenses/GPL-3").read()
    lines = [line for line in source.splitlines() if line]
    cluster = context.cluster(log_format="plain").start()
    leader = cluster.leader()
    follower = cluster.followers()[0]

    def kill():
        wait_until("some lines are chosen", lambda: follower.status()["chosen"] > 60)
        leader.kill()
    killer = threading.Thread(target=kill)
    killer.start()
    result = cluster.ctl("-i", follower.number, "send", "-", stdin=source)
    killer.join()
    empty = source.count("\n") - len(lines)
    assert str(empty) in result.stdout + result.stderr, result
    leader.start()
    cluster.wait_quorum()
    cluster.wait_level()
    cluster.ctl("flush", "--all")
    for r in cluster:
        assert r.log.read_text().splitlines() == lines, f"replica {r.number}: the file is not the text"


def test_load_succeeds(context):
    cluster = context.cluster().start()
    out = cluster.ctl("load", "64", "200")
    assert "messages/s" in out.stdout and "p99" in out.stdout, out
    cluster.check_identical()


def test_load_with_lost_requests_and_answers(context):
    cluster = context.cluster().start()
    cluster.ctl("load", "64", "200", "10", timeout=300)
    cluster.check_identical()


def test_load_with_30_percent_drops_on_every_replica(context):
    cluster = context.cluster(replicas={i: {"drop_rate": 30} for i in range(3)}).start()
    cluster.ctl("load", "64", "200", timeout=300)
    cluster.ctl("drop", "0", "-i", "0")
    for r in cluster:
        assert r.call("SetDrop", rate=0)["drops"] == []
    cluster.check_identical()


def test_load_while_replicas_are_killed_in_turn(context):
    cluster = context.cluster().start()
    load = context.spawn(context.mpaxosctl, "--dir", cluster.dir, "load", "64", "200", "--rate", "1500",
                         stdout=open(context.dir / "out", "wb"), stderr=open(context.dir / "err", "wb"))
    wait_until("the load has begun", lambda: cluster[0].status()["chosen"] > 100 or load.poll() is not None)
    k = 0
    while load.poll() is None:
        r = cluster[k % 3]
        r.kill()
        try:
            load.wait(0.5)
        except Exception:
            pass
        r.start()
        cluster.wait_quorum()
        k += 1
    assert load.returncode == 0, (context.dir / "out").read_text() + (context.dir / "err").read_text()
    assert k >= 3, "the load was over before three replicas were killed"
    cluster.check_identical()


def test_large_messages_travel_in_pieces(context):
    cluster = context.cluster(datagram_bytes=1200).start()
    texts = ["x" * 16384, "ü" * 8192, "y" * 1200]
    for i, text in enumerate(texts):
        cluster[i].call("Submit", text=text)
    assert [m["text"] for m in cluster.check_identical()] == texts
    try:
        cluster[0].call("Submit", text="x" * 16385)
        raise AssertionError("a message over the limit was taken")
    except Failed as failed:
        assert failed.error == "MessageTooLarge" and failed.parameters == {"size": 16385, "limit": 16384}, failed


def test_one_five_and_seven_replicas(context):
    for f in (0, 2, 3):
        cluster = context.cluster(f=f, name=f"f{f}").start()
        cluster.ctl("load", "8", "25")
        for r in cluster.followers()[:f]:
            r.kill()
        cluster.ctl("send", "with f replicas dead")
        for r in cluster:
            if r.process.poll() is not None:
                r.start()
        cluster.check_identical()
        cluster.close()


def test_ipv6(context):
    import socket
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).bind(("::1", 0))
    except OSError as error:
        from harness import Skip
        raise Skip(f"no IPv6 here: {error}")
    cluster = context.cluster(replicas={i: {"ip": "::1"} for i in range(3)}).start()
    cluster.ctl("load", "4", "10")
    cluster.check_identical()


def test_client_prompt_from_a_pipe(context):
    cluster = context.cluster().start()
    cluster.ctl("client", "7", stdin="s\nfirst line\ns\nsecond line\np\ne\n")
    log = cluster[0].read_all()
    assert [(m["author"], m["text"]) for m in log] == [("client_7", "first line"), ("client_7", "second line")], log
    for r in cluster:
        assert r.log.read_text().count("\n") == 2, f"p did not flush replica {r.number}"


def test_history_under_an_ordinary_load(context):
    cluster = context.cluster().start()
    history = History(cluster, 12, 1)
    wait_until("2000 messages", lambda: history.acknowledged() > 2000)
    history.stop()
    history.check(cluster.check_identical())


def test_transfer_of_leadership(context):
    cluster = context.cluster().start()
    history = History(cluster, 6, 1)
    for target in (0, 1, 2, 1):
        out = cluster.ctl("-i", (target + 1) % 3, "transfer", target).stdout
        assert out == f"replica {target} leads\n", out
        assert cluster.leader() is cluster[target]
    led = cluster.leader()
    cluster.ctl("transfer")
    assert cluster.leader() is not led
    history.stop()
    history.check(cluster.check_identical())
