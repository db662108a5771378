"""The packages under test, each built when a test first asks for it."""
import pathlib
import re
import shutil
import subprocess
import tarfile
import tempfile

from harness import Skip


class Packages:
    def __init__(self, tree, deb=None):
        self.tree = tree
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="mpaxos-packages-"))
        self.given = deb.resolve() if deb else None
        self.built = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.dir, ignore_errors=True)

    def _build(self, what, program, kind, *tarball):
        """Answers the directory that the packages are in. What failed once is not tried again."""
        if what not in self.built:
            deps = subprocess.run([self.tree / "packaging" / "deps", "package"], capture_output=True, text=True)
            if deps.returncode:
                raise Skip(f"what packages are built with cannot be had: {deps.stderr.strip()}")
            print(f"     building: {what}", flush=True)
            out = self.dir / what.replace(" ", "-")
            # The unit tests have a place of their own.
            result = subprocess.run(["env", "DEB_BUILD_OPTIONS=nocheck", program, kind, out, *tarball], capture_output=True, text=True)
            self.built[what] = (out, result)
        out, result = self.built[what]
        assert result.returncode == 0, f"{what}: {program.name} {kind} failed:\n{result.stdout[-2000:]}{result.stderr[-4000:]}"
        return out

    def _debian(self):
        return self._build("the Debian package", self.tree / "packaging" / "package", "deb")

    def deb(self):
        """The package of this tree, or what --deb named."""
        return self.given or self._find(self._debian(), "mpaxos_*.deb")

    def tarball(self):
        """What `make dist` made."""
        near = sorted((self.given.parent if self.given else self._debian()).glob("mpaxos_*.orig.tar.gz"))
        return near[-1] if near else self._find(self._debian(), "mpaxos_*.orig.tar.gz")

    def newer_deb(self):
        """The same sources as the next version, built anew."""
        place = self.dir / "newer"
        if not place.exists():
            place.mkdir()
            with tarfile.open(self.tarball()) as archive:
                archive.extractall(place)
            old = next(place.iterdir())
            version = old.name.removeprefix("mpaxos-")
            newer = version + ".1"
            new = old.rename(place / f"mpaxos-{newer}")
            self._replace(new / "configure.ac", rf"(AC_INIT\(\[mpaxos\], *\[){re.escape(version)}\]", rf"\g<1>{newer}]")
            self._replace(new / "packaging/debian/changelog", re.escape(version), newer)
            self._replace(new / "units/mpaxosd@.service.in", r"Description=.*", r"\g<0> of the next version")
            with tarfile.open(place / f"mpaxos-{newer}.tar.gz", "w:gz") as archive:
                archive.add(new, new.name)
        new = next(p for p in place.iterdir() if p.is_dir())
        out = self._build("the next version", new / "packaging" / "package", "deb", f"{new}.tar.gz")
        return self._find(out, "mpaxos_*.deb")

    def rpm(self):
        tarball = self.dir / self.tarball().name.replace("_", "-").replace(".orig", "")
        shutil.copy(self.tarball(), tarball)
        out = self._build("the RPM package", self.tree / "packaging" / "package", "rpm", tarball)
        return next(p for p in sorted(out.glob("mpaxos-*.rpm")) if not p.name.endswith(".src.rpm"))

    @staticmethod
    def _replace(file, pattern, replacement):
        text, count = re.subn(pattern, replacement, file.read_text(), count=1)
        assert count == 1, f"{file}: {pattern} does not stand there"
        file.write_text(text)

    @staticmethod
    def _find(directory, pattern):
        found = sorted(directory.glob(pattern))
        assert found, f"{directory}: no {pattern}"
        return found[-1]
