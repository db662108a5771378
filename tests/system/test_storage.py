"""Disks that rot, tear, mix up, fail and fill up, under real daemons: what was chosen comes back from the peers, and who lost
votes never votes again."""
import contextlib
import os
import shutil
import struct
import subprocess
import time

from harness import Failed, Skip, wait_until
from test_refusals import small_disk

HEADER = 512


def segments(replica):
    return sorted(replica.state.glob("segment-*"))


def batches(path):
    """(offset, size) of each batch."""
    data, at, found = path.read_bytes(), HEADER, []
    while at + 64 <= len(data) and data[at:at + 4] != b"\0\0\0\0":
        size = struct.unpack_from("<I", data, at + 4)[0]
        found.append((at, size))
        at += size
    return found


def change(path, at, new):
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(new)


def flip(path, at):
    change(path, at, bytes([path.read_bytes()[at] ^ 0x10]))


def warnings(replica):
    return " ".join(replica.status()["warnings"])


def loaded(context, n=30):
    """A cluster at rest with some messages, each in a batch of its own, and a follower to hurt, which is down."""
    cluster = context.cluster().start()
    for i in range(n):
        cluster[0].call("Submit", text=f"message number {i} of some")
        cluster.wait_level()
    time.sleep(0.3)  # heartbeats have its journal say what is chosen
    victim = cluster.followers()[0]
    victim.kill()
    return cluster, victim


def votes_again(cluster, victim):
    """Without one of the others, the victim's vote is needed."""
    wait_until("it is repaired", lambda: "repairing" not in warnings(victim) and victim.status()["role"] != "learner")
    other = next(r for r in cluster if r is not victim and r.status()["role"] != "leader")
    other.kill()
    assert wait_until("its vote counts", lambda: sent(cluster.leader(), "with its vote"))
    other.start()
    return cluster.check_identical()


def sent(replica, text):
    try:
        return replica.call("Submit", text=text, timeout_ms=2000)["slot"]
    except (Failed, OSError):
        return None


def is_quarantined(cluster, victim):
    """It says why and what to do, learns, and its vote is missing: now, and after another restart."""
    for _ in range(2):
        status = wait_until("it answers", victim.answers)
        assert status["role"] == "learner" and any("quarantined: segment-" in w for w in status["warnings"]), status
        assert any("look at the disk of" in r for r in status["remedies"]), status
        cluster.leader().call("Submit", text="it learns this")
        cluster.wait_level()
        assert victim.read_all() == cluster.leader().read_all()
        other = next(r for r in cluster if r is not victim and r.status()["role"] != "leader")
        leader = cluster.leader()
        wait_until("the leader says so, too", lambda: "does not vote" in warnings(leader))
        other.kill()
        wait_until("no quorum by its vote", lambda: not leader.status()["quorum"])
        assert sent(leader, "never") is None
        assert cluster.ctl("-i", leader.number, "status", expect=2)
        other.start()
        cluster.wait_quorum([leader, other])
        victim.kill()
        victim.start()


def test_rot_in_what_is_chosen_is_fetched_again(context):
    cluster, victim = loaded(context)
    path = segments(victim)[0]
    flip(path, path.read_bytes().find(b"message number 5"))
    victim.start()
    assert "No vote was lost" in victim.said() and f"{path.name}: damaged at offset" in victim.said(), victim.said()
    log = votes_again(cluster, victim)
    assert len(log) == 31
    assert list(victim.state.glob("rotten-*")), "nothing was kept to look at"
    victim.kill()
    victim.start()
    assert victim.said().count("damaged at offset") == 1, "it is damaged again"
    cluster.check_identical()


def test_zeros_in_the_middle_are_no_torn_tail(context):
    cluster, victim = loaded(context)
    path = segments(victim)[0]
    at, size = batches(path)[8]
    change(path, at, bytes(size))
    victim.start()
    votes_again(cluster, victim)


def test_misdirected_writes_are_noticed(context):
    cluster, victim = loaded(context)
    path = segments(victim)[0]
    found = batches(path)
    data = path.read_bytes()
    pairs = [(a, b) for a in found[4:-8] for b in found[4:-8] if a[0] < b[0] and a[1] == b[1]]
    (one, size), (two, _) = pairs[len(pairs) // 2]
    change(path, one, data[two:two + size])
    change(path, two, data[one:one + size])
    victim.start()
    assert "another batch was written there" in victim.said(), victim.said()
    votes_again(cluster, victim)


def test_a_torn_tail_is_cut(context):
    cluster, victim = loaded(context)
    path = segments(victim)[-1]
    at, size = batches(path)[-1]
    change(path, at + size - 1, b"\0")
    victim.start()
    assert "cut off" in victim.said() and "damaged" not in victim.said(), victim.said()
    votes_again(cluster, victim)


def test_who_lost_votes_is_quarantined(context):
    cluster, victim = loaded(context)
    path = segments(victim)[-1]
    data = path.read_bytes()
    last_vote = max(at for at, size in batches(path) if b"message number 29" in data[at:at + size])
    flip(path, last_vote + 100)
    victim.start()
    is_quarantined(cluster, victim)


def test_both_superblocks_gone_is_refused(context):
    cluster, victim = loaded(context, n=3)
    for path in victim.state.glob("superblock.*"):
        flip(path, 30)
    victim.start(wait=False)
    assert victim.wait_exit() == 65 and "no whole copy" in victim.said(), victim.said()
    cluster.leader().call("Submit", text="the others go on")


def test_a_wiped_disk_says_why_and_what_to_do(context):
    cluster, victim = loaded(context, n=3)
    shutil.rmtree(victim.state)
    victim.start()
    status = wait_until("it has heard of the others", lambda: victim.status() if "has not started" in warnings(victim) else None)
    assert status["role"] == "learner" and status["remedies"], status


def metric(replica, name):
    return next(int(line.split()[1]) for line in replica.call("Metrics")["text"].splitlines() if line.startswith(name + " "))


def submit(replica, text):
    """The slot; None where a busy machine's replicas lost each other for a moment, and nothing was chosen."""
    try:
        return replica.call("Submit", text=text, timeout_ms=60000)["slot"]
    except Failed as e:
        if e.error != "NoQuorum":
            raise
        return None


def with_history(context):
    """A cluster whose oldest segments are below everybody's checkpoint; and the slots of its messages."""
    cluster = context.cluster(message_bytes_max=1 << 20).start()
    texts = [f"message number {i} of many " + "x" * (800000 if i % 8 else 10) for i in range(90)]
    slots = [wait_until("it is chosen", lambda text=text: submit(cluster[0], text)) for text in texts]
    wait_until("all have a checkpoint", lambda: all(metric(r, "mpaxos_checkpoint_slot") > slots[20] for r in cluster))
    return cluster, slots


def hurt(replica, i):
    """A byte of one message in the oldest segment: of the last copy, where another leader proposed it again."""
    path = segments(replica)[0]
    at = path.read_bytes().rfind(f"message number {i} of many".encode())
    flip(path, at)
    return path, at


def read_fails(replica, slot):
    try:
        replica.call("Read", **{"from": slot, "count": 1})
    except Failed as e:
        return e.error == "SlotUnreadable" and e.parameters["slot"] == slot
    return False


def test_rot_below_a_checkpoint_is_fetched_again(context):
    cluster, slots = with_history(context)
    victim, other = cluster.followers()
    leader = cluster.leader()
    for r in leader, other:
        r.kill()
    hurt(victim, 3)
    assert read_fails(victim, slots[3])
    said = cluster.ctl("-i", victim.number, "log", "--from", slots[3], expect=1)
    assert f"slot {slots[3]} cannot be read on this replica" in said.stderr, said
    wait_until("it has nobody to ask", lambda: "no replica that answers has them" in warnings(victim))
    assert "segment-0000000000000001 is damaged at offset" in warnings(victim), warnings(victim)
    assert metric(victim, "mpaxos_journal_rotten_segments") == 1
    assert any("start the replicas that are away" in r for r in victim.status()["remedies"])
    assert read_fails(victim, slots[3]) and victim.call("Read", **{"from": slots[40], "count": 1})["messages"]
    for r in leader, other:
        r.start()
    wait_until("it is mended", lambda: "rot:" not in warnings(victim), timeout=60)
    assert metric(victim, "mpaxos_journal_mended_segments_total") == 1
    wait_until("its log says so", lambda: "is readable" in victim.said())
    cluster.wait_quorum()
    log = cluster.check_identical()
    assert len(log) == 90
    victim.kill()
    victim.start()
    assert "damaged" not in victim.said().rpartition("is readable")[2], victim.said()
    cluster.wait_quorum()
    assert victim.read_all() == log


def test_rot_that_nobody_can_mend_says_so(context):
    cluster, slots = with_history(context)
    places = [hurt(r, 8) for r in cluster]
    for r in cluster:
        assert read_fails(r, slots[8])
    for r in cluster:
        wait_until("it says so", lambda r=r: "no replica that answers has them" in warnings(r))
    assert cluster.leader().call("Submit", text="the cluster goes on")["slot"] > slots[-1]
    flip(*places[1])  # as it was
    for r in cluster:
        wait_until("it is mended", lambda r=r: "rot:" not in warnings(r), timeout=60)
    assert [metric(r, "mpaxos_journal_mended_segments_total") for r in cluster] == [1, 0, 1]
    assert len(cluster.check_identical()) == 91


SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
int fdatasync(int fd)
{
    const char *fail = getenv("FAIL_SYNC");
    if (access(fail, F_OK) == 0) {
        int log = open(fail, O_WRONLY | O_APPEND);
        if (write(log, "x", 1) == 1)
            close(log);
        errno = EIO;
        return -1;
    }
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
"""


def test_a_failed_sync_ends_it_at_once(context):
    if context.sanitized:
        raise Skip("the sanitizer wants to be first")
    source, shim, fail = context.dir / "shim.c", context.dir / "shim.so", context.dir / "fail"
    source.write_text(SHIM)
    try:
        subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, source, "-ldl"], check=True)
    except OSError as e:
        raise Skip("no compiler") from e
    cluster = context.cluster().start()
    cluster.ctl("send", "before")
    victim = cluster.followers()[0]
    victim.kill()
    victim.start(wrapper=["env", f"LD_PRELOAD={shim}", f"FAIL_SYNC={fail}"])
    cluster.wait_quorum()
    fail.write_text("")
    acknowledged = cluster.leader().call("Submit", text="during")["slot"]
    assert victim.wait_exit() == 74, victim.said()
    assert fail.read_text() == "x", "the sync was tried again"
    assert "must be looked at" in victim.said()
    fail.unlink()
    victim.start()
    assert acknowledged in [m["slot"] for m in cluster.check_identical()]


def start_with_disk_of_2(context, mount):
    cluster = context.cluster()
    (cluster.dir / "state").mkdir()
    (cluster.dir / "state" / "2").symlink_to(mount)
    return cluster.start()


def test_a_followers_full_disk(context):
    mount = small_disk(context, 64)
    try:
        cluster = start_with_disk_of_2(context, mount)
        if cluster.leader().number == 2:
            cluster.ctl("transfer", "0")
        victim = cluster[2]
        with open(mount / "ballast", "wb") as ballast:
            try:
                while True:
                    ballast.write(b"x" * (1 << 20))
                    ballast.flush()
            except OSError:
                pass
        for _ in range(2400):  # more than the open segment and one in reserve hold
            cluster[0].call("Submit", text="y" * 16000, timeout_ms=20000)
        told = wait_until("it tells that its disk is full",
                          lambda: next((w for w in victim.status()["warnings"] if "disk full" in w), None))
        assert str(victim.state) in told, told
        assert victim.read_all(), "reads go on"
        assert disk_is_told(victim)
        os.unlink(mount / "ballast")
        wait_until("it goes on without a restart", lambda: "disk full" not in warnings(victim))
        cluster.check_identical()
        assert victim.process.poll() is None
    finally:
        context.close()
        subprocess.run(["umount", "-l", mount])


def let_2_lead(cluster):
    cluster.ctl("transfer", "2")
    return wait_until("it leads", lambda: cluster.leader() if cluster.leader().number == 2 else None)


@contextlib.contextmanager
def frozen(mount):
    subprocess.run(["fsfreeze", "-f", mount], check=True)
    try:
        yield
    finally:
        subprocess.run(["fsfreeze", "-u", mount], check=True)


def test_a_frozen_disk_is_told(context):
    """As for a snapshot: whatever waits for it, the leader answers, and messages go on by the others' disks."""
    mount = small_disk(context, 64)
    try:
        cluster = start_with_disk_of_2(context, mount)
        victim = let_2_lead(cluster)
        with frozen(mount):
            cluster[0].call("Submit", text="meanwhile", timeout_ms=20000)
            wait_until("it tells that its disk is slow", lambda: any("slow disk" in w for w in victim.status()["warnings"]))
        wait_until("the disk answers again", lambda: not warnings(victim))
        cluster.check_identical()
    finally:
        context.close()
        subprocess.run(["umount", "-l", mount])


def test_a_frozen_disk_of_the_chat_log_holds_up_nothing(context):
    """A flush waits for it, on a thread of its own; the leader leads on, and says why."""
    mount = small_disk(context, 64)
    try:
        cluster = context.cluster()
        (cluster.dir / "log").mkdir()
        cluster[2].log.symlink_to(mount / "replica_2.log")
        cluster.start()
        victim = let_2_lead(cluster)
        ballot = victim.status()["ballot"]
        cluster.ctl("-i", 2, "flush")
        cluster.ctl("-i", 2, "send", "before")
        with frozen(mount):
            flush = cluster.ctl("-i", 2, "--timeout", 1, "flush", expect=1)
            assert "still being written" in flush.stdout + flush.stderr
            cluster.ctl("-i", 2, "send", "meanwhile")
            wait_until("it tells that the file is not written",
                       lambda: any(str(victim.log) in w and "hangs" in w for w in victim.status()["warnings"]))
            assert victim.status()["ballot"] == ballot
        wait_until("the disk answers again", lambda: not warnings(victim))
        cluster.check_identical()
    finally:
        context.close()
        subprocess.run(["umount", "-l", mount])


def disk_is_told(replica):
    return any("free space on the file system of" in r for r in replica.status()["remedies"])
