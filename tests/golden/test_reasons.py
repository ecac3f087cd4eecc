"""The page of reasons is what the code says, and every reason has the form that machines count on."""

import re
from pathlib import Path

from leadline_api import reasons

PAGE = Path(__file__).parents[2] / "docs" / "reasons.md"


def test_page_is_what_the_code_says():
    assert PAGE.read_text(encoding="utf-8") == reasons.page(), "run: make generate"


def test_reasons_are_upper_camel_case_and_explained():
    for reason in reasons.Reason:
        assert re.fullmatch(r"([A-Z][a-z]+)+", reason.value), reason
        assert reason.meaning
        assert reason.remedy
        assert not reason.meaning.endswith(".")


def test_reason_of_a_newer_runtime_is_shown_as_a_passed_deadline():
    assert reasons.known("SomethingNew") is reasons.Reason.PROGRESS_DEADLINE_EXCEEDED
    assert reasons.known("ModelNotFound") is reasons.Reason.MODEL_NOT_FOUND
