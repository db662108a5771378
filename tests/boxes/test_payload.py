"""The RPM package holds what the Debian one does."""
import filecmp
import gzip
import os
import subprocess

# Where distributions differ: Debian's policy for documents and for zsh, its merged /usr seen from the other side.
RENAMED = {"/lib/": "/usr/lib/", "/usr/share/zsh/vendor-completions/": "/usr/share/zsh/site-functions/",
           "/usr/share/doc/mpaxos/examples/": "/usr/share/doc/mpaxos/"}
DEBIAN_ONLY = {"/usr/share/doc/mpaxos/changelog.Debian.gz", "/usr/share/doc/mpaxos/copyright"}
LICENSE = "/usr/share/doc/mpaxos/LICENSE"


def files(top):
    """The files of a payload by their common name: links by where they lead."""
    found = {}
    for place, _, names in os.walk(top):
        for name in names:
            path = os.path.join(place, name)
            common = path[len(str(top)):]
            for debian, other in RENAMED.items():
                if common.startswith(debian):
                    common = other + common[len(debian):]
            if common.startswith("/usr/share/doc/") or common.startswith("/usr/share/man/"):
                common = common.removesuffix(".gz")
            found[common] = path
    return found


def content(path):
    if path.endswith(".gz"):
        with gzip.open(path) as f:
            return f.read()
    with open(path, "rb") as f:
        return f.read()


def is_program(path):
    with open(path, "rb") as f:
        return f.read(4) == b"\x7fELF"


def test_rpm_has_the_same_payload(context):
    deb, rpm = context.dir / "deb", context.dir / "rpm"
    deb.mkdir()
    rpm.mkdir()
    subprocess.run(["dpkg-deb", "-x", context.deb, deb], check=True)
    with subprocess.Popen(["rpm2cpio", context.packages.rpm()], stdout=subprocess.PIPE) as archive:
        subprocess.run(["cpio", "-idm", "--quiet"], cwd=rpm, stdin=archive.stdout, check=True)
    ours, theirs = files(deb), files(rpm)
    only_deb = {x for x in ours if x not in theirs and x + ".gz" not in DEBIAN_ONLY and x not in DEBIAN_ONLY}
    only_rpm = {x for x in theirs if x not in ours} - {LICENSE}
    assert not only_deb and not only_rpm, f"only in the Debian package: {sorted(only_deb)}; only in the RPM: {sorted(only_rpm)}"
    for name in sorted(ours.keys() & theirs.keys()):
        a, b = ours[name], theirs[name]
        assert os.access(a, os.X_OK) == os.access(b, os.X_OK), f"{name}: executable in one of them only"
        if is_program(a):  # built twice, with each one's flags
            assert is_program(b), name
            continue
        assert filecmp.cmp(a, b, shallow=False) or content(a) == content(b), f"{name} differs"
    context.measure(f"{len(ours.keys() & theirs.keys())} files in both")
