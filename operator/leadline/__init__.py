"""Leadline in Python: `import leadline`, then `leadline.package(model, X_test, y_test)` or `leadline.Model(uri)`.

Only names are here. What they need is imported when they are first used, so that the import itself costs nothing and each
works with its own extra installed: `leadline[convert]` to package, `leadline[runtime]` for `Model`.

Must not do any work of its own.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from leadline_cli.errors import Refused
    from leadline_cli.notebooks import package
    from leadline_runtime.library import InputError, Model, ModelError, RunError

__all__ = ["InputError", "Model", "ModelError", "Refused", "RunError", "package"]

_WHERE = {
    "InputError": ("leadline_runtime.library", "runtime"),
    "Model": ("leadline_runtime.library", "runtime"),
    "ModelError": ("leadline_runtime.library", "runtime"),
    "Refused": ("leadline_cli.errors", "convert"),
    "RunError": ("leadline_runtime.library", "runtime"),
    "package": ("leadline_cli.notebooks", "convert"),
}
"""Where each name is, and the extra that brings what it needs."""


def __getattr__(name: str) -> Any:
    """Import what is asked for."""
    if name not in _WHERE:
        raise AttributeError(f"module 'leadline' has no attribute {name!r}; it has {', '.join(__all__)}")
    import importlib  # noqa: PLC0415 - only when something is used

    module, extra = _WHERE[name]
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        message = f"leadline.{name} needs the module {error.name}: pip install 'leadline[{extra}]'"
        raise ModuleNotFoundError(message, name=error.name) from error


def __dir__() -> list[str]:
    """Return what there is, for completion."""
    return list(__all__)
