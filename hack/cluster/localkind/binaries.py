"""Build the commands that the cluster, tests and demo need from Go modules; each is cached by its content key.

A build from nothing takes minutes on two cores, so it says what it does; the result is used until its sources,
its pinned versions (go.mod, go.sum), its flags or the Go version change.
"""

import os
import platform
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from localkind import errors, keys, layout, locking, talk, toolchain

_PROGRESS_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Tool:
    """One command to build, from the module in `go/NAME`."""

    name: str
    package: str = "."
    """What to build: the module's own main package, or the path of one that it pins."""
    module: str = ""
    """Module whose version is told to the linker."""
    version_variables: tuple[str, ...] = ()
    """Variables that get the version; `{major}` and `{minor}` in a value are filled in, too."""
    cold: str = "seconds"
    """How long a build from nothing takes on two cores, for people."""


TOOLS: Final = {
    tool.name: tool
    for tool in (
        Tool(
            "hyperkube",
            module="k8s.io/kubernetes",
            version_variables=(
                "k8s.io/component-base/version.gitVersion=v{version}",
                "k8s.io/component-base/version.gitMajor={major}",
                "k8s.io/component-base/version.gitMinor={minor}",
            ),
            cold="about 10 minutes",
        ),
        Tool("coredns", cold="under a minute after hyperkube"),
        Tool("pause"),
        Tool(
            "helm",
            package="helm.sh/helm/v4/cmd/helm",
            module="helm.sh/helm/v4",
            version_variables=("helm.sh/helm/v4/internal/version.version=v{version}",),
            cold="about a minute after hyperkube",
        ),
        Tool("h2spec", package="github.com/summerwind/h2spec/cmd/h2spec", cold="about 90 seconds"),
        Tool("kstatus"),
        Tool("versitygw", package="github.com/versity/versitygw/cmd/versitygw", cold="about 90 seconds"),
        Tool("registry", package="github.com/distribution/distribution/v3/cmd/registry", cold="about 2 minutes"),
        Tool("oras", package="oras.land/oras/cmd/oras", cold="about a minute"),
        Tool("fake-gcs-server", package="github.com/fsouza/fake-gcs-server", cold="about 2 minutes"),
    )
}


def module_version(go_mod: str, module: str) -> str:
    """Return the version without its `v` that a go.mod requires of a module.

    Raises:
        Broken: It requires none.
    """
    for line in go_mod.splitlines():
        words = line.removeprefix("require").split()
        if words[:1] == [module]:
            return words[1].removeprefix("v")
    raise errors.Broken(f"go.mod: expected a requirement of {module}, found none")


def linker_flags(tool: Tool, go_mod: str) -> str:
    """Return what the linker is told: no debug information, and the version where the tool has one."""
    flags = ["-s", "-w"]
    if tool.version_variables:
        version = module_version(go_mod, tool.module)
        major, minor, *_ = version.split(".")
        flags += [
            f"-X {variable.format(version=version, major=major, minor=minor)}" for variable in tool.version_variables
        ]
    return " ".join(flags)


def path_of(places: layout.Layout, name: str) -> Path:
    """Return where a command is, or will be once it is built.

    Raises:
        NeedsUser: There is no Go, whose version is part of the key.
    """
    tool, go = TOOLS[name], toolchain.find(places)
    source = layout.SOURCES / "go" / name
    flags = linker_flags(tool, (source / "go.mod").read_text())
    made_of = [*keys.files_of(source, ["."]), ("go", go.version.encode()), ("flags", flags.encode())]
    key = keys.content_key([*made_of, ("machine", platform.machine().encode())])
    return places.binaries / f"{name}-{key}" / name


def binary(places: layout.Layout, name: str) -> Path:
    """Return the path of a built command; build it first where the cache lacks it.

    Raises:
        NeedsUser: There is no Go.
        Broken: It does not build.
    """
    path = path_of(places, name)
    if not path.exists():
        with locking.held(places.binaries / f"{name}.lock"):
            if not path.exists():
                _build(TOOLS[name], toolchain.find(places), path)
    return path


def _build(tool: Tool, go: toolchain.Go, path: Path) -> None:
    source = layout.SOURCES / "go" / tool.name
    flags = linker_flags(tool, (source / "go.mod").read_text())
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    log_path = path.with_suffix(".log")
    talk.say(f"building {tool.name} with {go.version} ({tool.cold} on 2 cores from nothing; log: {log_path})")
    # -v names each package as it is compiled, which shows progress; -trimpath lets all modules share compiled packages.
    command = [str(go.command), "build", "-v", "-trimpath", "-buildvcs=false", "-ldflags", flags]
    environment = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOFLAGS": "-mod=readonly",
    }
    with log_path.open("w") as log:
        process = subprocess.Popen(
            ["nice", *command, "-o", str(unfinished), tool.package],
            cwd=source,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        done = threading.Event()
        reporter = threading.Thread(target=_report, args=(tool.name, log_path, done), daemon=True)
        reporter.start()
        try:
            status = process.wait()
        finally:
            done.set()
    if status != 0:
        last = log_path.read_text().strip().splitlines()[-1:] or ["no output"]
        raise errors.Broken(f"building {tool.name} ended with {last[0]!r}; all of it: {log_path}")
    unfinished.rename(path)
    talk.say(f"built {tool.name}: {path} ({path.stat().st_size / 1e6:.0f} MB)")


def _report(name: str, log: Path, done: threading.Event) -> None:
    start = time.monotonic()
    while not done.wait(_PROGRESS_SECONDS):
        packages = sum(1 for line in log.read_text().splitlines() if not line.startswith("go: "))
        talk.say(f"building {name}: {packages} packages after {time.monotonic() - start:.0f} s")
