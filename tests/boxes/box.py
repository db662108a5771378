"""Boxes: throw-away Debian hosts with a real systemd as PID 1, by systemd-nspawn, on a LAN of their own.

A box is an overlay over a bare Debian, which is made once and cached. Its cgroups and mounts are its own, its network is
one host of lan.Lan, so nothing of the machine's changes. A box dies with the program that started it. With a disk of its
own, its power can be cut so that what was not synced is lost.
"""
import fcntl
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import time

from harness import Skip, wait_until
from lan import Lan

CACHE = pathlib.Path(os.environ.get("MPAXOS_BOXES", "/var/cache/mpaxos-boxes"))
TOOLS = {"systemd-nspawn": "systemd-container", "mmdebstrap": "mmdebstrap", "nft": "nftables", "ip": "iproute2",
         "mkfs.ext4": "e2fsprogs"}
PACKAGES = {
    "bookworm": "systemd,systemd-sysv,dbus,libuv1,libcjson1,libsodium23",
    "trixie": "systemd,systemd-sysv,dbus,libpam-systemd,libuv1t64,libcjson1,libsodium23,python3-varlink",
}
# What only makes a boot slower or noisier.
MASKED = ("systemd-timesyncd.service", "console-getty.service", "apt-daily.timer", "apt-daily-upgrade.timer", "fstrim.timer",
          "dpkg-db-backup.timer", "e2scrub_all.timer", "systemd-networkd.service", "systemd-resolved.service")
EXT4_IOC_SHUTDOWN, SHUTDOWN_WITHOUT_LOG = 0x8004587D, 2

# In a mount namespace of its own: what is mounted is gone with the box. IPAddressDeny= and DevicePolicy= want BPF.
BOOT = """
umount -R -l /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p "/sys/fs/cgroup/mpaxos-boxes/$MACHINE" && echo $$ >"/sys/fs/cgroup/mpaxos-boxes/$MACHINE/cgroup.procs"
mount -t overlay overlay -o "lowerdir=$ROOT,upperdir=$DIR/upper,workdir=$DIR/work" "$DIR/root"
if [ -e "$DIR/disk.img" ]; then mount -o loop "$DIR/disk.img" "$DIR/disk"; bind="--bind=$DIR/disk:/var/lib/mpaxosd"; fi
exec systemd-nspawn --quiet --boot --register=no --keep-unit --directory="$DIR/root" --machine="$MACHINE" --hostname="$NAME" \\
    --network-namespace-path="$NETWORK" --resolv-conf=off --timezone=off --link-journal=no --console=pipe \\
    --capability=CAP_BPF,CAP_PERFMON,CAP_NET_ADMIN --system-call-filter="bpf perf_event_open" $bind
"""


def require():
    """Sees to it that the machine can boot boxes, or says in a Skip why it cannot."""
    if os.geteuid() != 0:
        raise Skip("boxes need root")
    os.environ["PATH"] = "/usr/sbin:/sbin:" + os.environ["PATH"]
    missing = [package for tool, package in TOOLS.items() if not shutil.which(tool)]
    if missing:
        if not shutil.which("apt-get"):
            raise Skip(f"boxes need {', '.join(missing)}")
        for command in (["update", "-qq"], ["install", "-qqy", "--no-install-recommends", *missing]):
            if subprocess.run(["apt-get", *command], env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                              stdout=subprocess.DEVNULL).returncode:
                raise Skip(f"boxes need {', '.join(missing)}, which could not be installed")
    probe = subprocess.run(["unshare", "-m", "--propagation", "private", "sh", "-ec",
                            "umount -R -l /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup; test -w /sys/fs/cgroup"],
                           capture_output=True, text=True)
    if probe.returncode:
        raise Skip(f"boxes need mounts and cgroups: {probe.stderr.strip()}")


def root(suite):
    """The bare Debian, from the machine's own mirror; made once, about half a minute."""
    place = CACHE / f"root-{suite}"
    packages = PACKAGES[suite]
    stamp = place / ".complete"
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f".{suite}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == packages:
            return place
        sites = subprocess.run(["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"], capture_output=True,
                               text=True, check=True).stdout.split()
        mirror = next((s for s in sites if s.endswith("/debian")), None)
        if mirror is None:
            raise Skip("boxes need a Debian mirror in /etc/apt")
        shutil.rmtree(place, ignore_errors=True)
        made = subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", f"--include={packages}",
                               "--dpkgopt=path-exclude=/usr/share/locale/*", suite, str(place) + ".tar", f"deb {mirror} {suite} main"],
                              capture_output=True, text=True)
        if made.returncode:
            raise Skip(f"no root of {suite}: {made.stderr[-500:]}")
        place.mkdir()
        subprocess.run(["tar", "-C", place, "--numeric-owner", "-xpf", str(place) + ".tar"], check=True)
        os.unlink(str(place) + ".tar")
        for unit in MASKED:
            link = place / "etc/systemd/system" / unit
            link.unlink(missing_ok=True)
            link.symlink_to("/dev/null")
        (place / "var/log/journal").mkdir(exist_ok=True)
        (place / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
        (place / "etc/machine-id").write_text("")
        (place / "var/lib/dbus/machine-id").unlink(missing_ok=True)
        (place / "etc/hostname").unlink(missing_ok=True)
        stamp.write_text(packages)
    return place


class Box:
    """One host. `number` is its host of the LAN."""

    def __init__(self, directory, lan, number, suite="bookworm", disk=None):
        self.name, self.lan, self.number, self.suite = f"box{number}", lan, number, suite
        self.machine = f"mpaxos-{os.getpid()}-{self.name}"
        self.dir = directory / self.name
        self.address = lan.address(number)
        self.process, self.pid = None, None
        for part in ("upper", "work", "root", "disk"):
            (self.dir / part).mkdir(parents=True)
        if disk:
            subprocess.run(["truncate", "-s", disk, self.dir / "disk.img"], check=True)
            subprocess.run(["mkfs.ext4", "-q", self.dir / "disk.img"], check=True)

    def start(self):
        """Begins to boot; wait() waits. The state of an earlier life is there again."""
        wait_until(f"the disk of {self.name} is free", self._disk_is_free)
        variables = {"ROOT": root(self.suite), "DIR": self.dir, "NAME": self.name, "MACHINE": self.machine,
                     "NETWORK": self.lan.hosts[self.number].path, "bind": ""}
        with open(self.dir / "console.log", "ab") as console:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "setsid", "unshare", "-m", "--propagation", "private", "bash", "-ec", BOOT],
                env={**os.environ, **{k: str(v) for k, v in variables.items()}}, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        return self

    def wait(self, timeout=60):
        wait_until(f"{self.name} has a PID 1", self._find_init, timeout)
        state = wait_until(f"{self.name} has booted", self._is_running, timeout)
        assert state == "running", f"{self.name} is {state}: {self.run('systemctl', '--failed', check=False)}"
        return self

    def _disk_is_free(self):
        image = self.dir / "disk.img"
        return not image.exists() or not subprocess.run(["losetup", "-j", image], capture_output=True).stdout

    def _find_init(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} died while booting: {(self.dir / 'console.log').read_text()[-2000:]}")
        try:
            children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            for child in children:
                line = next(x for x in pathlib.Path(f"/proc/{child}/status").read_text().splitlines() if x.startswith("NSpid:"))
                if line.split()[-1] == "1":
                    self.pid = int(child)
        except (OSError, StopIteration):
            pass
        return self.pid

    def _is_running(self):
        state = self.run("systemctl", "is-system-running", check=False)
        return state if state in ("running", "degraded") else None

    def path(self, inside):
        """A path of the box, as this program sees it."""
        if self.pid is None:
            raise ConnectionError(f"{self.name} is off")
        return pathlib.Path(f"/proc/{self.pid}/root{inside}")

    def execute(self, *command, stdin="", timeout=120):
        if self.pid is None:
            raise ConnectionError(f"{self.name} is off")
        return subprocess.run(
            ["nsenter", "-t", str(self.pid), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "--", "env", "-i", "HOME=/root", "TERM=dumb",
             "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "SYSTEMD_PAGER=", "DEBIAN_FRONTEND=noninteractive",
             *map(str, command)], input=stdin, capture_output=True, text=True, timeout=timeout)

    def run(self, *command, check=True, expect=0, **options):
        """What a command of the box says on standard output, and on standard error where it is not checked."""
        result = self.execute(*command, **options)
        if not check:
            return (result.stdout + result.stderr).strip()
        assert result.returncode == expect, (
            f"{self.name}: {' '.join(map(str, command))}: exit {result.returncode}, not {expect}\n{result.stdout}{result.stderr}")
        return result.stdout.strip()

    def sh(self, script, **options):
        return self.run("sh", "-ec", script, **options)

    def put(self, file, inside):
        shutil.copy(file, self.path(inside))

    def write(self, inside, text):
        self.path(inside).parent.mkdir(parents=True, exist_ok=True)
        self.path(inside).write_text(text)

    def install(self, deb):
        self.put(deb, "/root")
        return self.run("dpkg", "-i", f"/root/{deb.name}")

    def property(self, unit, name):
        return self.run("systemctl", "show", "-p", name, "--value", unit)

    def _gone(self, timeout):
        self.process.wait(timeout)
        self.process = self.pid = None

    def down(self, timeout=60):
        """An orderly power-off."""
        os.kill(self.pid, signal.SIGRTMIN + 4)
        self._gone(timeout)

    def kill(self):
        """All processes die at once; the disk keeps what was written."""
        if self.process is None:
            return
        for pid in (self.pid, self.process.pid):
            try:
                os.kill(pid, signal.SIGKILL) if pid else None
            except ProcessLookupError:
                pass
        self._gone(30)

    def lose_power(self):
        """Nothing more reaches the disk from now on, not even what the kernel has written for it: kill() follows."""
        fd = os.open(self.path("/var/lib/mpaxosd"), os.O_RDONLY)
        try:
            fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, struct.pack("I", SHUTDOWN_WITHOUT_LOG))
        finally:
            os.close(fd)

    def pull_cable(self):
        self.lan.switch.run("ip", "link", "set", f"port{self.number}", "down")

    def plug_cable(self):
        self.lan.switch.run("ip", "link", "set", f"port{self.number}", "up")

    def journal(self, *matches):
        return self.run("journalctl", "-b", "--no-pager", *matches, check=False)


def remove_cgroup(machine):
    """What is left of a box; its last processes may still be ending."""
    places = [top / "mpaxos-boxes" / machine for top in (pathlib.Path("/sys/fs/cgroup"), pathlib.Path("/sys/fs/cgroup/unified"))]
    deadline = time.monotonic() + 5
    while any(place.exists() for place in places) and time.monotonic() < deadline:
        for inside in (x for place in places for x, _, _ in os.walk(place, topdown=False)):
            try:
                os.rmdir(inside)
            except OSError:
                time.sleep(0.02)


class Boxes:
    """The boxes of one test."""

    def __init__(self, directory, n, **options):
        self.lan = Lan(n)
        self.boxes = []
        began = time.monotonic()
        try:
            self.boxes = [Box(directory, self.lan, i, **options) for i in range(n)]
            for box in self.boxes:
                box.start()
            for box in self.boxes:
                box.wait()
        except BaseException:
            self.close()
            raise
        self.boot_s = time.monotonic() - began

    def __getitem__(self, number):
        return self.boxes[number]

    def __iter__(self):
        return iter(self.boxes)

    def close(self):
        for box in self.boxes:
            box.kill()
            remove_cgroup(box.machine)
        self.lan.close()
