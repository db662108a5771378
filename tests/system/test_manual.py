"""The manual pages against the programs: metrics, fields of the status, keys of the configuration, options, exit statuses."""
import json
import pathlib
import re
import subprocess

MAN = pathlib.Path(__file__).resolve().parents[2] / "man"


def section(page, *titles):
    """The text of sections, .Sh or .Ss, of a page."""
    text = (MAN / page).read_text()
    found = re.findall(r"^\.S[hs] (.*)\n((?:(?!\.S[hs] ).*\n)*)", text, re.M)
    return "".join(body for title, body in found if title in titles)


def items(text, macro):
    """What the .It lines of a macro name: `.It Cm a , b Pq c` names a and b."""
    lines = re.findall(rf"^\.It {macro} (.*)$", text, re.M)
    return {word for line in lines for word in re.split(r" (?:Pq|Ar)\b", line)[0].replace(",", " ").split()}


def compare(what, page, documented, real):
    assert documented, f"{page}: nothing found about {what}"
    assert documented == real, (f"{page}: {what}: does not document {sorted(real - documented)}, "
                                f"documents what does not exist: {sorted(documented - real)}")


def test_metrics(context):
    cluster = context.cluster().start()
    printed = cluster.ctl("-i", 0, "metrics").stdout
    text = section("mpaxos_metrics.7", "DESCRIPTION")
    compare("metrics", "mpaxos_metrics.7", items(text, "Cm"),
            set(re.findall(r"^# TYPE (\S+)", printed, re.M)))
    types = set(re.findall(r"^# TYPE (\S+ \S+)", printed, re.M))
    documented = {" ".join(x) for x in re.findall(r"^\.It Cm (\S+) Pq (\S+)$", text, re.M)}
    compare("types of metrics", "mpaxos_metrics.7", documented, types)


def test_status_fields(context):
    cluster = context.cluster().start()
    with cluster[0].connect() as connection:
        answer = connection.call("org.varlink.service.GetInterfaceDescription", interface="org.mpaxos.Replica")
    interface = answer["description"]
    real = set()
    for declaration in ("method Status", "type Peer", "type Drop", "type Ballot"):
        parts = re.findall(rf"^{declaration} *(?:\(\) -> )?\(\n((?:  .*\n)*)\)", interface, re.M)
        assert len(parts) == 1, declaration
        real |= set(re.findall(r"^  (\w+):", parts[0], re.M))
    assert set(cluster[0].status()) <= real, "the daemon answers what the interface does not define"
    text = section("mpaxosctl.1", "STATUS FIELDS")
    # Those of Peer, Drop and Ballot stand inside of the texts.
    lines = re.findall(r"^\.(?:It )?Cm (.*)$", text, re.M)
    documented = {word for line in lines for word in re.findall(r"\w+", line)}
    compare("fields of the status", "mpaxosctl.1", documented, real)


def test_configuration_keys(context):
    cluster = context.cluster()
    said = subprocess.run([context.mpaxosctl, "--json", "config", "check", cluster.config_path], capture_output=True,
                          text=True, check=True).stdout
    used = json.loads(said)
    real = set(used) | {key for replica in used["replica_list"] for key in replica}
    compare("keys", "replica_config.json.5",
            items(section("replica_config.json.5", "Keys that must be there", "Optional keys"), "Cm"), real)


def test_daemon_options(context):
    said = subprocess.run([context.mpaxosd, "--help"], capture_output=True, text=True, check=True).stdout
    real = set(re.findall(r"^ +(?:-\w, )?(-\S+)", said, re.M))
    lines = re.findall(r"^\.It Fl (.*)$", section("mpaxosd.8", "DESCRIPTION"), re.M)
    documented = {"-" + line.split(" Ar ")[0].split("Fl ")[-1] for line in lines}
    compare("options", "mpaxosd.8", documented, real)


def test_exit_statuses(context):
    for program, page in ((context.mpaxosd, "mpaxosd.8"), (context.mpaxosctl, "mpaxosctl.1")):
        said = subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
        line = re.search(r"^Exit status: ((?:.|\n)*?)\.(?: |\n)", said, re.M).group(1)
        real = set(re.findall(r"(?:^|[ \n])(\d+) ", line))
        documented = set(re.findall(r"^\.It (\d+)$", section(page, "EXIT STATUS"), re.M))
        compare("exit statuses", page, documented, real)
