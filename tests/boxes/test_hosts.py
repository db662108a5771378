"""Three hosts, one replica each, as the package and systemd run them."""
import json
import time

from cluster import CONFIG, KEY, install_three, start_three
from harness import Failed, History, wait_until

# --- the package ---


def test_installation_starts_nothing(context):
    boxes = context.boxes(1)
    box = boxes[0]
    context.measure(f"one box boots in {boxes.boot_s:.1f} s")
    box.install(context.deb)
    assert box.run("systemctl", "is-enabled", "mpaxosd.target", check=False) == "disabled"
    assert box.run("systemctl", "list-units", "--no-legend", "--all", "mpaxosd*") == ""
    assert box.run("stat", "-c", "%U %a", "/var/lib/mpaxosd", "/var/log/mpaxosd", "/etc/mpaxosd") == \
        "mpaxosd 750\nmpaxosd 750\nroot 755"
    # A status of nothing starts nothing.
    assert "mpaxosd" in box.run("mpaxosctl", "-i", 0, "status", check=False)
    assert box.property("mpaxosd@0", "ActiveState") == "inactive"
    assert box.run("systemd-analyze", "verify", "--man=no", "mpaxosd.target", "mpaxosd@0.service", check=False) == ""


def test_everyday(context):
    cluster = start_three(context)
    for r in cluster:
        assert "chosen at slot" in r.ctl("send", f"from replica {r.number}")
    log = cluster.check_identical()
    assert [m["text"] for m in log] == [f"from replica {i}" for i in range(3)], log
    for r in cluster:
        assert r.systemctl("is-enabled") == "enabled"
        wait_until("the unit's status is one line of all", lambda r=r: status_is_told(r, cluster))
    # A host that is switched off and on again has its replica back by itself.
    victim = cluster.leader()
    victim.box.down()
    survivor = next(r for r in cluster if r is not victim)
    survivor.ctl("send", "without one host")
    victim.box.start().wait()
    cluster.wait_quorum()
    assert cluster.check_identical()[-1]["text"] == "without one host"


def status_is_told(replica, cluster):
    text = replica.box.property(replica.unit, "StatusText")
    led = "Leader" if cluster.leader() is replica else f"Follower of replica {cluster.leader().number}"
    return text.startswith(led) and "chosen up to slot" in text and "3 of 3 linked" in text


def test_restarts_after_kill(context):
    cluster = start_three(context)
    history = History(cluster, 3, 1)
    wait_until("load", lambda: history.acknowledged() > 50)
    leader = cluster.leader()
    pid = leader.main_pid()
    leader.systemctl("kill", "-s", "KILL")
    wait_until("systemd starts it again", lambda: leader.is_active() and leader.main_pid() not in (0, pid))
    cluster.wait_quorum()
    done = history.acknowledged()
    wait_until("load goes on", lambda: history.acknowledged() > done + 50)
    history.stop()
    history.check(cluster.check_identical())
    assert leader.box.property(leader.unit, "NRestarts") == "1"


def test_restart_hands_over(context):
    cluster = start_three(context)
    for _ in range(2):
        leader = cluster.leader()
        leader.systemctl("restart")
        wait_until("another one leads", lambda: any(r.answers()["role"] == "leader" for r in cluster if r is not leader), 2)
        cluster.wait_quorum()
    stopped = cluster.leader()
    stopped.systemctl("stop")
    assert stopped.box.property(stopped.unit, "Result") == "success"
    time.sleep(2)
    assert not stopped.is_active(), "stopped must stay stopped"


def test_purge_leaves_nothing(context):
    cluster = start_three(context)
    cluster[0].ctl("send", "something")
    cluster[0].ctl("flush", "--all")
    box = cluster[0].box
    box.write("/etc/mpaxosd/cluster.key", "")
    box.run("dpkg", "--remove", "mpaxos")
    assert box.path("/var/lib/mpaxosd/0").exists(), "removal keeps the state"
    assert box.sh("cat /proc/[0-9]*/comm | grep mpaxosd || true") == "", "removal leaves a replica running"
    box.run("dpkg", "--purge", "mpaxos")
    left = box.run("find", "/etc", "/var", "/usr", "/run", "/opt", "-xdev", "-name", "*mpaxos*", "-not", "-path", "/var/lib/apt/*")
    assert left == "", left
    left = box.run("systemctl", "list-units", "--no-legend", "--all", "mpaxosd*")
    assert left == "", left
    assert box.run("systemctl", "--failed", "--no-legend") == ""
    cluster[1].ctl("send", "the others go on")


def test_purge_leaves_a_mount_point(context):
    box = context.boxes(1)[0]
    box.sh("mkdir /var/lib/mpaxosd && mount -t tmpfs tmpfs /var/lib/mpaxosd")
    box.install(context.deb)
    box.write("/var/lib/mpaxosd/0/segment", "")
    result = box.execute("dpkg", "--purge", "mpaxos")
    assert result.returncode == 0, result
    assert "mpaxos: /var/lib/mpaxosd is left" in result.stderr, result.stderr
    assert box.run("find", "/var/lib/mpaxosd", "/var/log", "-name", "*mpaxosd*", "-o", "-name", "segment") == "/var/lib/mpaxosd"


# --- reload ---


def test_reload(context):
    cluster = start_three(context)
    r = cluster[1]
    pid = r.main_pid()
    good = r.box.path(CONFIG).read_text()
    cluster.edit_config(r, lambda c: c["replica_list"][1].update(drop_rate=7))
    r.systemctl("reload")
    assert r.status()["drops"] == [{"rate": 7, "direction": "out"}], r.status()["drops"]
    wait_until("the unit's status tells the fault", lambda: "7%" in r.box.property(r.unit, "StatusText"))
    r.box.write(CONFIG, good.replace('"mode"', '"mod"'))
    assert r.box.execute("systemctl", "reload", r.unit).returncode != 0, "a reload of a wrong file succeeds"
    assert r.status()["drops"] == [{"rate": 7, "direction": "out"}], "a wrong file changed something"
    assert r.is_active() and r.main_pid() == pid
    r.box.write(CONFIG, good)
    r.systemctl("reload")
    assert r.status()["drops"] == []
    assert r.main_pid() == pid


# --- the cluster key ---


def keys_of(replica):
    return replica.status().get("keys")


def peers_keys(replica):
    return [p.get("keys") for p in replica.status()["peers"] if p["role"] != "self"]


def test_key_change_under_load(context):
    """The three steps of mpaxosd(8), with its own commands: nothing stands still."""
    cluster = start_three(context)
    old, = keys_of(cluster[0])
    assert cluster[0].box.run("stat", "-c", "%U %a", KEY) == "mpaxosd 400"
    history = History(cluster, 3, 8)
    wait_until("load", lambda: history.acknowledged() > 200)

    def step(command, after):
        for r in cluster:
            r.box.sh(command)
            r.systemctl("reload")
            assert keys_of(r) == after(r), (keys_of(r), after(r))
            assert r.box.run("stat", "-c", "%U %a", KEY) == "mpaxosd 400"
        for r in cluster:
            wait_until(f"all have taken the step, says {r.number}",
                       lambda r=r: all(k and k[0] == keys_of(r)[0] and set(k) == set(keys_of(r)) for k in peers_keys(r)))

    new_line = cluster[0].box.run("mpaxosctl", "keygen", "-")
    step(f"echo {new_line} >>{KEY}", lambda r: [old, keys_of(r)[1]])
    new = keys_of(cluster[0])[1]
    assert new != old
    step("sed -i '1{h;d};2G' " + KEY, lambda r: [new, old])
    step(f"sed -i 2d {KEY}", lambda r: [new])
    done = history.acknowledged()
    wait_until("load goes on", lambda: history.acknowledged() > done + 100)
    history.stop()
    context.measure(f"longest gap {1000 * history.longest_gap():.0f} ms over a change of keys")
    history.check(cluster.check_identical())
    for r in cluster:
        assert "refused" not in r.said(), r.said()


def test_no_start_without_the_key(context):
    cluster = install_three(context)
    r = cluster[0]
    key = r.box.path(KEY).read_text()
    for what, command in (("there is no cluster key", f"rm {KEY}"),
                          ("chmod 0400", f"install -m 0440 -o mpaxosd -g mpaxosd /root/cluster.key {KEY}"),
                          ("chown", f"install -m 0400 -o nobody /root/cluster.key {KEY}"),
                          ("cannot be read", f"install -m 0400 -o root /root/cluster.key {KEY}"),
                          ("64 hexadecimal", f"install -m 0400 -o mpaxosd /etc/os-release {KEY}")):
        r.box.sh(command)
        r.box.execute("systemctl", "start", r.unit)
        wait_until(f"refused: {what}", lambda what=what: what in r.said())
        assert r.box.property(r.unit, "ExecMainStatus") == "78"
        time.sleep(1.5)
        assert r.box.property(r.unit, "NRestarts") == "0", "another try cannot help"
        assert key.strip() not in r.said()


# --- the journal ---


def test_journal_and_catalog(context):
    cluster = start_three(context)
    leader = cluster.leader()
    r = cluster.followers()[0]
    r.ctl("drop", 5)
    entries = wait_until("the fault is told", lambda: records(r, "MESSAGE_ID=31086ca5d8464608a71c669111341d8b"))
    assert entries[-1]["MPAXOS_REPLICA"] == str(r.number)
    assert entries[-1]["SYSLOG_IDENTIFIER"] == r.unit and entries[-1]["_SYSTEMD_UNIT"] == r.unit + ".service", entries[-1]
    told = records(r, "MESSAGE_ID=71c64884e6c141b39fb2e2cfc9ad097d")[-1]
    assert told["MPAXOS_PEER"] == str(leader.number), told
    assert "MPAXOS_BALLOT" in told and told["MPAXOS_SLOT"].isdigit(), told
    text = r.box.journal("-x", "MESSAGE_ID=31086ca5d8464608a71c669111341d8b")
    assert f"mpaxosctl -i {r.number} drop 0" in text and "Defined-By: mpaxosd" in text, text
    # Quorum lost and regained.
    others = [x for x in cluster if x is not r]
    for x in others:
        x.systemctl("stop")
    wait_until("quorum lost is told", lambda: records(r, "MESSAGE_ID=ff2fda8e58b848e69473b6879318c24d"))
    assert "systemctl start mpaxosd@N" in r.box.journal("-x", "MESSAGE_ID=ff2fda8e58b848e69473b6879318c24d")
    wait_until("the tool tells it, too", lambda: r.box.execute("mpaxosctl", "-i", r.number, "status").returncode == 2)
    for x in others:
        x.systemctl("start")
    wait_until("quorum regained is told", lambda: records(r, "MESSAGE_ID=fe0474d312c84f5a97ba829bb903c343"))
    # A configuration that is refused is told, and not tried again and again.
    cluster.edit_config(r, lambda c: c.update(mode="x"))
    r.systemctl("restart", check=False)
    refused = wait_until("refused", lambda: records(r, "MESSAGE_ID=7ed31cd60fde43eeb915ed23d6524f46"))
    assert refused[-1]["MPAXOS_PATH"] == CONFIG, refused[-1]
    time.sleep(2.5)
    assert r.box.property(r.unit, "ActiveState") == "failed" and r.box.property(r.unit, "NRestarts") == "0"
    assert r.box.property(r.unit, "ExecMainStatus") == "78"


def records(replica, *matches):
    lines = replica.box.journal("-o", "json", *matches).splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def test_security(context):
    cluster = install_three(context)
    r = cluster[0]
    table = r.box.run("systemd-analyze", "security", "--no-pager", "--threshold=12", r.unit)
    context.measure(table.splitlines()[-1].strip("→ "))
    # As the manual says for hosts that are known: everything works under it.
    for x in cluster:
        allow(x, cluster)
        x.box.run("systemctl", "enable", "--now", "mpaxosd.target", x.unit)
    cluster.wait_quorum()
    r.ctl("send", "restricted")
    assert cluster.check_identical()[-1]["text"] == "restricted"
    context.measure("with IPAddressAllow: " + r.box.run("systemd-analyze", "security", "--no-pager", r.unit).splitlines()[-1].strip("→ "))
    # And it holds: who allows none of the others, hears none.
    allow(r, [r])
    r.systemctl("restart")
    wait_until("replica 0 is alone", lambda: "1 of 3 linked" in r.box.property(r.unit, "StatusText"))
    status = r.box.path(f"/proc/{r.main_pid()}/status").read_text()
    assert "CapEff:\t0000000000000000" in status and "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status, status


def allow(replica, others):
    hosts = " ".join(x.box.address for x in others)
    replica.box.write("/etc/systemd/system/mpaxosd@.service.d/hosts.conf",
                      f"[Service]\nIPAddressDeny=any\nIPAddressAllow=localhost {hosts}\n")
    replica.box.run("systemctl", "daemon-reload")


# --- faults ---


def test_watchdog(context):
    cluster = install_three(context)
    for r in cluster:
        r.box.write("/etc/systemd/system/mpaxosd@.service.d/watchdog.conf", "[Service]\nWatchdogSec=3\n")
        r.box.run("systemctl", "daemon-reload")
        r.box.run("systemctl", "enable", "--now", "mpaxosd.target", r.unit)
    cluster.wait_quorum()
    leader = cluster.leader()
    pid = leader.main_pid()
    began = time.monotonic()
    leader.box.sh(f"kill -STOP {pid}")
    other = next(r for r in cluster if r is not leader)
    other.ctl("--timeout", 20, "send", "while the leader hangs")
    context.measure(f"a hung leader is replaced after {time.monotonic() - began:.2f} s")
    wait_until("the watchdog starts it again", lambda: leader.is_active() and leader.main_pid() not in (0, pid))
    context.measure(f"and started again after {time.monotonic() - began:.1f} s (WatchdogSec=3)")
    assert "Watchdog timeout" in leader.said()
    cluster.wait_quorum()
    assert cluster.check_identical()[-1]["text"] == "while the leader hangs"


def test_cable(context):
    cluster = start_three(context)
    history = History(cluster, 3, 2)
    wait_until("load", lambda: history.acknowledged() > 50)
    leader = cluster.leader()
    rest = [r for r in cluster if r is not leader]
    leader.box.pull_cable()
    began = time.monotonic()
    wait_until("another one leads", lambda: any(r.status()["role"] == "leader" for r in rest))
    context.measure(f"another leader {time.monotonic() - began:.2f} s after the cable was pulled")
    wait_until("the cut one says so", lambda: not leader.status()["quorum"])
    try:
        leader.call("Submit", text="nobody hears", author="x", timeout_ms=1000)
        raise AssertionError("acknowledged without a majority")
    except Failed as failed:
        assert failed.error in ("NoQuorum", "Timeout"), failed
    done = history.acknowledged()
    wait_until("load goes on", lambda: history.acknowledged() > done + 50)
    leader.box.plug_cable()
    cluster.wait_quorum()
    history.stop()
    log = cluster.check_identical()
    history.check([m for m in log if m["text"] != "nobody hears"])


def test_power_cut(context):
    cluster = start_three(context, disk="160M")
    history = History(cluster, 6, 3)

    def cut(victims):
        done = history.acknowledged()
        wait_until("load", lambda: history.acknowledged() > done + 100, 60)
        for r in victims:
            r.box.write("/var/lib/mpaxosd/unsynced", "what the kernel has not written yet")
        for r in victims:
            r.box.lose_power()
        for r in victims:
            r.box.kill()
        for r in victims:
            r.box.start()
        for r in victims:
            r.box.wait()
            marker = r.box.path("/var/lib/mpaxosd/unsynced")
            assert not marker.exists() or marker.read_bytes() == b"", "the power cut lost nothing"
        cluster.wait_quorum()
    cut([cluster.leader()])
    cut([cluster.followers()[0]])
    began = time.monotonic()
    cut(list(cluster))
    context.measure(f"a power cut of all three: a quorum again after {time.monotonic() - began:.1f} s, with load before and boot")
    cut(list(cluster))
    history.stop()
    messages = history.check(cluster.check_identical())
    context.measure(f"{messages} messages, {history.acknowledged()} acknowledged, over four cuts of up to three hosts")


# --- upgrade ---


def test_rolling_upgrade(context):
    newer = context.packages.newer_deb()
    cluster = start_three(context)
    version = cluster[0].status()["version"]
    history = History(cluster, 6, 4)
    wait_until("load", lambda: history.acknowledged() > 200)
    began = time.monotonic()
    leader = cluster.leader()
    for r in [x for x in cluster if x is not leader] + [leader]:  # the leader last: one hand-over
        pid = r.main_pid()
        r.box.install(newer)
        assert r.main_pid() == pid, "the upgrade restarted the replica"
        assert r.box.property(r.unit, "NeedDaemonReload") == "no" and "next version" in r.box.property(r.unit, "Description")
        r.systemctl("restart")
        cluster.wait_quorum()
        wait_until("it is level", lambda r=r: max(x.status()["chosen"] for x in cluster) - r.status()["chosen"] < 100)
    context.measure(f"three hosts upgraded in {time.monotonic() - began:.1f} s")
    done = history.acknowledged()
    wait_until("load goes on", lambda: history.acknowledged() > done + 200)
    history.stop()
    for r in cluster:
        now = r.status()["version"]
        assert now != version, f"replica {r.number} still runs {now}"
    messages = history.check(cluster.check_identical())
    context.measure(f"{version} to {now}: {messages} messages, all {history.acknowledged()} acknowledged ones stand; longest gap "
                    f"between two acknowledgements {1000 * history.longest_gap():.0f} ms, longest wait of one client "
                    f"{1000 * history.longest_wait():.0f} ms")
