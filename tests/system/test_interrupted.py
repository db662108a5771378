"""What the tool does when something ends half-way: the quorum, the reader of its output, the patience of its user."""
import os
import pty
import re
import signal
import subprocess
import time

from harness import wait_until

PAGER = """trap 'echo >interrupted' INT
cat >text
echo ready
until [ -e interrupted ]; do sleep 0.1; done
until read answer </dev/tty && [ "$answer" = quit ]; do :; done
"""
ADVICE = r"Lines (\d+) to (\d+) may be chosen.* tail -n \+(\d+) FILE \| mpaxosctl send --key (\S+) --since (\d+) -\n"


def on_terminal(context, *arguments, **env):
    """The tool on a terminal of its own: its process, and the terminal's other end."""
    pid, fd = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever runs the tests in the background may ignore it
        os.chdir(context.dir)
        os.execve(context.mpaxosctl, ["mpaxosctl", *map(str, arguments)], {**os.environ, "LC_ALL": "C.UTF-8", **env})
    return pid, fd


def read_until(fd, part):
    """Until `part` came, or, for None, until the end."""
    got = b""
    while part is None or part not in got:
        try:
            more = os.read(fd, 4096)
        except OSError:  # the terminal's end
            more = b""
        if not more:
            assert part is None, f"{part} did not come: {got}"
            break
        got += more
    return got


def stop_and_go_on(context, stop, timeout):
    """Lines while the leader loses its quorum, `stop` of whoever sends them, and the advice that this gives."""
    cluster = context.cluster().start()
    leader, followers = cluster.leader(), cluster.followers()
    lines = [f"line {i}" if i % 10 else "" for i in range(1, 1201)]
    arguments = [context.mpaxosctl, "--dir", cluster.dir, "-i", str(leader.number), "--timeout", str(timeout), "send", "-"]
    with open(context.dir / "out", "w") as out, subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.PIPE, text=True) as sender:
        context.processes.append(sender)
        sender.stdin.write("".join(f"{line}\n" for line in lines[:400]))
        sender.stdin.flush()
        wait_until("some lines are chosen", lambda: leader.status()["chosen"] > 300)
        for r in followers:
            r.signal(signal.SIGSTOP)
        sender.stdin.write("".join(f"{line}\n" for line in lines[400:]))
        sender.stdin.flush()
        stop(sender)
        said = sender.communicate()[1]
    assert sender.returncode == 5, (sender.returncode, said)
    first, last, at, key, since = re.search(ADVICE, said).groups()
    assert int(at) <= int(first) <= int(last) < int(at) + 160, said  # 128 of them, and the empty ones in between
    for r in followers:
        r.signal(signal.SIGCONT)
    cluster.wait_quorum()
    rest = "".join(f"{line}\n" for line in lines[int(at) - 1:])
    for _ in range(2):
        cluster.ctl("send", "--key", key, "--since", since, "-", stdin=rest)
    assert [m["text"] for m in cluster.check_identical()] == [line for line in lines if line], said


def test_lines_go_on_where_they_stopped(context):
    stop_and_go_on(context, lambda sender: None, 3)


def test_interrupted_lines_go_on(context):
    def interrupt(sender):
        time.sleep(0.5)
        sender.send_signal(signal.SIGINT)
    stop_and_go_on(context, interrupt, 60)


def test_a_text_that_is_repeated_stands_once(context):
    cluster = context.cluster().start()
    lines = [f"line {i}" for i in range(1, 501)]
    since = cluster.ctl("position").stdout.strip()
    for n in (100, 300, 500):  # as if it had been stopped by force
        cluster.ctl("send", "--key", "letter-1", "--since", since, "-", stdin="\n".join(lines[:n]))
    assert [m["text"] for m in cluster.check_identical()] == lines
    for wrong in (["letter"], ["letter-0"], ["x" * 60 + "1"], []):
        cluster.ctl("send", "--key", *(wrong or ["letter-1"]), *(["--since", since] if wrong else []), "-", stdin="no",
                    expect=64)


def test_an_interrupt_is_the_pagers(context):
    cluster = context.cluster().start()
    cluster.ctl("send", "hello")
    (context.dir / "pager").write_text(PAGER)
    pid, fd = on_terminal(context, "--dir", cluster.dir, "log", MPAXOS_PAGER="exec sh pager")
    read_until(fd, b"ready")
    os.write(fd, b"\x03")
    wait_until("the pager is interrupted", (context.dir / "interrupted").exists)
    # A process that the same interrupt ended would be gone by the time that the pager has answered.
    assert os.waitpid(pid, os.WNOHANG) == (0, 0), "the tool ended before its pager"
    os.write(fd, b"quit\n")
    read_until(fd, None)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(fd)
    assert "hello" in (context.dir / "text").read_text()


def test_following_ends_with_its_reader(context):
    cluster = context.cluster().start()
    cluster.ctl("send", "hello")
    reader, writer = os.pipe()
    log = context.spawn(context.mpaxosctl, "--dir", cluster.dir, "log", "-f", stdout=writer)
    os.close(writer)
    read_until(reader, b"hello")
    os.close(reader)
    assert log.wait(20) == 0, "it waits for the next message although nobody reads it"


def test_no_control_character_reaches_a_terminal(context):
    cluster = context.cluster().start()
    cluster.ctl("send", "a\u009b31mb\x1b[m")
    for arguments in (["log", "--no-pager"], ["log", "-j", "--no-pager"]):
        pid, fd = on_terminal(context, "--dir", cluster.dir, *arguments)
        shown = read_until(fd, None)
        os.close(fd)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert b"31mb" in shown and b"\xc2\x9b" not in shown and b"\x1b" not in shown, shown
    assert "a\u009b31mb\\x1b[m\n" in cluster.ctl("log").stdout, "a file gets what the chat log file has"


def test_no_control_character_of_a_forged_message_reaches_a_terminal(context):
    cluster = context.cluster(f=0).start()
    pid, fd = on_terminal(context, "--dir", cluster.dir, "load", 1, 300, "--rate", 100)
    first = wait_until("the load has begun", cluster[0].read_all)[0]
    cluster[0].call("Submit", author=first["author"], text="a\u009b31mb\x1b[m")
    shown = read_until(fd, None)
    os.close(fd)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    example = shown[shown.index(b"FAILED: "):]
    assert b"never sent: a\\xc2\\x9b31mb\\x1b[m\r\n" in example and b"\x1b" not in example, shown
