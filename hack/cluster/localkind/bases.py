"""The Debian that images are based on where no registry is reached: made by mmdebstrap, kept in buildah's storage.

Two of them: one that is deployed, with Python and nothing to install with, and one that builds, with pip and venv.
"""

import subprocess
from dataclasses import dataclass
from typing import Final

from localkind import builders, errors, keys, layout, locking, talk

_SUITE: Final = "bookworm"
_LEFT_OUT: Final = ("doc", "man", "info", "locale", "lintian")


@dataclass(frozen=True, slots=True)
class Base:
    """A Debian with these packages."""

    role: str
    variant: str
    packages: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of its image; the tag is the key of this recipe, since Debian's own content moves with its fixes."""
        recipe = " ".join([_SUITE, self.variant, *self.packages, *_LEFT_OUT])
        return f"localhost/leadline-{self.role}:{keys.content_key([('recipe', recipe.encode())])}"


DEPLOYED: Final = Base("base", "essential", ("python3", "ca-certificates", "libstdc++6"))
BUILDER: Final = Base("builder", "apt", ("python3-venv", "ca-certificates"))


def provide(places: layout.Layout, builder: builders.Buildah, base: Base) -> str:
    """Return the name of a base that the storage has; make it where it has none.

    Raises:
        Broken: mmdebstrap does not make it.
    """
    with locking.held(places.images / f"{base.role}.lock"):
        if builder.has(base.name):
            return base.name
        talk.say(f"making a Debian {_SUITE} for images with {', '.join(base.packages)} (about a minute)")
        tree = places.images / f"{base.role}.tar"
        options = [f"--variant={base.variant}", f"--include={','.join(base.packages)}", "--quiet"]
        options += [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in _LEFT_OUT]
        done = subprocess.run(
            ["nice", "mmdebstrap", *options, _SUITE, str(tree)], check=False, capture_output=True, text=True
        )
        if done.returncode != 0:
            last = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
            raise errors.Broken(f"mmdebstrap ended with {last[0]!r}")
        builder.from_tree(tree, base.name)
        tree.unlink()
    return base.name
