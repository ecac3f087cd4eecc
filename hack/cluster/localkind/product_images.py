"""The images of operator and runtime, and of the example that trains: what goes into each, its name by content, its archive in the cache.

An unchanged content has its name already, so nothing is built; a change of code rebuilds the last layer only.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from localkind import bases, builders, engine, keys, layout, locking, scratch_images, talk

Content = list[tuple[str, bytes]]
"""Path in the repository and bytes of each file that goes into an image."""

_KEPT: Final = 4
"""Archives kept of each image, newest first; each is about 150 MB."""

_DOCKER_BASE: Final = "python:3.12-slim"


@dataclass(frozen=True, slots=True)
class Product:
    """One image of ours."""

    name: str
    sources: tuple[str, ...]
    """Everything that its Containerfile copies, and that file."""


_SHARED: Final = ("pyproject.toml", "LICENSE", "images/slim.py", "requirements/build.txt")
_OPERATOR: Final = ("leadline_api", "leadline_stats", "leadline_operator")

PRODUCTS: Final = {
    product.name: product
    for product in (
        Product(
            "operator",
            (
                *_SHARED,
                "images/operator/Containerfile",
                "requirements/operator.txt",
                *(f"operator/{package}" for package in _OPERATOR),
                "runtime/leadline_ledger",
                "runtime/leadline_wire",
            ),
        ),
        Product(
            "runtime",
            (
                *_SHARED,
                "images/runtime/Containerfile",
                "requirements/runtime.txt",
                "runtime/leadline_runtime",
                "runtime/leadline_wire",
            ),
        ),
        Product(
            "trainer",
            (
                *_SHARED,
                "images/trainer/Containerfile",
                "requirements/trainer.txt",
                "runtime/leadline_client",
                "runtime/leadline_wire",
            ),
        ),
    )
}


def name_of(product: Product, content: Content, bases_used: tuple[str, ...]) -> str:
    """Return the image's name, whose tag is the key of its content.

    Args:
        product: The image.
        content: Its files.
        bases_used: Names of the images it is built from.
    """
    bases_part = [(f"base {number}", base.encode()) for number, base in enumerate(bases_used)]
    return f"localhost/leadline-{product.name}:{keys.content_key([*content, *bases_part])}"


def current_name(product: Product) -> str:
    """Return the name of the image that the checkout's content makes, built or not."""
    return name_of(product, _content(product), _bases_used())


def image(places: layout.Layout, product: Product) -> scratch_images.Archive:
    """Return the image's archive; build it where the cache lacks it.

    Raises:
        NeedsUser: There is nothing to build with.
        Broken: It does not build.
    """
    content = _content(product)
    name = name_of(product, content, _bases_used())
    found = scratch_images.Archive(name, scratch_images.archive_path(places, name))
    if found.path.exists():
        found.path.touch()
        return found
    builder = builders.choose(places)
    arguments = {"BASE_IMAGE": _DOCKER_BASE}
    if isinstance(builder, builders.Buildah):
        used = [bases.provide(places, builder, base) for base in (bases.DEPLOYED, bases.BUILDER)]
        arguments = {"BASE_IMAGE": used[0], "BUILDER_IMAGE": used[1]}
    # One build at a time: they share buildah's storage, and two would only slow each other.
    with locking.held(places.images / "build.lock"):
        if not found.path.exists():
            talk.say(f"building {name} (a minute when its dependencies changed, else seconds)")
            unfinished = found.path.with_suffix(".unfinished")
            unfinished.unlink(missing_ok=True)
            with _context(content) as folder:
                containerfile = folder / "images" / product.name / "Containerfile"
                builder.build(folder, containerfile, name, arguments, unfinished)
            unfinished.rename(found.path)
            talk.say(f"built {name}: {found.path.stat().st_size / 1e6:.0f} MB compressed")
            _prune(places, product)
    return found


def _content(product: Product) -> Content:
    return keys.files_of(layout.REPOSITORY, product.sources)


def _bases_used() -> tuple[str, ...]:
    return (_DOCKER_BASE,) if engine.docker_answers() else (bases.DEPLOYED.name, bases.BUILDER.name)


@contextmanager
def _context(content: Content) -> Iterator[Path]:
    # Built from what was hashed, not from a checkout that may be edited meanwhile. One date for all, because buildah's
    # layer cache looks at dates.
    with tempfile.TemporaryDirectory() as folder:
        for name, text in content:
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)
        for path in Path(folder).rglob("*"):
            os.utime(path, (0, 0))
        yield Path(folder)


def _prune(places: layout.Layout, product: Product) -> None:
    def age(path: Path) -> float:
        return -path.stat().st_mtime

    for old in sorted(places.images.glob(f"leadline-{product.name}-*.tar"), key=age)[_KEPT:]:
        old.unlink()
