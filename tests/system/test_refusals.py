"""What a daemon refuses, and how it says why."""
import json
import os
import re
import shutil
import socket
import subprocess

from harness import Skip, wait_until

GOOD = {"f": 0, "mode": "manual", "replica_list": [{"id": 0, "ip": "127.0.0.1", "port": 6000}]}


def refuse(context, text, line, key, *words):
    path = context.dir / "bad.json"
    path.write_text(text)
    for result in (context.daemon("--dir", context.dir, path, "-i", "0"), context.ctl("config", "check", path, expect=78)):
        assert result.returncode == 78, result
        lines = result.stderr.strip().splitlines()
        assert len(lines) == 1, result
        assert f"{path}:{line}:" in lines[0] and key in lines[0] and ";" in lines[0], lines[0]
        for word in words:
            assert word in lines[0], lines[0]
    assert not (context.dir / "state").exists(), "something was started"


def test_configuration_errors(context):
    def with_keys(**keys):
        return json.dumps({**GOOD, **keys}, indent=1)

    def with_member(**keys):
        return json.dumps({**GOOD, "replica_list": [{**GOOD["replica_list"][0], **keys}]}, indent=1)
    refuse(context, '{ "f": 1,\n "mode": \n', 3, "")
    refuse(context, with_keys(colour="red"), 11, "colour")
    refuse(context, with_keys(f=1), 4, "replica_list", "2f+1")
    refuse(context, with_keys(mode="automatic"), 3, "mode", "script", "manual")
    refuse(context, with_keys(heartbeat_ms="fast"), 11, "heartbeat_ms")
    refuse(context, with_keys(heartbeat_ms=0), 11, "heartbeat_ms")
    refuse(context, with_keys(message_bytes_max=1.5), 11, "message_bytes_max")
    refuse(context, with_keys(log_format="xml"), 11, "log_format", "plain")
    refuse(context, with_member(port=70000), 8, "port", "65535")
    refuse(context, with_member(drop_rate=101), 9, "drop_rate", "100")
    refuse(context, with_member(skip_slot=[-1]), 0 or 10, "skip_slot")
    doubled = {"f": 1, "mode": "manual", "replica_list": [
        {"id": 0, "ip": "127.0.0.1", "port": 6000}, {"id": 1, "ip": "127.0.0.1", "port": 6000}, {"id": 2, "ip": "::1", "port": 6000}]}
    refuse(context, json.dumps(doubled, indent=1), 12, "")
    doubled["replica_list"][1]["id"] = 0
    refuse(context, json.dumps(doubled, indent=1), 11, "id")
    refuse(context, '{ "f": 0, "f": 0, "mode": "manual",\n "replica_list": [] }', 1, "f")


def test_every_optional_key(context):
    keys = {"cluster": "lobby", "heartbeat_ms": 40, "message_bytes_max": 1000, "datagram_bytes": 600, "log_format": "json",
            "flush_interval_s": 1, "retain_mb": 64, "dedup_slots": 1000}
    cluster = context.cluster(**keys).start()
    cluster.ctl("send", "x" * 1000)
    assert cluster[1].status()["cluster"] == "lobby"
    for r in cluster:
        wait_until("the interval flushes", lambda r=r: r.log.exists() and r.log.read_text().count("\n") == 1)
        assert json.loads(r.log.read_text())["text"] == "x" * 1000


def test_second_daemon_on_the_same_state(context):
    cluster = context.cluster(f=0).start()
    result = context.daemon("--dir", cluster.dir, cluster.config_path, "-i", "0")
    assert result.returncode == 1 and str(cluster[0].state) in result.stderr, result
    assert cluster[0].status()["quorum"], "the first one goes on"


def test_port_in_use(context):
    cluster = context.cluster(f=0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", cluster.port))
        result = context.daemon("--dir", cluster.dir, cluster.config_path, "-i", "0")
    assert result.returncode == 1 and f"127.0.0.1 port {cluster.port}" in result.stderr, result


def test_unwritable_directory(context):
    context.need_root()
    cluster = context.cluster(f=0)
    os.chmod(cluster.dir, 0o755)
    os.chmod(context.dir, 0o755)
    result = context.daemon("--dir", cluster.dir, cluster.config_path, "-i", "0", user=65534, group=65534)
    assert result.returncode in (1, 74) and str(cluster.dir) in result.stderr and "ermission denied" in result.stderr, result


def test_socket_path_too_long(context):
    cluster = context.cluster(f=0)
    deep = cluster.dir / ("d" * 120)
    deep.mkdir()
    result = context.daemon("--dir", deep, cluster.config_path, "-i", "0")
    assert result.returncode in (1, 64) and "longer than" in result.stderr, result


def test_journal_of_another_replica(context):
    cluster = context.cluster().start()
    cluster.ctl("send", "x")
    cluster.close()
    shutil.rmtree(cluster[0].state)
    shutil.copytree(cluster[1].state, cluster[0].state)
    result = context.daemon("--dir", cluster.dir, cluster.config_path, "-i", "0")
    assert result.returncode == 65 and "replica 1" in result.stderr and str(cluster[0].state) in result.stderr, result


def test_segment_of_another_cluster(context):
    one, two = context.cluster(f=0, name="one").start(), context.cluster(f=0, name="two").start()
    for c in (one, two):
        c.ctl("send", "x")
        c.close()
    for path in one[0].state.glob("segment-*"):
        path.unlink()
    for path in two[0].state.glob("segment-*"):
        shutil.copy(path, one[0].state)
    result = context.daemon("--dir", one.dir, one.config_path, "-i", "0")
    assert result.returncode == 65 and "segment-" in result.stderr, result


def test_unknown_journal_version(context):
    cluster = context.cluster(f=0).start()
    cluster.ctl("send", "x")
    cluster.close()
    path = sorted(cluster[0].state.glob("segment-*"))[-1]
    data = bytearray(path.read_bytes())
    good = bytes(data)
    for i in range(4, 16):  # wherever the version stands behind the magic, some version must be unknown, or the head is rot
        data[:] = good
        data[i] ^= 0x40
        path.write_bytes(data)
        result = context.daemon("--dir", cluster.dir, cluster.config_path, "-i", "0")
        assert result.returncode == 65 and path.name in result.stderr, (i, result)
    path.write_bytes(good)
    cluster.start()
    wait_until("its message is chosen again", lambda: len(cluster[0].read_all()) == 1)


def test_rot_is_refused_and_a_torn_tail_is_cut(context):
    cluster = context.cluster(f=0).start()
    for i in range(20):
        cluster[0].call("Submit", text=f"message number {i}")
    cluster.close()
    path = sorted(cluster[0].state.glob("segment-*"))[-1]
    good = path.read_bytes()
    at = good.find(b"message number 5")
    assert at > 0
    path.write_bytes(good[:at] + b"M" + good[at + 1:])
    result = context.daemon("--dir", cluster.dir, cluster.config_path, "-i", "0")
    assert result.returncode == 65 and path.name in result.stderr and re.search(r"\d+", result.stderr), result
    assert path.read_bytes() == good[:at] + b"M" + good[at + 1:], "a refused journal was changed"
    path.write_bytes(good)
    cluster.start()
    wait_until("all are chosen again", lambda: len(cluster[0].read_all()) == 20)


def test_wiped_disk_never_votes(context):
    cluster = context.cluster().start()
    cluster.ctl("send", "x")
    cluster[2].kill()
    shutil.rmtree(cluster[2].state)
    cluster[2].start()
    cluster[1].kill()
    wait_until("replica 0 sees no quorum: the blank one does not count", lambda: not cluster[0].status()["quorum"])
    assert cluster[2].status()["role"] == "learner"
    cluster[1].start()
    cluster.wait_quorum([cluster[0], cluster[1]])
    cluster[0].call("Submit", text="y")


def test_first_start_waits_for_all_and_bootstrap_for_a_majority(context):
    cluster = context.cluster()
    for i in (0, 1):
        cluster[i].start()
    result = cluster.ctl("-i", "0", "send", "too early", expect=2)
    assert "not heard of replica 2;" in result.stderr, result
    status = cluster[0].status()
    assert not status["quorum"] and status["role"] == "learner" and status["warnings"], status
    cluster.ctl("-i", "1", "bootstrap")
    cluster.wait_quorum([cluster[0], cluster[1]])
    cluster[0].call("Submit", text="with a majority")
    again = cluster.ctl("-i", "1", "bootstrap", expect=1)
    assert again.stderr, again
    cluster[2].start()
    assert cluster[2].status()["role"] == "learner", "a member that was not there is admitted by the log only"


def small_disk(context, megabytes, make=("mkfs.ext4", "-q", "-m", "0")):
    """A file system of its own that can run full."""
    context.need_root()
    image, mount = context.dir / "disk.img", context.dir / "disk"
    mount.mkdir()
    with open(image, "wb") as f:
        f.truncate(megabytes << 20)
    if not shutil.which(make[0]):
        raise Skip(f"no {make[0]} here")
    for command in ([*make, image], ["mount", "-o", "loop,commit=1", image, mount]):
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode != 0:
            raise Skip(f"no loop mounts here: {result.stderr.strip()}")
    return mount


def test_full_disk(context):
    check_full_disk(context, small_disk(context, 96))


def test_copy_on_write_and_no_room(context):
    """Zeros that were written ahead keep the room that they stand for there, too."""
    check_full_disk(context, small_disk(context, 192, ("mkfs.btrfs", "-q")))


def check_full_disk(context, mount):
    try:
        cluster = context.cluster(f=0)
        (cluster.dir / "state").symlink_to(mount)
        cluster.start()
        acknowledged = [cluster[0].call("Submit", text="first")["slot"]]
        with open(mount / "ballast", "wb") as ballast:
            try:
                while True:
                    ballast.write(b"x" * (1 << 20))
                    ballast.flush()
            except OSError:
                pass
        error = None
        with cluster[0].connect() as c:
            for i in range(4000):
                c.send("Submit", {"text": "y" * 16000, "timeout_ms": 5000})
                reply = c.receive_raw()
                if "error" in reply:
                    error = reply
                    break
                acknowledged.append(reply["parameters"]["slot"])
        assert error and error["error"].endswith((".DiskFull", ".Timeout")), error
        wait_until("a clear error", lambda: cluster[0].connect() and disk_full(cluster[0]))
        assert [m["slot"] for m in cluster[0].read_all()][:len(acknowledged)] == acknowledged, "reads go on"
        assert any("disk" in w or "space" in w or "full" in w for w in cluster[0].status()["warnings"])
        os.unlink(mount / "ballast")
        os.sync()
        slot = wait_until("the daemon goes on without a restart", lambda: submitted(cluster[0]))
        cluster[0].kill()
        cluster.start()
        wait_until("all that was acknowledged is chosen again",
                   lambda: {*acknowledged, slot} <= {m["slot"] for m in cluster[0].read_all()})
    finally:
        context.close()
        subprocess.run(["umount", "-l", mount])


def disk_full(replica):
    with replica.connect() as c:
        c.send("Submit", {"text": "z", "timeout_ms": 1000})
        reply = c.receive_raw()
    return reply.get("error", "").endswith(".DiskFull") and reply["parameters"]["path"]


def submitted(replica):
    with replica.connect() as c:
        c.send("Submit", {"text": "again", "timeout_ms": 2000})
        reply = c.receive_raw()
    return reply.get("parameters", {}).get("slot") if "error" not in reply else None
