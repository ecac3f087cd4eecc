"""Images of one static binary each: the pod sandbox, DNS, and the S3 server and registry that models are stored in."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from localkind import archives, binaries, keys, layout, talk

_NAMES: Final = {"pause": "pause", "coredns": "coredns", "versitygw": "s3", "registry": "oci-registry"}


@dataclass(frozen=True, slots=True)
class Archive:
    """An image as a file that a cluster can load."""

    name: str
    path: Path


def archive_path(places: layout.Layout, name: str) -> Path:
    """Return where the archive of an image named `localhost/NAME:KEY` is kept."""
    return places.images / (name.rpartition("/")[2].replace(":", "-") + ".tar")


def name_of(places: layout.Layout, tool: str) -> str:
    """Return the name of a tool's image, built or not: its tag is the key of its content."""
    # The binary's folder is named by its own key; the writer's text decides what else is in the image.
    folder = binaries.path_of(places, tool).parent.name
    made_of = [("binary", folder.encode()), ("writer", Path(archives.__file__).read_bytes())]
    return f"localhost/leadline-{_NAMES[tool]}:{keys.content_key(made_of)}"


def image(places: layout.Layout, tool: str) -> Archive:
    """Return the image of a tool; build binary and archive where the cache lacks them."""
    name = name_of(places, tool)
    found = Archive(name, archive_path(places, name))
    if not found.path.exists():
        path = binaries.binary(places, tool)
        talk.say(f"writing image {name}")
        archives.write(archives.ScratchImage(name, {tool: path}, [f"/{tool}"]), found.path)
    return found
