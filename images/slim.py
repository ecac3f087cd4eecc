"""Take out of an installed environment what a server does not need, and compile the rest for a fast start.

Run by both Containerfiles in their builder stage: `python slim.py FOLDER`. What is taken out is listed here with its
reason; the image's own check is that it starts and answers (`make test`).
"""

import compileall
import py_compile
import re
import shutil
import sys
from pathlib import Path
from typing import Final

_FOLDERS: Final = (
    # Tests and their data are a quarter of numpy and scipy.
    r"/(numpy|scipy|pyarrow|onnxruntime|sklearn)/.*\btests?$",
    r"/pyarrow/(include|includes|src|vendored_include)$",
    r"/numpy/_core/(include|lib)$",
    r"/numpy/distutils$",
    r"/onnxruntime/(quantization|tools|transformers|datasets|backend)$",
    # kubernetes.aio is what we use; these are the synchronous client and its generated documentation.
    r"/kubernetes/(docs|e2e_test)$",
)
_FILES: Final = (
    r"\.(pyi|pyx|pxd|pxi|a|h|hpp|c|cpp|cu|md|rst)$",
    r"/RECORD$",
    # Commands of the packages below; ours and Python itself stay.
    r"/bin/(?!python|leadline-)[^/]*$",
    # Arrow's servers, clouds and file formats: a test set is a Parquet file that the runtime fetched itself.
    r"/pyarrow/libarrow_(flight|s3)\.so",
    r"/pyarrow/libarrow_python_flight\.so",
    r"/pyarrow/_(flight|s3fs|gcsfs|azurefs|hdfs|orc|dataset_orc|substrait|pyarrow_cpp_tests)\.cpython",
    # The same library thrice, since a wheel holds no links; the loader looks for the one with the major version.
    r"/pyarrow/libarrow_python(_parquet_encryption)?\.so(\.\d+\.\d+\.\d+)?$",
)


def slim(root: Path) -> None:
    """Remove what is not needed below a folder, then compile all Python files in it."""
    for path in sorted(root.rglob("*")):
        name = str(path)
        if path.is_dir() and not path.is_symlink() and any(re.search(pattern, name) for pattern in _FOLDERS):
            shutil.rmtree(path)
    for path in sorted(root.rglob("*")):
        name = str(path)
        if path.is_file() and any(re.search(pattern, name) for pattern in _FILES):
            path.unlink()
    # Unchecked: the sources never change in an image, so that not even their dates are looked at.
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(root, quiet=2, workers=0, stripdir=_installed_elsewhere(root), invalidation_mode=mode)


def _installed_elsewhere(root: Path) -> str | None:
    # pip --root puts /opt/leadline at ROOT/opt/leadline; tracebacks should name the former.
    head, _, _ = str(root).partition("/opt/leadline")
    return head or None


if __name__ == "__main__":
    slim(Path(sys.argv[1]))
