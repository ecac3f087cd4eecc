"""Write protocol.binpb: gRPC's services and messages as the runtime reads them, made of the .proto files beside it.

`--check` only compares. The runtime needs no generated code: it builds its messages of this file at the start.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Final

from grpc_tools import protoc

_FOLDER: Final = Path(__file__).resolve().parent.parent / "runtime" / "leadline_runtime" / "grpc"
_WRITTEN: Final = _FOLDER / "protocol.binpb"


def made() -> bytes:
    """Return the descriptors of all .proto files.

    Raises:
        SystemExit: They are not valid.
    """
    names = sorted(path.name for path in _FOLDER.glob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        to = Path(folder) / "protocol.binpb"
        if protoc.main(["protoc", f"-I{_FOLDER}", f"--descriptor_set_out={to}", *names]) != 0:
            raise SystemExit(1)
        return to.read_bytes()


def main() -> int:
    """Write or check the file."""
    parser = argparse.ArgumentParser(description="Make protocol.binpb of the .proto files.")
    parser.add_argument("--check", action="store_true", help="compare only")
    if not parser.parse_args().check:
        _WRITTEN.write_bytes(made())
    elif not _WRITTEN.exists() or _WRITTEN.read_bytes() != made():
        print(f"{_WRITTEN.name}: is not what its .proto files make; run make generate", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
