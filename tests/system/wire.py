"""An attacker on the replicas' wire: reads and records every datagram between ports of 127.0.0.1, and sends whatever it likes
under whatever address. Wants root."""
import collections
import os
import socket
import struct
import subprocess
import sys
import threading

from harness import Skip

KIND, FROM, TO, SEQ, KEY, SALT, TAG, HEADER = 5, 32, 33, 56, 64, 72, 88, 104
PLAIN, SEALED, HELLO, HELLO_ACK = range(4)

Datagram = collections.namedtuple("Datagram", "source target payload")


def need_root():
    if os.geteuid() != 0:
        raise Skip("only root reads and forges on the wire")


class Tap(threading.Thread):
    """Records what goes between these ports, in order, until it is stopped."""

    def __init__(self, ports):
        need_root()
        super().__init__(daemon=True)
        self.ports, self.tape, self.stopping = set(ports), [], False
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
        self.socket.bind(("lo", 0))
        self.socket.settimeout(0.1)
        self.start()

    def run(self):
        while not self.stopping:
            try:
                frame, address = self.socket.recvfrom(70000)
            except TimeoutError:
                continue
            packet = frame[14:]
            if address[2] != socket.PACKET_HOST or packet[0] != 0x45 or packet[9] != socket.IPPROTO_UDP:
                continue
            source, target, size = struct.unpack_from("!HHH", packet, 20)
            if source in self.ports and target in self.ports:
                self.tape.append(Datagram(source, target, packet[28:20 + size]))

    def stop(self):
        self.stopping = True
        self.join(5)
        self.socket.close()
        return self.tape


class Forger:
    """Sends datagrams under any source."""

    def __init__(self):
        need_root()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)

    def send(self, source, target, payload):
        size = 28 + len(payload)
        packet = struct.pack("!BBHHHBBH4s4sHHHH", 0x45, 0, size, 0, 0, 64, socket.IPPROTO_UDP, 0, b"\x7f\0\0\1", b"\x7f\0\0\1",
                             source, target, size - 20, 0) + payload
        try:
            self.socket.sendto(packet, ("127.0.0.1", 0))
        except OSError:  # a port that is closed, a buffer that is full: lost
            pass

    def replay(self, tape):
        for d in tape:
            self.send(*d)


def forgeries(tape, port):
    """Datagrams to this port, by name, that get as far as ones without the key can: everything is right but the tag, and the
    number ahead."""
    to_port = [d.payload for d in tape if d.target == port]
    latest = next(p for p in reversed(to_port) if p[KIND] == SEALED and len(p) > 300)
    live = bytearray(latest)
    live[SEQ:SEQ + 8] = (2**40).to_bytes(8, "little")
    unknown = bytearray(live)
    unknown[SALT:SALT + 16] = bytes(16)
    hello = next(p for p in to_port if p[KIND] == HELLO)
    wrong_hello = bytearray(hello)
    wrong_hello[TAG] ^= 1
    return {"forged": [live], "of no session": [unknown], "HELLO": [wrong_hello], "recorded HELLO": [hello],
            "noise": [bytearray(os.urandom(300))], "recorded": [latest]}


FLOOD = """
import ctypes, socket, sys, time
class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]
class Message(ctypes.Structure):
    _fields_ = [("name", ctypes.c_void_p), ("name_size", ctypes.c_uint), ("vectors", ctypes.c_void_p), ("n", ctypes.c_size_t),
                ("control", ctypes.c_void_p), ("control_size", ctypes.c_size_t), ("flags", ctypes.c_int), ("pad", ctypes.c_int),
                ("sent", ctypes.c_uint)]
BATCH = 64
port, rate, forge = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "forge"
given = [bytes.fromhex(line) for line in sys.stdin]
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(("127.0.0.1", port))
texts, messages = [], (Message * BATCH)()
for i in range(BATCH):  # forged ones each with another end
    text = given[i % len(given)]
    texts.append(ctypes.create_string_buffer(text[:-1] + bytes([i]) if forge else text, len(text)))
    vector = Vector(ctypes.addressof(texts[-1]), len(text))
    texts.append(vector)
    messages[i].vectors, messages[i].n = ctypes.addressof(vector), 1
sendmmsg = ctypes.CDLL(None).sendmmsg
n, began = 0, time.monotonic()
print("begun", flush=True)
while True:
    sendmmsg(s.fileno(), messages, BATCH, 0)
    n += BATCH
    ahead = n / rate - (time.monotonic() - began)
    if ahead > 0:
        time.sleep(ahead)
    elif ahead < -0.1:  # it does not catch up what it missed
        n, began = 0, time.monotonic()
"""


class Flood:
    """A process that sends the same datagrams again and again, `forge`: with another last byte each time."""

    def __init__(self, port, payloads, per_second, forge=True):
        self.process = subprocess.Popen([sys.executable, "-c", FLOOD, str(port), str(per_second), "forge" if forge else "replay"],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process.stdin.write("".join(p.hex() + "\n" for p in payloads))
        self.process.stdin.close()
        self.process.stdout.readline()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
