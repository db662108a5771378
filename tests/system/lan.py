"""A LAN of network namespaces, whose links can be cut one by one, in one direction or both.

Each host is a namespace with one interface; a further namespace holds the bridge between them and the filter that cuts.
The namespaces have no names and no processes of their own: descriptors of this process hold them, so they are gone when
it is, however it ends. What is cut is lost without a word to either side. Only IPv4 is filtered, not ARP, so that a cut
in one direction is one for good. Wants root, ip(8), nft(8) and nsenter(1).
"""
import ctypes
import os
import shutil
import socket
import struct
import subprocess
import threading

from harness import Skip

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)

# One set of (source, destination): changing it in one transaction cuts and heals any number of links at one moment.
FILTER = """
table bridge lan {
    set cut { type ipv4_addr . ipv4_addr; }
    chain forward {
        type filter hook forward priority 0; policy accept;
        ip saddr . ip daddr @cut drop
    }
}
"""


def check(result):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Namespace:
    """A network namespace that lasts until it is closed, or this process ends."""

    def __init__(self):
        self.fd = -1
        self.in_thread(lambda: (check(LIBC.unshare(CLONE_NEWNET)), self._hold()))

    def _hold(self):
        self.fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    @staticmethod
    def in_thread(action):
        """Namespaces belong to threads: one that has entered another is thrown away."""
        result, failure = [], []

        def run():
            try:
                result.append(action())
            except Exception as e:  # raised where it was asked for
                failure.append(e)
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        if failure:
            raise failure[0]
        return result[0]

    @property
    def path(self):
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    @property
    def wrapper(self):
        """Goes before a command, which then runs inside, as the same process."""
        return ["nsenter", f"--net={self.path}", "--"]

    def run(self, *command, stdin=""):
        result = subprocess.run([*self.wrapper, *command], input=stdin, capture_output=True, text=True)
        if result.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: exit status {result.returncode}\n{stdin}\n{result.stderr}")
        return result.stdout

    def connect(self, address, timeout):
        """A TCP connection from inside."""
        return self.in_thread(lambda: (check(LIBC.setns(self.fd, CLONE_NEWNET)),
                                       socket.create_connection(address, timeout))[1])

    def send_icmp(self, address, message):
        """One ICMP message from inside, whose checksum is filled in."""
        total = sum(struct.unpack(f"!{len(message) // 2}H", message))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        message = message[:2] + struct.pack("!H", total ^ 0xFFFF) + message[4:]

        def send():
            check(LIBC.setns(self.fd, CLONE_NEWNET))
            with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as s:
                s.sendto(message, (address, 0))
        self.in_thread(send)

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Lan:
    """Hosts 0 to n-1 at 10.78.0.1 and so on, all linked to all."""

    def __init__(self, n):
        missing = [tool for tool in ("ip", "nft", "nsenter") if not shutil.which(tool)]
        if os.geteuid() != 0:
            raise Skip("network namespaces need root")
        if missing:
            raise Skip(f"network namespaces need {', '.join(missing)}")
        self.hosts, self.switch, self.n = [], None, n
        try:
            self._build()
        except (OSError, RuntimeError) as e:
            self.close()
            raise Skip(f"no network namespaces with a bridge and a filter here: {e}") from e

    def _build(self):
        self.switch = Namespace()
        self.hosts = [Namespace() for _ in range(self.n)]
        self.switch.run("ip", "-batch", "-", stdin="link add br0 type bridge stp_state 0 forward_delay 0\n"
                                                   "link set br0 up\n")
        for i, host in enumerate(self.hosts):
            self.switch.run("ip", "-batch", "-", stdin=f"link add port{i} type veth peer name eth0 netns {host.path}\n"
                                                       f"link set port{i} master br0 up\n")
            host.run("ip", "-batch", "-", stdin="link set lo up\n"
                                                f"address add {self.address(i)}/24 dev eth0\n"
                                                "link set eth0 up\n")
        self.switch.run("nft", "-f", "-", stdin=FILTER)

    @staticmethod
    def address(i):
        return f"10.78.0.{i + 1}"

    def cut(self, ways):
        """From now on what is sent from a to b is lost, for each (a, b) of `ways`, and nothing else."""
        script = "flush set bridge lan cut\n"
        if ways:
            pairs = ", ".join(f"{self.address(a)} . {self.address(b)}" for a, b in ways)
            script += f"add element bridge lan cut {{ {pairs} }}\n"
        self.switch.run("nft", "-f", "-", stdin=script)

    def heal(self):
        self.cut([])

    def close(self):
        for namespace in [*self.hosts, self.switch]:
            if namespace is not None:
                namespace.close()
        self.hosts, self.switch = [], None
