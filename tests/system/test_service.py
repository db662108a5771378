"""The daemon as a service: reloads, what it tells a service manager, hand-over, the generator of units."""
import json
import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import sys
import time

from harness import Failed, History, Skip, wait_until


class Manager:
    """What listens where NOTIFY_SOCKET says."""

    def __init__(self, context, path=None):
        """`path`: "@" and an abstract name, or a file's."""
        self.path = path or context.dir / "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.address = re.sub("^@", "\0", str(self.path))
        self.socket.bind(self.address)
        self.heard = []

    def stop_reading(self):
        """What waits here is as much as there is room for."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.setblocking(False)
            try:
                while True:
                    other.sendto(b"STATUS=of another", self.address)
            except BlockingIOError:
                pass

    def listen(self, seconds=0.0):
        deadline = time.monotonic() + seconds
        while select.select([self.socket], [], [], max(0.0, deadline - time.monotonic()))[0]:
            self.heard.append(self.socket.recv(4096).decode())
        return self.heard

    def wait(self, what, condition, timeout=60):
        return wait_until(what, lambda: [m for m in self.listen() if condition(m)], timeout)

    def forget(self):
        self.listen()
        self.heard.clear()

    def close(self):
        self.socket.close()


def start_managed(context, cluster, replica, manager, **env):
    with open(replica.stderr, "ab") as err:
        replica.process = subprocess.Popen(
            [context.mpaxosd, "--dir", cluster.dir, *cluster.key_options, cluster.config_path, "-i", str(replica.number)],
            stdout=err, stderr=err, stdin=subprocess.DEVNULL, env={**os.environ, "NOTIFY_SOCKET": str(manager.path), **env})


def wait_said(replica, text, times=1):
    wait_until(f"replica {replica.number} says {text}", lambda: replica.said().count(text) >= times)


# --- reload ---


def test_reload_by_control_socket(context):
    cluster = context.cluster().start()
    assert cluster.ctl("-i", 0, "reload").stdout == "nothing changed\n"
    cluster.per_replica = {0: {"drop_rate": 20, "skip_slot": [50, 60]}}
    cluster.write_config(log_format="plain", flush_interval_s=1, retain_mb=64)
    assert cluster[0].call("Reload") == {"changed": ["drop_rate", "skip_slot", "log_format", "flush_interval_s", "retain_mb"]}
    status = cluster[0].status()
    assert status["drops"] == [{"rate": 20, "direction": "out"}], status["drops"]
    assert status["skip_slots"] == [50, 60], status["skip_slots"]
    cluster.ctl("send", "by the interval")
    wait_until("the interval flushes", lambda: cluster[0].log.exists() and cluster[0].log.read_text() == "by the interval\n")
    cluster.per_replica = {0: {"skip_slot": [60]}}
    cluster.write_config(log_format="plain", flush_interval_s=0, retain_mb=64)
    assert cluster.ctl("-i", 0, "reload").stdout == "drop_rate changed\nskip_slot changed\nflush_interval_s changed\n"
    status = cluster[0].status()
    assert status["drops"] == [] and status["skip_slots"] == [60], status
    wait_said(cluster[0], "injected faults: drops 20% out")
    wait_said(cluster[0], "injected faults: none any more")
    cluster.ctl("send", "by nobody")
    time.sleep(1.5)
    assert "by nobody" not in cluster[0].log.read_text(), "the interval was not switched off"


def test_reload_names_what_it_leaves_alone(context):
    cluster = context.cluster().start()
    cluster.write_config(heartbeat_ms=70, cluster="elsewhere", log_format="json")
    assert cluster[1].call("Reload") == {"changed": ["log_format"]}
    warnings = "\n".join(cluster[1].status()["warnings"])
    assert "since the start in heartbeat_ms, which" in warnings, warnings
    assert "cluster is not that of the first start, which stands" in warnings, warnings
    overruled = "make the configuration file say what the log says, on every replica"
    assert overruled in cluster[1].status()["remedies"]
    wait_said(cluster[1], "left alone until a restart: heartbeat_ms; settled by the first start: cluster")
    cluster.keys.clear()
    cluster.write_config(dedup_slots=7)
    cluster[1].call("Reload")
    status = cluster[1].status()
    assert "dedup_slots is not that of the first start (1048576), which stands" in "\n".join(status["warnings"]), status["warnings"]
    assert not any("restart" in remedy for remedy in status["remedies"]), status["remedies"]
    cluster.keys.clear()
    cluster.write_config()
    cluster[1].call("Reload")
    warnings = "\n".join(cluster[1].status()["warnings"])
    assert "since the start" not in warnings and "first start" not in warnings, warnings
    # Who moved a host is not told to point everybody at where it was.
    cluster.per_replica = {2: {"ip": "127.0.0.2"}}
    cluster.write_config()
    cluster[1].call("Reload")
    status = cluster[1].status()
    assert "addresses are not those of the first start, and are used" in "\n".join(status["warnings"]), status["warnings"]
    assert overruled not in status["remedies"], status["remedies"]


def test_config_check_compares_with_the_running_cluster(context):
    cluster = context.cluster().start()
    own = cluster.ctl("config", "check", cluster.config_path)
    assert own.stderr == "", own.stderr
    other = cluster.dir / "other.json"
    file = json.loads(cluster.config_path.read_text())
    file["cluster"] = "elsewhere"
    file["replica_list"][1]["port"] += 1000
    file["replica_list"][2]["id"] = 9
    other.write_text(json.dumps(file))
    port = cluster.port + 1
    expected = [
        f"cluster: the file says 'elsewhere', but the running cluster is '{cluster[0].status()['cluster']}', and that stays",
        f"replica 1: the file says 127.0.0.1:{port + 1000}, but the replica that was asked uses 127.0.0.1:{port} until it is restarted",
        "replica 2: the file leaves it out, but the running cluster has it, and that stays",
        "replica 9: the file has it, but the running cluster has not, and that stays"]
    for result in (cluster.ctl("config", "check", other),
                   context.ctl("config", "check", other, env={"MPAXOS_DIR": str(cluster.dir)})):
        said = [line.removeprefix(f"mpaxosctl: {other}: ") for line in result.stderr.splitlines()]
        assert said[:1] + sorted(said[1:]) == expected, said


def test_a_wrong_file_changes_nothing(context):
    cluster = context.cluster().start()
    cluster.per_replica = {0: {"drop_rate": 20}}
    cluster.write_config(log_format="jsn")
    result = cluster.ctl("-i", 0, "reload", expect=78)
    assert re.search(r'replica_config\.json:\d+: log_format: is "jsn"; write .*What was in force stays in force', result.stderr), result.stderr
    reply = cluster.ctl("-i", 0, "-j", "reload", expect=78)
    assert '"org.mpaxos.Replica.ReloadFailed"' in reply.stdout + reply.stderr, reply
    assert cluster[0].status()["drops"] == []
    cluster.config_path.unlink()
    assert "No such file" in cluster.ctl("-i", 0, "reload", expect=78).stderr
    os.mkfifo(cluster.config_path)  # must not be waited for
    assert "no regular file" in cluster.ctl("-i", 0, "reload", expect=78).stderr
    cluster.config_path.unlink()
    cluster.ctl("send", "still there")


def test_reload_by_signal(context):
    cluster = context.cluster().start()
    cluster.per_replica = {2: {"drop_rate": 5}}
    cluster.write_config(log_format="plain")
    for r in cluster:
        r.signal(signal.SIGHUP)
    for r in cluster:
        wait_said(r, "configuration read again: changed")
    wait_said(cluster[2], "configuration read again: changed drop_rate, log_format\n")
    cluster.config_path.write_text("{")
    cluster[0].signal(signal.SIGHUP)
    wait_said(cluster[0], "What was in force stays in force")
    cluster.ctl("send", "plain")
    cluster.ctl("flush", "--all")
    assert [r.log.read_text() for r in cluster] == ["plain\n"] * 3


def test_a_hang_up_during_the_start_is_carried_out(context):
    cluster = context.cluster(f=0)
    before = ("import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP]); "
              "os.kill(os.getpid(), signal.SIGHUP); os.execv(sys.argv[1], sys.argv[1:])")
    cluster[0].start(wrapper=[sys.executable, "-c", before])
    wait_said(cluster[0], "configuration read again: nothing changed")


def test_more_signals_during_the_end_change_nothing(context):
    cluster = context.cluster(f=0)
    for _ in range(5):
        cluster[0].start()
        cluster[0].signal(signal.SIGTERM)
        while cluster[0].process.poll() is None:
            for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
                cluster[0].signal(number)
        assert cluster[0].process.returncode == 0


def kept_by(replica):
    while True:
        try:
            return [m["text"] for m in replica.read_all()]
        except Failed as failed:
            assert failed.error == "SlotTrimmed"  # it went on trimming, and overtook the reader


def test_reload_of_what_is_retained_trims(context):
    cluster = context.cluster(message_bytes_max=100000, heartbeat_ms=500).start()  # busy disks are no reason to elect
    texts = []

    def send(n):
        for _ in range(n):
            texts.append(f"{len(texts)} " + "x" * 99900)
            cluster[0].call("Submit", text=texts[-1], timeout_ms=60000)

    send(900)
    cluster.wait_level()
    assert [r.status()["first_kept"] for r in cluster] == [0, 0, 0], "1024 MiB are kept, and there are 90"
    cluster.write_config(retain_mb=64)
    for r in cluster:
        assert r.call("Reload")["changed"] == ["retain_mb"]
    send(100)
    for r in cluster:
        wait_until("it trims", lambda r=r: r.status()["first_kept"] > 0)
    cluster.wait_level()
    for r in cluster:
        kept = kept_by(r)
        assert 0 < len(kept) < len(texts) and kept == texts[-len(kept):], "what is left is no end of the log"
    cluster.ctl("flush", "--all")
    for r in cluster:
        lines = r.log.read_text().splitlines()
        assert [line.endswith(text) for line, text in zip(lines, texts)] == [True] * len(texts), "a message is lost"


def test_reload_under_load_loses_nothing(context):
    cluster = context.cluster().start()
    history = History(cluster, 6, 1)
    for i in range(30):
        cluster.per_replica = {r.number: {"drop_rate": i % 3 * 5, "skip_slot": [100 * i, 100 * i + 50]} for r in cluster}
        cluster.write_config(flush_interval_s=i % 2)
        for r in cluster:
            r.signal(signal.SIGHUP)
        time.sleep(0.05)
    cluster.per_replica = {}
    cluster.write_config()
    for r in cluster:
        r.call("Reload")
    wait_until("messages", lambda: history.acknowledged() > 200)
    history.stop()
    history.check(cluster.check_identical())


def test_reload_is_for_operators(context):
    context.need_root()
    cluster = context.cluster().start()
    os.chmod(cluster.dir, 0o755)
    os.chmod(context.dir, 0o755)
    cluster[0].socket.chmod(0o666)
    result = subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", context.mpaxosctl, "--socket", cluster[0].socket, "reload"],
                            capture_output=True, text=True, cwd="/")
    if "No such file" in result.stderr or result.returncode == 126:
        raise Skip("the build cannot be run by another user")
    assert result.returncode == 4, result


# --- the service manager ---


def test_what_the_manager_is_told(context):
    cluster = context.cluster()
    manager = Manager(context)
    start_managed(context, cluster, cluster[0], manager)
    manager.wait("ready", lambda m: m == "READY=1")
    manager.wait("no quorum in the status", lambda m: m.startswith("STATUS=No voter yet; ") and "NO QUORUM" in m)
    cluster[1].start()
    cluster[2].start()
    cluster.wait_quorum()
    manager.wait("the role", lambda m: re.match(r"STATUS=(Leader|Follower of replica \d); chosen up to slot \d+; quorum, [23] of 3 linked$", m))
    cluster.ctl("-i", 0, "drop", "9", "--both", "--peer", "1")
    manager.wait("faults", lambda m: m.endswith("; INJECTED FAULTS: drops 9% in and out (peer 1)"))
    manager.forget()
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    cluster[0].call("Reload")
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    reloading = manager.wait("reloading", lambda m: m.startswith("RELOADING=1"))[0]
    assert before <= int(re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=(\d+)", reloading)[1]) <= after, reloading
    manager.wait("ready again", lambda m: m == "READY=1")
    assert manager.heard.index(reloading) < manager.heard.index("READY=1")
    manager.forget()
    assert cluster[0].stop() == 0
    heard = manager.listen()
    assert heard[0] == "STOPPING=1" and heard[1].startswith("EXTEND_TIMEOUT_USEC="), heard
    manager.close()


def test_a_manager_that_does_not_read_is_not_waited_for(context):
    cluster = context.cluster()
    manager = Manager(context)
    manager.stop_reading()
    start_managed(context, cluster, cluster[0], manager, WATCHDOG_USEC="400000")
    cluster[1].start()
    cluster[2].start()
    cluster.wait_quorum()
    manager.forget()
    manager.wait("ready, told again", lambda m: m.startswith("READY=1\nSTATUS="))
    manager.wait("a status alone", lambda m: m.startswith("STATUS=") and "quorum" in m)
    assert "READY=1" not in manager.heard
    manager.stop_reading()
    cluster[0].call("Reload")
    manager.forget()
    manager.wait("ready, told again", lambda m: m.startswith("READY=1\nSTATUS="))
    manager.stop_reading()
    assert cluster[0].stop() == 0
    manager.close()


def test_script_mode_does_not_wait_for_a_manager(context):
    cluster = context.cluster(sealed=False, name="script")
    cluster.config_path.write_text(cluster.config_path.read_text().replace('"manual"', '"script"'))
    manager = Manager(context, f"@{context.dir}/notify")
    manager.stop_reading()
    supervisor = context.spawn(context.mpaxosd, "--dir", cluster.dir, cluster.config_path, stderr=subprocess.DEVNULL,
                               env={**os.environ, "NOTIFY_SOCKET": manager.path})
    context.wait_quorum(cluster.dir)
    manager.forget()
    manager.wait("ready, told again", lambda m: m == "READY=1")
    manager.stop_reading()
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(60) == 0
    manager.close()


def test_script_mode_asks_for_time_to_stop(context):
    cluster = context.cluster(sealed=False, name="script", heartbeat_ms=500)
    cluster.config_path.write_text(cluster.config_path.read_text().replace('"manual"', '"script"'))
    manager = Manager(context)
    supervisor = context.spawn(context.mpaxosd, "--dir", cluster.dir, cluster.config_path, stderr=subprocess.DEVNULL,
                               env={**os.environ, "NOTIFY_SOCKET": manager.path})
    manager.wait("ready", lambda m: m == "READY=1")
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(60) == 0
    assert manager.listen()[-2:] == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=16000000"], manager.heard
    manager.close()


def test_watchdog_is_answered(context):
    cluster = context.cluster()
    manager = Manager(context)
    # The child's own id is not known before: without WATCHDOG_PID it is meant.
    start_managed(context, cluster, cluster[0], manager, WATCHDOG_USEC="400000")
    manager.wait("ready", lambda m: m == "READY=1")
    manager.forget()
    began = time.monotonic()
    wait_until("pings", lambda: manager.listen().count("WATCHDOG=1") >= 10)
    assert time.monotonic() - began > 1.5, "10 pings in less than 1.5 s, where one each 0.2 s is asked for"
    cluster[0].signal(signal.SIGSTOP)
    manager.listen(0.2)
    manager.forget()
    assert "WATCHDOG=1" not in manager.listen(1.0)
    cluster[0].signal(signal.SIGCONT)
    manager.close()


def test_sigterm_hands_leadership_over(context):
    """No election is waited for, which would take 18 s and more: who is handed it leads, and messages go on."""
    cluster = context.cluster(heartbeat_ms=3000).start()
    leader = cluster.leader()
    began = time.monotonic()
    assert leader.stop() == 0
    successor = cluster.leader()
    context.ctl("--dir", cluster.dir, "-i", successor.number, "send", "goes on")
    took = time.monotonic() - began
    assert successor is not leader and took < 15, took
    assert "leadership is handed over first" in leader.said()


# --- script mode under systemd ---


def generate(context, config, name="out"):
    out = context.dir / name
    out.mkdir()
    result = subprocess.run([context.build / "daemon" / "mpaxosd-generator", out, out, out, config], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result
    files = {str(p.relative_to(out)) for p in out.rglob("*") if not p.is_dir() or p.is_symlink()}
    return out, files, result.stderr


def wanted(n):
    return {f"mpaxosd.target.wants/mpaxosd@{i}.service" for i in range(n)} | {f"mpaxosd@{i}.service.d/50-script-mode.conf" for i in range(n)}


def test_generator_script_mode(context):
    context.ctl("config", "generate", 2, "--host", "alpha,beta,10.0.0.3,::1,localhost")
    config = context.dir / "replica_config.json"
    out, files, _ = generate(context, config)
    assert files == wanted(5), files
    for p in out.glob("mpaxosd.target.wants/*"):
        assert os.readlink(p).endswith("/systemd/system/mpaxosd@.service"), os.readlink(p)
    text = (out / "mpaxosd@3.service.d" / "50-script-mode.conf").read_text()
    assert re.search(rf"^ExecCondition=/\S*/mpaxosd --is-local {re.escape(str(config))} -i %i$", text, re.M), text
    subprocess.run([context.build / "daemon" / "mpaxosd-generator", out, out, out, config], check=True)  # twice is once
    assert subprocess.run([context.build / "daemon" / "mpaxosd-generator"], capture_output=True).returncode == 0


def test_generator_leaves_the_rest_alone(context):
    config = context.dir / "replica_config.json"
    assert generate(context, config, "none")[1] == set(), "without a file"
    context.ctl("config", "generate", 1, "-m")
    assert generate(context, config, "manual")[1] == set(), "manual mode"
    config.write_text('{ "f": 1,')
    assert generate(context, config, "wrong")[1] == set(), "a wrong file"
    config.unlink()
    os.mkfifo(config)
    assert generate(context, config, "fifo")[1] == set(), "a file that never ends"
    config.unlink()
    config.mkdir()
    assert generate(context, config, "directory")[1] == set(), "a directory"
    config.rmdir()
    context.ctl("config", "generate", 1)
    missing = context.dir / "missing" / "generator"
    result = subprocess.run([context.build / "daemon" / "mpaxosd-generator", missing, missing, missing, config], timeout=20)
    assert result.returncode == 0, "nowhere to write"


def test_is_local(context):
    context.ctl("config", "generate", 2, "--host", "127.0.0.9,192.0.2.1,localhost,::1,no-such-host.invalid")
    config = context.dir / "replica_config.json"

    def ask(number):
        return context.daemon("--is-local", config, "-i", str(number), timeout=60)

    assert ask(0).returncode == 0
    if has_route("192.0.2.1"):
        assert ask(1).returncode == 1, "an address that is reserved for documentation"
        assert "192.0.2.1 is not this host" in ask(1).stderr
    assert ask(2).returncode == 0
    assert ask(3).returncode == 0
    unknown = ask(4)
    assert unknown.returncode == 255 and "cannot be told" in unknown.stderr, unknown
    assert ask(9).returncode == 0, "the start says what is wrong"
    config.write_text("{")
    assert ask(0).returncode == 0, "the start says what is wrong"
    assert context.daemon("--is-local", config).returncode == 64


def has_route(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        return s.connect_ex((address, 9)) == 0


def test_is_local_before_the_network(context):
    """A host that has none of the addresses may get one yet; one that has one knows who it is."""
    context.need_root()
    context.ctl("config", "generate", 1, "--host", "192.0.2.1,192.0.2.2,192.0.2.3")
    (context.dir / "hosts").write_text("127.0.1.1 this.test\n192.0.2.3 other.test\n")
    (context.dir / "names.json").write_text((context.dir / "replica_config.json").read_text()
                                            .replace("192.0.2.1", "this.test").replace("192.0.2.3", "other.test"))

    def ask(setup, number, config="replica_config.json"):
        program = f"{context.build}/daemon/mpaxosd"
        script = f"mount --bind {context.dir}/hosts /etc/hosts; {setup}; exec {program} --is-local {config} -i {number}"
        return subprocess.run(["unshare", "-nm", "sh", "-ec", script], cwd=context.dir, capture_output=True, text=True, timeout=60)

    result = ask("true", 0)
    assert result.returncode == 255 and "unreachable" in result.stderr, result
    network = "ip link set lo up; ip addr add 192.0.2.9/32 dev lo; ip route add default dev lo"
    result = ask(network, 0)
    assert result.returncode == 255 and "none of the configuration's addresses" in result.stderr, result
    network += "; ip addr add 192.0.2.2/32 dev lo"
    result = ask(network, 0)
    assert result.returncode == 1 and "192.0.2.1 is not this host" in result.stderr, result
    assert ask(network, 1).returncode == 0
    # The start that follows says what is wrong with such a name.
    assert ask(network, 0, "names.json").returncode == 0, "127.0.1.1 is this host"
    assert ask(network, 2, "names.json").returncode == 1


def test_own_interface_is_local(context):
    context.need_root()
    names = pathlib.Path("/sys/class/net")
    out = subprocess.run(["ip", "-4", "-o", "addr", "show", "scope", "global"], capture_output=True, text=True)
    match = re.search(r"inet (\d+\.\d+\.\d+\.\d+)", out.stdout)
    if not names.exists() or not match:
        raise Skip("no address but the loopback's")
    context.ctl("config", "generate", 0, "--host", match[1])
    assert context.daemon("--is-local", context.dir / "replica_config.json", "-i", "0").returncode == 0
