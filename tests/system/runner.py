"""Runs tests, each in a process and a directory of its own, several at once, and says what came of each."""
import argparse
import importlib
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time
import traceback

from harness import Skip

VERDICTS = ["ok", "FAIL", "SKIP"]


def parser(description):
    """The options that every runner has. NAME is a file's or a test's name, or a part of one."""
    p = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-j", "--jobs", type=int, default=1)
    p.add_argument("--keep", action="store_true")
    p.add_argument("--list", action="store_true")
    p.add_argument("names", nargs="*", metavar="NAME")
    return p


def find_tests(folder, names):
    tests = []
    for path in sorted(folder.glob("test_*.py")):
        module = importlib.import_module(path.stem)
        for name, function in vars(module).items():
            full = f"{path.stem}.{name}"
            if name.startswith("test_") and callable(function) and (not names or any(n in full for n in names)):
                tests.append((full, function))
    return tests


def run_one(name, function, make_context, keep):
    base = pathlib.Path(tempfile.mkdtemp(prefix="mpaxos-test-"))
    context = make_context(base)
    began = time.monotonic()
    verdict, why, said = "ok", "", ""
    try:
        function(context)
    except Skip as skip:
        verdict, why = "SKIP", f": {skip}"
    except Exception:  # a test may fail in any way
        verdict, why, said = "FAIL", "\n" + traceback.format_exc(), context.describe()
    finally:
        context.close()
    reports = context.reports()
    if reports:
        verdict, why = "FAIL", f"{why}\n{reports}"
    print("\n".join([f"{verdict:4} {name} ({time.monotonic() - began:.1f} s){why}", *context.measured]))
    if said:
        print(said)
    if verdict == "FAIL" and keep:
        print(f"     kept: {base}")
    else:
        shutil.rmtree(base, ignore_errors=True)
    return verdict


def start(name, function, make_context, keep):
    """Runs a test in a child, which ends with the verdict's number. Answers the child and what it says."""
    output = tempfile.TemporaryFile("w+", errors="replace")
    child = os.fork()
    if child == 0:
        status = len(VERDICTS)
        try:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            status = VERDICTS.index(run_one(name, function, make_context, keep))
            sys.stdout.flush()
        finally:
            os._exit(status)
    return child, output


def run_some(tests, make_context, jobs, keep):
    """Answers (name, verdict) of each."""
    waiting, running, verdicts = list(tests), {}, []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                name, function = waiting.pop(0)
                child, output = start(name, function, make_context, keep)
                running[child] = name, output
            child, status = os.wait()
            name, output = running.pop(child)
            output.seek(0)
            print(output.read(), end="", flush=True)
            code = os.waitstatus_to_exitcode(status)
            if code not in range(len(VERDICTS)):
                print(f"FAIL {name}: its process ended with {code}", flush=True)
                code = VERDICTS.index("FAIL")
            verdicts.append((name, VERDICTS[code]))
    finally:
        for child in running:
            os.kill(child, signal.SIGTERM)
            os.waitpid(child, 0)
    return verdicts


def run(tests, make_context, options):
    """`make_context(directory)` makes what a test gets. Answers the exit status."""
    os.umask(0o022)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    alone = [test for test in tests if getattr(test[1], "alone", False)]
    verdicts = run_some([test for test in tests if test not in alone], make_context, options.jobs, options.keep)
    verdicts += run_some(alone, make_context, 1, options.keep)
    for name, verdict in verdicts:
        if verdict == "FAIL":
            print(f"FAILED: {name}")
    passed, failed, skipped = ([v for _, v in verdicts].count(verdict) for verdict in VERDICTS)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0
