"""What other users of the host may do, through the real tool: everyday use for the socket's group, nothing for the rest."""
import os
import re
import shutil
import subprocess

from harness import memory_bytes

ADA, BOB, GROUP = 54001, 54002, 54321


def open_to(group, context, cluster):
    """Lets the kernel pass everybody through, so that only the daemon refuses."""
    for path in (context.dir, cluster.dir, cluster.dir / "run", *(cluster.dir / "run" / str(r.number) for r in cluster)):
        os.chmod(path, 0o755)
    for r in cluster:
        os.chown(r.socket, 0, group)
        os.chmod(r.socket, 0o666)
    tool = context.dir / "mpaxosctl"
    shutil.copy(context.mpaxosctl, tool)
    os.chmod(tool, 0o755)
    return tool


def run(tool, cluster, user, *arguments, groups=(GROUP,), expect=0, stdin="", timeout=60):
    result = subprocess.run([tool, "--dir", cluster.dir, *map(str, arguments)], user=user, group=65534, extra_groups=list(groups),
                            input=stdin, capture_output=True, text=True, cwd="/", timeout=timeout)
    assert result.returncode == expect, (arguments, result)
    return result.stdout


def test_everyday_use_for_the_group_and_nothing_for_others(context):
    context.need_root()
    cluster = context.cluster(f=0).start()
    tool = open_to(GROUP, context, cluster)
    run(tool, cluster, ADA, "send", "from ada")
    run(tool, cluster, ADA, "status")
    run(tool, cluster, ADA, "metrics")
    run(tool, cluster, ADA, "flush")
    assert "from ada" in run(tool, cluster, ADA, "log")
    for verb in (("drop", 5), ("skip", 100), ("transfer",), ("reload",), ("bootstrap",)):
        run(tool, cluster, ADA, *verb, expect=4)
    before = cluster[0].read_all()
    for verb in (("send", "x"), ("log",), ("position",), ("flush",), ("metrics",), ("drop", 5)):
        run(tool, cluster, BOB, *verb, groups=(), expect=4)
    assert cluster[0].read_all() == before
    # As packaged, they do not even get so far.
    os.chmod(cluster[0].socket, 0o660)
    run(tool, cluster, BOB, "send", "x", groups=(), expect=4)
    run(tool, cluster, ADA, "send", "y")


def test_nobody_writes_as_somebody_else(context):
    context.need_root()
    cluster = context.cluster().start()
    tool = open_to(GROUP, context, cluster)
    run(tool, cluster, ADA, "send", "plain")
    # The same name and key from two users are two messages; from one they are one.
    for user in (ADA, BOB, ADA):
        run(tool, cluster, user, "send", "--as", "bot", "--key", "k", "a text")
    run(tool, cluster, BOB, "send", "--as", ADA, "--key", "k", "forged")
    run(tool, cluster, ADA, "client", "7", stdin="s\nhello\ne\n")
    run(tool, cluster, ADA, "load", 3, 10)
    cluster.ctl("send", "--as", "bot", "--key", "k", "from root")
    log = cluster.check_identical()
    assert [(m["author"], m["text"]) for m in log if not m["text"].startswith("message_")] == [
        (f"{ADA}", "plain"), (f"{ADA} (as bot)", "a text"), (f"{BOB} (as bot)", "a text"), (f"{BOB} (as {ADA})", "forged"),
        (f"{ADA} (as client_7)", "hello"), ("bot", "from root")]
    assert all(m["author"].startswith(f"{ADA} (as ") for m in log if m["text"].startswith("message_"))
    assert f"\t{ADA} (as bot)\ta text\n" in cluster[2].log.read_text()


# Opens all the connections that it gets, and on them: sends messages without reading the answers, asks for everything again
# and again, breaks the rules, or keeps still.
HOSTILE = r"""
import json, resource, select, socket, sys, time
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
def call(method, **parameters):
    return json.dumps({"method": "org.mpaxos.Replica." + method, "parameters": parameters}).encode() + b"\0"
submits = call("Submit", text="y" * 10000, timeout_ms=3600000) * 4
kinds = [submits, submits, call("Status") * 200, call("Read") * 200, call("Metrics") * 200, b"\0nonsense" * 500, b"x" * 65536, b""]
connections, until, refused, told = {}, time.monotonic() + float(sys.argv[2]), 0, False
poll = select.poll()
n = 0
while time.monotonic() < until:
    for _ in range(50):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            s.connect(sys.argv[1])
        except OSError:
            s.close()
            break
        s.setblocking(False)
        connections[s.fileno()] = (s, kinds[n % len(kinds)])
        poll.register(s.fileno(), select.POLLOUT | select.POLLHUP)
        n += 1
    for fd, _ in poll.poll(0):
        s, data = connections[fd]
        try:
            if data:
                s.send(data)
            elif s.recv(1) == b"":
                raise ConnectionError
        except BlockingIOError:
            pass
        except OSError:
            poll.unregister(fd)
            s.close()
            del connections[fd]
            refused += 1
    if refused and not told:
        print("full", len(connections), flush=True)
        told = True
"""


def test_one_user_does_not_keep_another_out(context):
    context.need_root()
    cluster = context.cluster().start()
    tool = open_to(GROUP, context, cluster)
    leader = cluster.leader()
    pid = leader.status()["pid"]
    hostile = subprocess.Popen(["/usr/bin/env", "python3", "-c", HOSTILE, leader.socket, "620"], user=BOB, group=65534, extra_groups=[GROUP],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/")
    try:
        assert hostile.stdout.readline().startswith("full"), hostile.communicate()
        for i in range(5):  # on a busy machine both wait for their turn, but nobody for ever
            run(tool, cluster, ADA, "-i", leader.number, "--timeout", 100, "send", f"through the noise {i}", timeout=120)
        assert hostile.poll() is None, hostile.communicate()
        metrics = leader.call("Metrics")["text"]
        refused = int(re.search(r"^mpaxos_control_connections_refused_user_total (\d+)$", metrics, re.M)[1])
        assert refused > 0, metrics
        assert memory_bytes(pid) < (1024 if context.sanitized else 384) << 20, f"{memory_bytes(pid) >> 20} MiB"
    finally:
        hostile.kill()
        hostile.wait()
    assert leader.process.poll() is None
    run(tool, cluster, ADA, "send", "after it")
