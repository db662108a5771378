"""Breaks a rule of the sources, and runs what should notice: see tests/sim/mutants."""

import os
import re
import shlex
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TEST_TIMEOUT_S = 120
SIM = "tests/sim/sim"


def changed(source, text, replacement):
    """The changed file; None: its text does not stand there exactly once."""
    with open(source, encoding="utf-8") as f:
        before = f.read()
    texts, replacements = ([x] if isinstance(x, str) else x for x in (text, replacement))
    if any(before.count(t) != 1 for t in texts):
        return None
    after = before
    for t, r in zip(texts, replacements):
        after = after.replace(t, r)
    return after


def stale(mutants):
    """A line for each mutant that cannot be made, or whose name another has."""
    places = {}
    for path in "tests/sim/mutants", "tests/sim/protections.py":
        with open(path, encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                for name in re.findall(r'^ +\("([^"]+)", ', line):
                    places[name] = f"{path}:{number}"
    seen = set()
    for name, _, path, text, replacement, *_ in mutants:
        source, place = "daemon/" + path, places.get(name, "tests/sim/protections.py:1")  # some are made by a loop
        if not os.path.exists(source) or changed(source, text, replacement) is None:
            yield f"{place}: {name}: its text does not stand in {source} exactly once: write it anew"
        if name in seen:
            yield f"{place}: {name}: another one has that name too"
        seen.add(name)


class Builder:
    """Compiles a changed file, and links it before the archives of a build, which then leave out what it defines."""

    def __init__(self, work, build):
        self.work = work
        self.build = build
        self.cc = shlex.split(os.environ.get("CC", "gcc"))
        uv = subprocess.run(["pkg-config", "--cflags", "libuv"], capture_output=True, text=True, check=False).stdout
        self.flags = ["-std=gnu11", "-D_GNU_SOURCE", "-O1", "-g", "-w", "-pthread", f"-I{ROOT}/daemon", f"-I{ROOT}",
                      *shlex.split(uv)]

    def compile(self, name, source, text, replacement):
        """The object of the changed file; None: its text does not stand there exactly once."""
        after = changed(source, text, replacement)
        if after is None:
            return None
        path = os.path.join(self.work, f"mutant-{name}.c")
        with open(path, "w", encoding="utf-8") as f:
            f.write(after)
        subprocess.run([*self.cc, *self.flags, "-c", path, "-o", path + ".o"], check=True)
        return path + ".o"

    def link(self, name, program, objects):
        """The program as make links it, with these objects besides."""
        said = subprocess.run(["make", "-C", self.build, "-n", "V=1", "-W", program + ".o", program],
                              capture_output=True, text=True, check=False).stdout
        path = os.path.join(self.work, f"{name}-{os.path.basename(program)}")
        lines = [line for line in said.splitlines() if f" -o {program} " in line]
        line = lines[-1].replace(f" -o {program} ", f" -o {path} {' '.join(objects)} ")
        subprocess.run(line, shell=True, stdout=subprocess.DEVNULL, check=True, cwd=self.build)
        return path


def hunt(program, budget, scenario):
    """The seeds it took, or None, and what was said."""
    done = subprocess.run([program, "--from", "1", "--count", str(budget), "--jobs", "1", "--quiet",
                           *(["--scenario", scenario] if scenario else [])],
                          capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None, ""
    seeds = [int(s) for s in re.findall(r"^seed (\d+) (?:failed|hangs|crashes)", done.stderr, re.M)]
    said = re.findall(r"^FAILED[^:]*: (.*)$", done.stderr, re.M)
    return (min(seeds) if seeds else 1), (said[0] if said else "it hangs, or crashes")


def test(program, path, build):
    """None where the test program passes; else what failed first."""
    environment = dict(os.environ, MPAXOS_SOURCE=ROOT, MPAXOS_BUILD=build)
    try:
        done = subprocess.run([path], capture_output=True, text=True, check=False, cwd=build, env=environment,
                              errors="replace", timeout=TEST_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"{program}: hangs"
    failed = re.findall(r"\[  FAILED  \] (\w+)", done.stdout + done.stderr)
    if done.returncode == 0:
        return None
    return f"{program}: {failed[0] if failed else 'crashes'}"
