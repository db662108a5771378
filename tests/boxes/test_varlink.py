"""Clients of others at the control socket: varlinkctl and python3-varlink of Debian 13."""
import json

from cluster import CONFIG, Installed, InstalledCluster
from harness import Skip, wait_until

IDL = "org.mpaxos.Replica"


def start_trixie(context):
    """A package built on this machine, on Debian 13."""
    box = context.boxes(1, suite="trixie")[0]
    box.install(context.deb)
    box.run("mpaxosctl", "config", "generate", 1, "-o", CONFIG)
    box.run("systemctl", "enable", "--now", "mpaxosd.target")
    cluster = InstalledCluster([Installed(box, i) for i in range(3)])
    cluster.wait_quorum()
    return box, cluster


def test_varlinkctl(context):
    box, cluster = start_trixie(context)
    address = "unix:/run/mpaxosd/0/control"

    def call(*arguments, **options):
        return box.run("varlinkctl", "--json=short", *arguments, **options)
    info = json.loads(call("info", address))
    assert info["product"] == "mpaxos" or "mpaxos" in info["product"], info
    assert info["version"] == cluster[0].status()["version"], info
    assert IDL in info["interfaces"] and "org.varlink.service" in info["interfaces"], info
    assert IDL in call("list-interfaces", address)
    idl = box.run("varlinkctl", "introspect", address, IDL)
    assert f"interface {IDL}" in idl and "method Submit(" in idl and "error Timeout" in idl, idl
    box.sh(f"varlinkctl introspect {address} {IDL} >/root/idl; varlinkctl validate-idl /root/idl")
    box.run("varlinkctl", "introspect", address, "org.varlink.service")
    slots = [json.loads(call("call", address, f"{IDL}.Submit", json.dumps({"text": text, "author": "varlinkctl"})))["slot"]
             for text in ("one", "two \u00fc \\ \"", "three")]
    assert slots == sorted(set(slots)), slots
    status = json.loads(call("call", address, f"{IDL}.Status", "{}"))
    assert status["quorum"] is True and status["quorum_size"] == 2, status
    stream = call("call", "--more", address, f"{IDL}.Read", '{"count":3}')
    messages = [m for reply in replies(stream) for m in reply["messages"]]
    assert [m["text"] for m in messages] == ["one", "two \u00fc \\ \"", "three"], stream
    # One that goes on until the client has enough.
    followed = box.execute("timeout", "2", "varlinkctl", "--json=short", "call", "--more", address, f"{IDL}.Read", '{"follow":true}')
    assert followed.returncode == 124 and "three" in followed.stdout, followed
    refused = box.execute("varlinkctl", "call", address, f"{IDL}.Submit", '{"text":""}')
    assert refused.returncode != 0 and "InvalidParameter" in refused.stdout + refused.stderr, refused
    missing = box.execute("varlinkctl", "call", address, f"{IDL}.Nothing", "{}")
    assert missing.returncode != 0 and "MethodNotFound" in missing.stdout + missing.stderr, missing
    box.run("varlinkctl", "call", "--oneway", address, f"{IDL}.Submit", '{"text":"unanswered"}')
    wait_until("a message that wants no answer stands in the log",
               lambda: "unanswered" in call("call", address, f"{IDL}.Read", '{"tail":1}'), 10)


def replies(text):
    """The JSON objects of a text, one after the other, with or without the separators of RFC 7464."""
    decoder, found, text = json.JSONDecoder(), [], text.replace("\x1e", " ").strip()
    while text:
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:].strip()
    return found


PYTHON = """
import json, varlink
with varlink.Client.new_with_address("unix:/run/mpaxosd/1/control") as client:
    info = client.get_interfaces() if hasattr(client, "get_interfaces") else None
    with client.open("org.mpaxos.Replica") as replica:
        first = replica.Submit(text="one", author="python")["slot"]
        assert replica.Submit(text="two", author="python", key="k")["duplicate"] is False
        assert replica.Submit(text="two", author="python", key="k")["duplicate"] is True
        try:
            replica.Submit(text="other", author="python", key="k")
            raise SystemExit("the same key for another text was accepted")
        except varlink.VarlinkError as e:
            assert e.error() == "org.mpaxos.Replica.KeyConflict", e.error()
        texts = [m["text"] for reply in replica.Read(_more=True) for m in reply["messages"]]
        assert texts == ["one", "two"], texts
        status = replica.Status()
        assert status["id"] == 1 and status["quorum"] is True, status
        assert isinstance(status["started_usec"], int), status
        for reply in replica.Read(_more=True, follow=True):
            if any(m["text"] == "two" for m in reply["messages"]):
                break
print("done")
"""


def test_python_varlink(context):
    box, _ = start_trixie(context)
    if box.execute("python3", "-c", "import varlink").returncode:
        raise Skip("no python3-varlink in the box")
    assert box.run("python3", "-c", PYTHON) == "done"
