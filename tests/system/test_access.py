"""What other users of the host may do, through the real tool: everyday use for the socket's group, nothing for the rest."""
import os
import shutil
import subprocess

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


def run(tool, cluster, user, *arguments, groups=(GROUP,), expect=0, stdin=""):
    result = subprocess.run([tool, "--dir", cluster.dir, *map(str, arguments)], user=user, group=65534, extra_groups=list(groups),
                            input=stdin, capture_output=True, text=True, cwd="/", timeout=60)
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
