"""All backend test cases of the ONNX project over the wire, against the package's expected answers, with none left out."""

import json
import locale

from tests.wiring.runtime import onnx_cases

NEEDS_LOCALE = "onnxruntime cannot load the model: Failed to construct locale"
"""StringNormalizer asks the machine for en_US.UTF-8; many have it not, and there onnxruntime refuses such models."""


def has_locale() -> bool:
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, "en_US.UTF-8")
    except locale.Error:
        return False
    locale.setlocale(locale.LC_CTYPE, before)
    return True


def test_all_but_the_listed_cases_are_answered_as_the_package_expects(tmp_path):
    listed = {name: why for why, names in json.loads(onnx_cases.LIST.read_text()).items() for name in names}
    if has_locale():
        listed = {name: why for name, why in listed.items() if why != NEEDS_LOCALE}
    count, found = onnx_cases.disagreements(tmp_path)
    assert count > 2_000
    assert found == listed
    assert not [why for why in found.values() if "NOT onnxruntime" in why], "the wire changed an answer"
