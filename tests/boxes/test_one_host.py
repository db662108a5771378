"""Three replicas on one host: script mode and its generator, the target, and what keeps replicas apart."""
import subprocess
import time

from cluster import CONFIG, Installed, InstalledCluster, install_key
from harness import History, wait_until


def one_host(context):
    box = context.boxes(1)[0]
    box.install(context.deb)
    return box, InstalledCluster([Installed(box, i) for i in range(3)])


def start_script_mode(context):
    box, cluster = one_host(context)
    box.run("mpaxosctl", "config", "generate", 1, "-o", CONFIG)
    box.run("systemctl", "enable", "--now", "mpaxosd.target")
    cluster.wait_quorum()
    return box, cluster


def test_script_mode(context):
    """One command after the configuration is there."""
    box, cluster = start_script_mode(context)
    for r in cluster:
        r.ctl("send", f"at {r.number}")
    assert len(cluster.check_identical()) == 3
    # The replicas are the target's: together they stop, and start again, also with the machine.
    box.run("systemctl", "stop", "mpaxosd.target")
    wait_until("all have stopped", lambda: all(box.property(r.unit, "ActiveState") == "inactive" for r in cluster))
    box.run("systemctl", "start", "mpaxosd.target")
    cluster.wait_quorum()
    box.down()
    box.start().wait()
    cluster.wait_quorum()
    assert len(cluster.check_identical()) == 3
    history = History(cluster, 3, 5)
    wait_until("load", lambda: history.acknowledged() > 50)
    leader = cluster.leader()
    pid = leader.main_pid()
    leader.systemctl("kill", "-s", "KILL")
    wait_until("systemd starts it again", lambda: leader.is_active() and leader.main_pid() not in (0, pid))
    cluster.wait_quorum()
    history.stop()
    log = cluster.check_identical()
    history.check([m for m in log if not m["text"].startswith("at ")])


def test_script_mode_runs_only_this_hosts(context):
    boxes = context.boxes(2)
    hosts = f"{boxes[0].address},{boxes[0].address},{boxes[1].address}"
    config = key = None
    for box in boxes:
        box.install(context.deb)
        config = config or box.run("mpaxosctl", "config", "generate", 1, "--host", hosts, "-o", "-")
        key = key or box.run("mpaxosctl", "keygen", "-")
        box.write(CONFIG, config)
        install_key(box, key + "\n")
        box.run("systemctl", "enable", "--now", "mpaxosd.target")
    cluster = InstalledCluster([Installed(boxes[0], 0), Installed(boxes[0], 1), Installed(boxes[1], 2)])
    cluster.wait_quorum()
    assert boxes[0].property("mpaxosd@2", "ActiveState") == "inactive"
    assert boxes[1].property("mpaxosd@0", "ActiveState") == "inactive"
    assert boxes[1].run("systemctl", "--failed", "--no-legend") == ""
    cluster[2].ctl("send", "over two hosts")
    assert len(cluster.check_identical()) == 1


def test_script_mode_waits_for_an_address(context):
    """A host whose address comes late, as network-online.target may let it: its replica starts with it."""
    box, cluster = one_host(context)
    box.write(CONFIG, box.run("mpaxosctl", "config", "generate", 1, "--host", "192.0.2.1,192.0.2.2,192.0.2.3", "-o", "-"))
    install_key(box, box.run("mpaxosctl", "keygen", "-") + "\n")
    box.run("systemctl", "enable", "--now", "mpaxosd.target")
    wait_until("it is tried again", lambda: int(box.property("mpaxosd@1", "NRestarts")) >= 2)
    assert not any(r.is_active() for r in cluster)
    box.lan.hosts[box.number].run("ip", "addr", "add", "192.0.2.2/24", "dev", "lo")
    wait_until("replica 1 runs", cluster[1].is_active)
    wait_until("the others are not this host's", lambda: all(
        box.property(r.unit, "Result") == "exec-condition" and box.property(r.unit, "ActiveState") == "inactive"
        for r in (cluster[0], cluster[2])))


def test_manual_mode_runs_what_was_enabled(context):
    box, cluster = one_host(context)
    box.run("mpaxosctl", "config", "generate", 1, "-m", "-o", CONFIG)
    box.run("systemctl", "enable", "--now", "mpaxosd.target")
    time.sleep(1)
    assert box.run("systemctl", "list-units", "--no-legend", "--plain", "mpaxosd@*") == "", "nobody enabled these"
    box.run("systemctl", "enable", "--now", *[r.unit for r in cluster])
    cluster.wait_quorum()
    box.run("systemctl", "disable", "mpaxosd@2")
    box.run("systemctl", "stop", "mpaxosd.target")
    wait_until("all have stopped", lambda: all(box.property(r.unit, "ActiveState") == "inactive" for r in cluster))
    box.run("systemctl", "start", "mpaxosd.target")
    cluster.wait_quorum(cluster.replicas[:2])
    assert box.property("mpaxosd@2", "ActiveState") == "inactive"


def test_replicas_are_kept_apart(context):
    box, cluster = start_script_mode(context)
    for r in cluster:
        others = [x.number for x in cluster if x is not r]
        inside = ["nsenter", "-t", r.main_pid(), "-m", "-r", "-S", box.run("id", "-u", "mpaxosd"), "--"]
        assert box.run(*inside, "ls", "/var/lib/mpaxosd") == str(r.number)
        for other in others:
            assert box.execute(*inside, "ls", f"/var/lib/mpaxosd/{other}").returncode != 0
        # Nor anything but its own to write to.
        for place in ("/var/lib/mpaxosd/x", "/etc/mpaxosd/x", "/run/x", "/usr/x"):
            assert box.execute(*inside, "touch", place).returncode != 0, f"{r.unit} may write {place}"
        box.run(*inside, "test", "-w", f"/var/lib/mpaxosd/{r.number}")


def test_operators_and_others(context):
    """root may all, the group mpaxosd may use it, others may not even connect."""
    box, cluster = start_script_mode(context)
    box.sh("useradd -m ann; useradd -m -G mpaxosd bob")
    assert "chosen at slot" in box.run("setpriv", "--reuid=bob", "--regid=bob", "--init-groups", "mpaxosctl", "send", "by bob")
    box.run("setpriv", "--reuid=bob", "--regid=bob", "--init-groups", "mpaxosctl", "-i", 0, "reload", expect=4)
    box.run("setpriv", "--reuid=ann", "--regid=ann", "--init-groups", "mpaxosctl", "-i", 0, "send", "by ann", expect=4)
    assert [m["author"] for m in cluster[0].read_all()] == ["bob"]


def test_autopkgtest(context):
    """What autopkgtest runs, as it stands."""
    box, _ = one_host(context)
    box.put(context.packages.tree / "packaging/debian/tests/three-replicas", "/root/three-replicas")
    box.run("sh", "/root/three-replicas")
    box.run("dpkg", "--purge", "mpaxos")


def test_rpm_scripts_leave_the_administrators_choice(context):
    """What the RPM runs at an installation, an upgrade and a removal, on a host that has the same files."""
    box, _ = one_host(context)

    def script(tag, n_left):
        text = subprocess.run(["rpm", "-qp", "--qf", f"%{{{tag}}}", context.packages.rpm()], capture_output=True,
                              text=True, check=True).stdout
        assert "systemctl" in text, text
        box.run("sh", "-es", n_left, stdin=text)

    def is_enabled(unit):
        return box.execute("systemctl", "is-enabled", unit).stdout.strip()

    script("POSTIN", 1)
    assert is_enabled("mpaxosd.target") == "disabled"
    box.run("mpaxosctl", "config", "generate", 1, "-m", "-o", CONFIG)
    box.run("systemctl", "enable", "--now", "mpaxosd.target", "mpaxosd@1")
    script("POSTIN", 2)
    script("PREUN", 1)
    assert is_enabled("mpaxosd.target") == is_enabled("mpaxosd@1") == "enabled", "an upgrade undoes it"
    assert box.property("mpaxosd@1", "ActiveState") == "active", "an upgrade stops it"
    script("PREUN", 0)
    wait_until("all have stopped", lambda: box.property("mpaxosd@1", "ActiveState") == "inactive")
    assert is_enabled("mpaxosd.target") == is_enabled("mpaxosd@1") == "disabled", "what was enabled is left behind"
