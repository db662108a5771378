"""Input that is meant to hurt, from the network and from local clients."""
import json
import resource
import shutil
import signal
import socket
import struct
import subprocess
import time

import lan
from harness import Skip, memory_bytes, wait_until


def test_random_and_truncated_datagrams(context):
    cluster = context.cluster(f=0).start()
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    address = ("127.0.0.1", cluster.port)
    for i in range(3000):
        size = context.random.choice([0, 1, 3, 103, 104, 105, 600, 9000])
        data = context.random.randbytes(size)
        if i % 3 == 0:
            data = b"MPXD\x02" + data
        sender.sendto(data, address)
        if i % 200 == 0:
            time.sleep(0.01)
    cluster.ctl("send", "still here")
    text = cluster[0].call("Metrics")["text"]
    counts = {line.split()[0]: float(line.split()[1]) for line in text.splitlines() if line and line[0] != "#"}
    bad = sum(v for k, v in counts.items() if any(w in k for w in ("malformed", "foreign", "checksum", "version", "truncated")))
    assert bad > 1000, f"the malformed datagrams are not counted: {counts}"


def test_datagrams_that_look_like_a_peers(context):
    cluster = context.cluster().start()
    leader = cluster.leader()
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    header = bytearray(b"MPXD\x02" + bytes(99))
    for r in cluster:
        for k in range(500):
            header[5 + k % 99] ^= 1 << (k % 8)
            sender.sendto(bytes(header), ("127.0.0.1", cluster.port + r.number))
    cluster.ctl("load", "4", "20")
    assert leader.process.poll() is None
    cluster.check_identical()


def closes(context, cluster, data):
    with cluster[0].connect() as c:
        try:
            c.send_bytes(data)
            while c.socket.recv(65536):
                pass
        except (ConnectionResetError, BrokenPipeError):
            pass


def test_a_forged_icmp_error_shrinks_no_datagram(context):
    """Who can send a host one packet, under any source, tells it what size the way to another one takes."""
    network = lan.Lan(3)
    try:
        cluster = context.cluster(replicas={i: {"ip": network.address(i), "port": 7000} for i in range(3)})
        for r in cluster:
            r.start(wait=False, wrapper=network.hosts[r.number].wrapper)
        cluster.wait_quorum()
        for peer in (1, 2):
            network.hosts[2].send_icmp(network.address(0), struct.pack("!BBHHH", 3, 4, 0, 0, 552) + struct.pack(
                "!BBHHHBBH4s4sHHHH", 0x45, 0, 1200, 0, 0x4000, 64, socket.IPPROTO_UDP, 0, socket.inet_aton(network.address(0)),
                socket.inet_aton(network.address(peer)), 7000, 7000, 1180, 0))
            route = network.hosts[0].run("ip", "route", "get", network.address(peer))
            assert "mtu 552" in route, route
        for i in range(5):
            cluster[0].call("Submit", text=f"{i}" * 5000, timeout_ms=30000)
            cluster[1].call("Submit", text=f"{i}" * 5000, timeout_ms=30000)
        assert "too large" not in cluster[0].said(), cluster[0].said()
        cluster.check_identical()
    finally:
        network.close()


def test_a_socket_that_is_closed_under_a_replica_is_read_on(context):
    context.need_root()
    if not shutil.which("ss"):
        raise Skip("needs ss")
    cluster = context.cluster().start()
    for r in cluster:
        result = subprocess.run(["ss", "-H", "-K", "-u", "-a", "sport", "=", f":{cluster.port + r.number}"],
                                capture_output=True, text=True)
        if not result.stdout:
            raise Skip("this kernel closes no sockets of others")
        wait_until(f"replica {r.number} says so", lambda r=r: "the replicas' socket had an error" in r.said())
    for r in cluster:
        r.call("Submit", text=f"through {r.number}", timeout_ms=30000)
    cluster.check_identical()


def test_broken_messages_close_the_connection(context):
    cluster = context.cluster(f=0).start()
    for data in (b"{\0", b"[]\0", b"\0", b"nonsense\0", b'{"method":1}\0', b'{"method":"a.b","method":"a.b"}\0',
                 b'{"method":"org.mpaxos.Replica.Status","upgrade":true}\0', b'{"method":"org.mpaxos.Replica.Status","x":1}\0',
                 b'{"method":"org.mpaxos.Replica.Submit","parameters":{"text":"\xff\xfe"}}\0',
                 b'{"method":"org.mpaxos.Replica.Submit","parameters":{"text":"a\\u0000b"}}\0',
                 b'{"method":"org.mpaxos.Replica.Submit","parameters":' + b"[" * 5000 + b"]" * 5000 + b"}\0",
                 b'{"method":"org.mpaxos.Replica.Status"} {}\0'):
        closes(context, cluster, data)
    cluster.ctl("send", "still here")
    assert len(cluster[0].read_all()) == 1


def test_bad_parameters_are_named(context):
    cluster = context.cluster(f=0).start()
    with cluster[0].connect() as c:
        for method, parameters, name in (
                ("Submit", {"text": ""}, "text"), ("Submit", {}, "text"), ("Submit", {"text": 5}, "text"),
                ("Submit", {"text": "x", "key": ""}, "key"), ("Submit", {"text": "x", "key": "k" * 65}, "key"),
                ("Submit", {"text": "x", "author": "a" * 65}, "author"), ("Submit", {"text": "x", "since": -1}, "since"),
                ("Submit", {"text": "x", "timeout_ms": 1.5}, "timeout_ms"), ("Submit", {"text": "x", "colour": 1}, "colour"),
                ("Read", {"count": -5}, "count"), ("SetDrop", {"rate": 101}, "rate"), ("SetDrop", {"rate": 5, "direction": "up"}, "direction"),
                ("SkipSlots", {"slots": ["x"]}, "slots")):
            c.send(method, parameters)
            reply = c.receive_raw()
            assert reply["error"] == "org.varlink.service.InvalidParameter", (method, parameters, reply)
            assert reply["parameters"]["parameter"].startswith(name), (method, parameters, reply)
        for method in ("AddMember", "RemoveMember", "ReplaceMember"):
            c.send(method, {"id": 1, "address": "x"})
            assert c.receive_raw()["error"] == "org.varlink.service.MethodNotImplemented"
        c.send("org.mpaxos.Replica.Nothing")
        assert c.receive_raw()["error"] == "org.varlink.service.MethodNotFound"
        c.send("org.nobody.Here.Nothing")
        assert c.receive_raw()["error"] == "org.varlink.service.InterfaceNotFound"


def test_100_mib_without_end(context):
    cluster = context.cluster(f=0).start()
    pid = cluster[0].status()["pid"]
    before = memory_bytes(pid)
    with cluster[0].connect() as c:
        sent = 0
        try:
            while sent < 100 << 20:
                c.send_bytes(b"x" * (1 << 20))
                sent += 1 << 20
        except (ConnectionError, BrokenPipeError):
            pass
    assert sent < 100 << 20, "the daemon read it all"
    assert memory_bytes(pid) < before + (36 << 20), "it grew"  # AddressSanitizer keeps what was freed


def test_client_that_never_reads(context):
    cluster = context.cluster(f=0).start()
    with cluster[0].connect() as c:
        for i in range(400):
            c.send("Submit", {"text": "y" * 16000})
            c.receive()
    pid = cluster[0].status()["pid"]
    before = memory_bytes(pid)
    lazy = []
    for _ in range(20):
        c = cluster[0].connect()
        c.socket.setblocking(False)
        call = json.dumps({"method": "org.mpaxos.Replica.Read", "parameters": {}}).encode() + b"\0"
        try:
            for _ in range(200):
                c.socket.send(call)
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            pass
        lazy.append(c)
    streams = []
    for _ in range(20):
        c = cluster[0].connect()
        c.send("Read", {"follow": True}, more=True)
        streams.append(c)
    time.sleep(1)
    cluster.ctl("send", "still here")
    assert memory_bytes(pid) < before + (150 << 20), f"grew by {(memory_bytes(pid) - before) >> 20} MiB"
    for c in lazy + streams:
        c.close()


def test_2000_connections(context):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    cluster = context.cluster(f=0).start()
    idle = [cluster[0].connect() for _ in range(2000)]
    assert cluster[0].call("Submit", text="through the crowd")["slot"]
    for c in idle[::100]:
        c.send("Status")
    for c in idle[::100]:
        assert c.receive()["quorum"]
    for c in idle:
        c.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    cluster.ctl("send", "after the crowd")


def test_bytes_one_by_one_and_pipelined(context):
    cluster = context.cluster(f=0).start()
    with cluster[0].connect() as c:
        for byte in b'{"method":"org.mpaxos.Replica.Position"}\0':
            c.send_bytes(bytes([byte]))
        assert c.receive()["slot"] >= 0
        call = b""
        for i in range(500):
            call += json.dumps({"method": "org.mpaxos.Replica.Submit", "parameters": {"text": f"m{i}"}}).encode() + b"\0"
        c.send_bytes(call)
        slots = [c.receive()["slot"] for _ in range(500)]
        assert slots == sorted(slots)
        c.send("Submit", {"text": "quiet"}, oneway=True)
        c.send("Position", {"linearizable": True})
        assert c.receive()["slot"] > slots[-1]
    assert cluster[0].read_all()[-1]["text"] == "quiet"
    # Who wants no answer does not stay for it, so the daemon sees the call and its client's end at once.
    for unread in range(2):
        with cluster[0].connect() as c:
            for _ in range(unread):
                c.send("Status")
            cluster[0].signal(signal.SIGSTOP)
            c.send("Submit", {"text": f"left {unread}"}, oneway=True)
        cluster[0].signal(signal.SIGCONT)
        wait_until("the message of a client that left is in the log",
                   lambda text=f"left {unread}": cluster[0].read_all()[-1]["text"] == text, 10)


def test_follow_streams_new_messages(context):
    cluster = context.cluster().start()
    cluster.ctl("send", "one")
    follower = cluster.followers()[0]
    with follower.connect() as c:
        c.send("Read", {"follow": True}, more=True)
        seen = []
        while len(seen) < 1:
            seen += c.receive_raw()["parameters"]["messages"]
        cluster.ctl("send", "two")
        cluster.ctl("send", "three")
        while len(seen) < 3:
            reply = c.receive_raw()
            assert reply["continues"]
            seen += reply["parameters"]["messages"]
    assert [m["text"] for m in seen] == ["one", "two", "three"]
    with follower.connect() as c:
        c.send("Read", {"tail": 2})
        assert [m["text"] for m in c.receive()["messages"]] == ["two", "three"]


def test_introspection(context):
    cluster = context.cluster(f=0).start()
    with cluster[0].connect() as c:
        info = c.call("org.varlink.service.GetInfo")
        assert info["interfaces"] == ["org.varlink.service", "org.mpaxos.Replica"] or set(info["interfaces"]) == {
            "org.varlink.service", "org.mpaxos.Replica"}
        text = c.call("org.varlink.service.GetInterfaceDescription", interface="org.mpaxos.Replica")["description"]
        assert "method Submit(" in text and text.isascii()
