"""Clusters of installed replicas, under systemd, with the checks of the other system tests."""
import json

import harness
from box import Boxes
from harness import wait_until

CONFIG = "/etc/mpaxosd/replica_config.json"
KEY = "/etc/mpaxosd/cluster.key"


class Installed(harness.Replica):
    """One replica of an installed package, seen from outside its box."""

    def __init__(self, box, number):
        self.box, self.number = box, number

    @property
    def unit(self):
        return f"mpaxosd@{self.number}"

    @property
    def socket(self):
        return self.box.path(f"/run/mpaxosd/{self.number}/control")

    @property
    def state(self):
        return self.box.path(f"/var/lib/mpaxosd/{self.number}")

    @property
    def log(self):
        return self.box.path(f"/var/log/mpaxosd/replica_{self.number}.log")

    def answers(self):
        try:
            return self.status()
        except (OSError, harness.Failed):
            return None

    def systemctl(self, *arguments, **options):
        return self.box.run("systemctl", *arguments, self.unit, **options)

    def ctl(self, *arguments, **options):
        return self.box.run("mpaxosctl", "-i", self.number, *arguments, **options)

    def main_pid(self):
        return int(self.box.property(self.unit, "MainPID"))

    def is_active(self):
        return self.box.property(self.unit, "ActiveState") == "active"

    def said(self):
        """What it logged and what systemd did; who ends at once may be gone before its unit is looked up."""
        unit = f"{self.unit}.service"
        return self.box.journal(f"_SYSTEMD_UNIT={unit}", "+", f"UNIT={unit}", "+", f"SYSLOG_IDENTIFIER={self.unit}")


class InstalledCluster(harness.Cluster):
    """Three replicas, on three boxes or on one. What the checks of harness.Cluster want, and no more, is set up here."""

    def __init__(self, replicas):
        self.replicas = replicas
        self.n = len(replicas)

    def alive(self):
        return [r for r in self.replicas if r.box.pid is not None and r.answers()]

    def wait_quorum(self, replicas=None, timeout=30):
        super().wait_quorum(replicas, timeout)

    def edit_config(self, replica, change):
        """Lets `change` change the configuration of a replica's host."""
        path = replica.box.path(CONFIG)
        config = json.loads(path.read_text())
        change(config)
        path.write_text(json.dumps(config, indent=1))


def install_key(box, text):
    """As the manual says."""
    box.write("/root/cluster.key", text)
    box.run("install", "-m", "0400", "-o", "mpaxosd", "-g", "mpaxosd", "/root/cluster.key", KEY)


def install_three(context, suite="bookworm", **options):
    """Three boxes with the package, configured and not started."""
    boxes = context.boxes(3, suite=suite, **options)
    hosts = ",".join(b.address for b in boxes)
    for box in boxes:
        box.install(context.deb)
    config = boxes[0].run("mpaxosctl", "config", "generate", 1, "-m", "--host", hosts, "-o", "-")
    key = boxes[0].run("mpaxosctl", "keygen", "-")
    for box in boxes:
        box.write(CONFIG, config)
        install_key(box, key + "\n")
    return InstalledCluster([Installed(box, i) for i, box in enumerate(boxes)])


def start_three(context, **options):
    """Three hosts, set up as the manual says."""
    cluster = install_three(context, **options)
    for r in cluster:
        r.box.run("systemctl", "enable", "--now", "mpaxosd.target", r.unit)
    cluster.wait_quorum()
    return cluster


class BoxContext:
    """One test: its directory, its boxes, the packages."""

    def __init__(self, directory, packages):
        self.dir, self.packages = directory, packages
        self.sets, self.measured = [], []

    @property
    def deb(self):
        return self.packages.deb()

    def boxes(self, n, **options):
        self.sets.append(Boxes(self.dir, n, **options))
        return self.sets[-1]

    def measure(self, text):
        """A number that stands below the test's line."""
        self.measured.append(f"     {text}")

    @staticmethod
    def reports():
        return ""

    def describe(self):
        parts = []
        for box in (b for s in self.sets for b in s if b.pid is not None):
            tail = "\n       ".join(box.journal("-n", "20", "-o", "short-precise", "-u", "mpaxosd*").splitlines())
            parts.append(f"     journal of {box.name}:\n       {tail}")
        return "\n".join(parts)

    def close(self):
        for s in self.sets:
            s.close()


__all__ = ["CONFIG", "KEY", "BoxContext", "Installed", "InstalledCluster", "install_key", "install_three", "start_three", "wait_until"]
