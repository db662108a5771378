"""What the packages hold: the RPM what the Debian one does, and lintian finds nothing."""
import filecmp
import gzip
import os
import shutil
import subprocess

from harness import Skip

# Where distributions differ: Debian's policy for documents and for zsh, its merged /usr seen from the other side.
RENAMED = {"/lib/": "/usr/lib/", "/usr/share/zsh/vendor-completions/": "/usr/share/zsh/site-functions/",
           "/usr/share/doc/mpaxos/examples/": "/usr/share/doc/mpaxos/"}
DEBIAN_ONLY = {"/usr/share/doc/mpaxos/changelog.Debian", "/usr/share/doc/mpaxos/copyright", "/usr/share/lintian/overrides/mpaxos"}
RPM_ONLY = {"/usr/share/doc/mpaxos/LICENSE"}
BUILD_IDS = "/usr/lib/.build-id/"


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
    package = context.packages.rpm()
    subprocess.run(["rpm2archive", package], check=True)
    subprocess.run(["tar", "-C", rpm, "-xzf", f"{package}.tgz"], check=True)
    ours, theirs = files(deb), files(rpm)
    only_deb = ours.keys() - theirs.keys() - DEBIAN_ONLY
    only_rpm = {x for x in theirs.keys() - ours.keys() - RPM_ONLY if not x.startswith(BUILD_IDS)}
    assert not only_deb and not only_rpm, f"only in the Debian package: {sorted(only_deb)}; only in the RPM: {sorted(only_rpm)}"
    for name in sorted(ours.keys() & theirs.keys()):
        a, b = ours[name], theirs[name]
        assert os.access(a, os.X_OK) == os.access(b, os.X_OK), f"{name}: executable in one of them only"
        if is_program(a):  # built twice, with each one's flags
            assert is_program(b), name
            continue
        assert filecmp.cmp(a, b, shallow=False) or content(a) == content(b), f"{name} differs"
    context.measure(f"{len(ours.keys() & theirs.keys())} files in both")


def test_lintian(context):
    """Every finding at its most pedantic level is put right, or overridden for a reason that stands beside it."""
    if not shutil.which("lintian"):
        raise Skip("no lintian (Debian: apt-get install lintian)")
    changes = next(context.deb.parent.glob("mpaxos_*.changes"), None)
    if changes is None:
        raise Skip("no .changes beside the package")
    result = subprocess.run(["lintian", "--allow-root", "--pedantic", "--display-info", "--fail-on", "error,warning,info,pedantic",
                             changes], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
