"""Read a trained model from a file: data, from which no code runs.

Which framework wrote it is told by its first bytes, not by its name: skops (scikit-learn), XGBoost's .json and .ubj,
LightGBM's .txt, CatBoost's .cbm, PyTorch's .pt2. Next step: `frameworks`. Must not open a pickle, whatever the file is
called, nor what may run code, unless that is allowed by name.
"""

import importlib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from leadline_cli import errors

TORCH: Final = "torch.export"
"""What `--trust` names to allow a .pt2 file: torch.export.load opens pickles in it, and evaluates expressions."""
_PICKLE_STARTS = (b"\x80", b"(", b"c", b"]", b"}", b"x", b"\x1f\x8b", b"BZ", b"\xfd7")
"""First bytes of a pickle, by protocol, or of one that joblib compressed."""
_SAVE: Final = (
    "save the model as data: skops.io.dump(model, 'model.skops') of scikit-learn, save_model('model.ubj') of XGBoost, "
    "booster_.save_model('model.txt') of LightGBM, save_model('model.cbm') of CatBoost; or call leadline.package in Python"
)


def load(path: Path, *, trusted: Sequence[str] = ()) -> Any:
    """Return the model in a file.

    Args:
        path: The file.
        trusted: Names of types that may be built although skops does not know them to be harmless; `TORCH` for a file
            of PyTorch.

    Raises:
        Refused: There is no such file, it is a pickle or something else, or it holds other types.
    """
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise errors.Refused(f"{path}: {error.strerror}") from error
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = [name.rpartition("/")[2] for name in archive.namelist()]
        if "archive_format" in names or "serialized_exported_program.json" in names:
            return _torch(path, trusted)
        if "data.pkl" in names:
            raise errors.Refused(
                f"{path}: is a pickle of PyTorch, and opening one runs whatever code is in it; save an exported program: "
                "torch.export.save(torch.export.export(...), 'model.pt2'), or call leadline.package in Python"
            )
        return _skops(path, trusted)
    if start.startswith(b"CBM1"):
        return _catboost(path)
    if start.startswith(b"tree\n"):
        return _lightgbm(path)
    if start[:1] == b"{" and (start.startswith(b"{L") or b'"' in start):
        return _xgboost(path)
    if start.startswith(_PICKLE_STARTS):
        raise errors.Refused(f"{path}: is a pickle, and opening one runs whatever code is in it; {_SAVE}")
    if path.suffix == ".onnx":
        raise errors.Refused(
            f"{path}: is ONNX already, there is nothing to convert; leadline serve {path} tries it here"
        )
    raise errors.Refused(f"{path}: is no model file that we know; {_SAVE}")


def _needed(module: str, path: Path, framework: str) -> Any:
    """Import a framework, only where a model of it is there."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        what = f"{path}: is a model of {framework}, and the module {error.name} is not installed"
        raise errors.Refused(f"{what}: pip install {error.name}") from error


def _skops(path: Path, trusted: Sequence[str]) -> Any:
    import skops.io  # noqa: PLC0415 - heavy
    from skops.io.exceptions import UntrustedTypesFoundException  # noqa: PLC0415

    try:
        unknown = [name for name in skops.io.get_untrusted_types(file=path) if name not in trusted]
        if unknown:
            allow = " ".join(f"--trust {name}" for name in unknown)
            raise errors.Refused(
                f"{path}: holds types that skops does not know to be harmless: {', '.join(unknown)}; if you trust "
                f"where the file comes from, allow them by name: {allow}"
            )
        return skops.io.load(path, trusted=list(trusted))
    except (KeyError, TypeError, AttributeError, UntrustedTypesFoundException) as error:
        raise errors.Refused(f"{path}: is no skops file that this version reads ({error}); {_SAVE}") from error


def _xgboost(path: Path) -> Any:
    xgboost = _needed("xgboost", path, "XGBoost")

    data = path.read_bytes()
    is_binary = data.startswith(b"{L")
    if not data.rstrip().endswith(b"}") or (is_binary and int.from_bytes(data[2:10], "big") > len(data)):
        # XGBoost would read on behind the end, and ask for as much memory as the bytes there happen to say.
        raise _unreadable(path, "XGBoost", ValueError("it is cut off"))
    booster = xgboost.Booster()
    try:
        # By its bytes, for XGBoost itself goes by the name.
        booster.load_model(bytearray(data))
    except (xgboost.core.XGBoostError, ValueError) as error:
        raise _unreadable(path, "XGBoost", error) from error
    return booster


def _lightgbm(path: Path) -> Any:
    lightgbm = _needed("lightgbm", path, "LightGBM")

    if b"\nend of trees" not in path.read_bytes():
        # LightGBM would end the process at a tree that stops short.
        raise _unreadable(path, "LightGBM", ValueError("it is cut off"))
    try:
        return lightgbm.Booster(model_file=path)
    except lightgbm.basic.LightGBMError as error:
        raise _unreadable(path, "LightGBM", error) from error


def _catboost(path: Path) -> Any:
    catboost = _needed("catboost", path, "CatBoost")

    model = catboost.CatBoost()
    try:
        model.load_model(str(path), format="cbm")
    except catboost.CatBoostError as error:
        raise _unreadable(path, "CatBoost", error) from error
    return model


def _torch(path: Path, trusted: Sequence[str]) -> Any:
    if TORCH not in trusted:
        raise errors.Refused(
            f"{path}: is an exported program of PyTorch, and torch.export.load may run code that is in it; if you trust "
            f"where the file comes from, allow it by name: --trust {TORCH}"
        )
    torch = _needed("torch", path, "PyTorch")

    try:
        return torch.export.load(path)
    except Exception as error:  # it raises whatever goes wrong inside
        raise _unreadable(path, f"PyTorch {torch.__version__}", error) from error


def _unreadable(path: Path, framework: str, error: Exception) -> errors.Refused:
    line = " ".join(str(error).split())[:200]
    return errors.Refused(f"{path}: is no file that {framework} reads here ({line})")
