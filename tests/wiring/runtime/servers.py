"""Real servers of others that models come from, each a process on this machine; built or installed by `hack/cluster/provide`."""

from __future__ import annotations

import base64
import functools
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.wiring.runtime.pods import CHANGE_SECONDS, START_SECONDS, call, eventually, free_ports

ROOT = Path(__file__).parents[3]
BUILD_SECONDS = 1_200.0


@functools.cache
def provided(name: str) -> Path:
    """Return the path of a command, or the folder of a server's commands; built first where this machine lacks it."""
    done = subprocess.run(
        [ROOT / "hack" / "cluster" / "provide", "build", name],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=BUILD_SECONDS,
    )
    return Path(done.stdout.strip())


class Server:
    """One process that listens on a port of its own, and is ended by its id."""

    path = "/"
    """Answers once the server is up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (self.port,) = free_ports(1)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Return what its process has in its environment besides PATH."""
        return {}

    def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                env={"PATH": os.environ["PATH"], "HOME": str(self.folder), **self.environment()},
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

        def answers() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "server.log").read_text()[-2_000:]
            return call(self.port, "GET", self.path).status < 500

        eventually(f"{self.command()[0]} answers", answers, 2 * START_SECONDS)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(CHANGE_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(CHANGE_SECONDS)
            self.process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class S3(Server):
    """versitygw, with one bucket, `models`."""

    access, secret = "leadline", "leadline-secret"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.bucket = folder / "data" / "models"
        self.bucket.mkdir(parents=True)

    def command(self) -> list[str]:
        return [
            str(provided("versitygw")),
            *("--access", self.access, "--secret", self.secret, "--port", f"127.0.0.1:{self.port}"),
            *("posix", str(self.bucket.parent)),
        ]

    def credentials(self, **more: str) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": self.access,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ALLOW_HTTP": "true",
            **more,
        }


class Gcs(Server):
    """fake-gcs-server, over a folder of buckets; it asks nobody who calls."""

    path = "/storage/v1/b"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.bucket = folder / "data" / "models"
        self.bucket.mkdir(parents=True)

    def command(self) -> list[str]:
        return [
            str(provided("fake-gcs-server")),
            *("-scheme", "http", "-host", "127.0.0.1", "-port", str(self.port)),
            *("-backend", "memory", "-data", str(self.bucket.parent), "-public-host", f"127.0.0.1:{self.port}"),
        ]

    def credentials(self, **more: str) -> dict[str, str]:
        return {"GOOGLE_BASE_URL": self.url, "GOOGLE_ALLOW_HTTP": "true", "GOOGLE_SKIP_SIGNATURE": "true", **more}


class Azure(Server):
    """Azurite, with one account, which checks signatures."""

    account = "leadline"
    key = base64.b64encode(b"a key of 64 bytes, as Azure gives its accounts, for a test only!").decode()

    def command(self) -> list[str]:
        return [
            str(provided("azurite") / "azurite-blob"),
            *("--location", str(self.folder), "--blobHost", "127.0.0.1", "--blobPort", str(self.port)),
            *("--silent", "--skipApiVersionCheck", "--disableTelemetry"),
        ]

    def environment(self) -> dict[str, str]:
        return {"AZURITE_ACCOUNTS": f"{self.account}:{self.key}"}

    def credentials(self, **more: str) -> dict[str, str]:
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": self.account,
            "AZURE_STORAGE_ACCOUNT_KEY": self.key,
            "AZURE_STORAGE_ENDPOINT": f"{self.url}/{self.account}",
            "AZURE_ALLOW_HTTP": "true",
            **more,
        }


class Registry(Server):
    """CNCF distribution; with `users` it asks for their passwords, with `token` it sends its clients to a token server."""

    path = "/v2/"

    def __init__(self, folder: Path, *, auth: str = "") -> None:
        super().__init__(folder)
        self.auth = auth
        """YAML of the registry's own configuration; empty: nobody is asked."""

    def command(self) -> list[str]:
        config = self.folder / "config.yml"
        config.write_text(
            "version: 0.1\nlog: {level: warn}\n"
            f"storage: {{filesystem: {{rootdirectory: {self.folder / 'data'}}}, delete: {{enabled: true}}}}\n"
            f"http: {{addr: '127.0.0.1:{self.port}'}}\n{self.auth}"
        )
        return [str(provided("registry")), "serve", str(config)]

    def push(self, reference: str, folder: Path, *what: str, user: str = "") -> str:
        """Push files with ORAS; return the manifest's digest."""
        login = ["--username", user.partition(":")[0], "--password", user.partition(":")[2]] if user else []
        done = subprocess.run(
            [
                str(provided("oras")),
                "push",
                "--plain-http",
                "--no-tty",
                "--format",
                "go-template={{.digest}}",
                *login,
                f"127.0.0.1:{self.port}/{reference}",
                *what,
            ],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder)},
            stdout=subprocess.PIPE,
            check=True,
            text=True,
            timeout=CHANGE_SECONDS,
        )
        return done.stdout.strip()


class Mlflow(Server):
    """An MLflow server over SQLite; its artifacts go through itself, or straight to a bucket."""

    path = "/health"
    quiet: Mapping[str, str] = {"MLFLOW_DISABLE_TELEMETRY": "true"}
    """What keeps it from calling home."""

    def __init__(self, folder: Path, *, options: tuple[str, ...] = (), more: dict[str, str] | None = None) -> None:
        super().__init__(folder)
        self.options = options
        self.more = more or {}

    def command(self) -> list[str]:
        return [
            str(provided("mlflow") / "mlflow"),
            *("server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"),
            *self.options,
        ]

    def environment(self) -> dict[str, str]:
        tool = provided("mlflow")
        return {"PATH": f"{tool}{os.pathsep}{os.environ['PATH']}", **self.quiet, **self.more}

    def run(self, code: str, *arguments: str, **more: str) -> str:
        """Run a script with MLflow's own client."""
        done = subprocess.run(
            [str(provided("mlflow") / "python"), "-c", code, *arguments],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder),
                "MLFLOW_TRACKING_URI": self.url,
                **self.quiet,
                **more,
            },
            cwd=self.folder,
            stdout=subprocess.PIPE,
            check=True,
            text=True,
            timeout=6 * CHANGE_SECONDS,
        )
        return done.stdout.strip()
