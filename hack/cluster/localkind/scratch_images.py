"""Images of one static binary each: the pod sandbox, DNS, and the S3 server that demo and tests use as model store."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from localkind import archives, binaries, keys, layout, talk


@dataclass(frozen=True, slots=True)
class Archive:
    """An image as a file that a cluster can load."""

    name: str
    path: Path


def archive_path(places: layout.Layout, name: str) -> Path:
    """Return where the archive of an image named `localhost/NAME:KEY` is kept."""
    return places.images / (name.rpartition("/")[2].replace(":", "-") + ".tar")


def image(places: layout.Layout, tool: str) -> Archive:
    """Return the image of a tool; build binary and archive where the cache lacks them."""
    path = binaries.binary(places, tool)
    # The binary's folder is named by its own key; this file's bytes decide what else is in the image.
    made_of = [("binary", path.parent.name.encode()), ("writer", Path(archives.__file__).read_bytes())]
    name = f"localhost/leadline-{_NAMES[tool]}:{keys.content_key(made_of)}"
    found = Archive(name, archive_path(places, name))
    if not found.path.exists():
        talk.say(f"writing image {name}")
        archives.write(archives.ScratchImage(name, {tool: path}, [f"/{tool}"]), found.path)
    return found


_NAMES: Final = {"pause": "pause", "coredns": "coredns", "versitygw": "s3"}

Builder = Callable[[layout.Layout], Archive]


def s3(places: layout.Layout) -> Archive:
    """Return the S3 server's image."""
    return image(places, "versitygw")
