"""How long the machine held up what is ready to run: a limit of time holds on an idle machine, and grows by that on a
busy one."""
import subprocess
import sys

# A process of its own, which the interpreter's lock holds up never. It sleeps, and adds up how much too late it wakes.
SLEEPER = """
import select, sys, time
late, nap = 0.0, 0.005
while not select.select([sys.stdin], [], [], 0)[0]:
    began = time.monotonic()
    time.sleep(nap)
    late += max(0.0, time.monotonic() - began - 2 * nap)
print(late)
"""


class Stalls:
    """`with Stalls() as s: ...`, and afterwards s.seconds."""

    def __enter__(self):
        self.process = subprocess.Popen([sys.executable, "-c", SLEEPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        return self

    def __exit__(self, *_):
        self.seconds = float(self.process.communicate("\n")[0])
