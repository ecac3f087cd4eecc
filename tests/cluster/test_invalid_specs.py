"""The page of invalid specs says what the API server says, word for word.

Nothing is stored: each manifest is sent as a dry run. What the API server accepts is covered by the other suites.
"""

import pytest

from tests import invalid_specs


@pytest.mark.parametrize("case", invalid_specs.cases(), ids=lambda case: case.title.replace(" ", "-"))
def test_invalid_spec_is_refused_with_the_documented_message(kubectl, case):
    answer = kubectl("create", "--dry-run=server", "-f", "-", input=case.manifest, check=False)
    assert answer.returncode != 0, answer.stdout
    assert "\n".join(line.rstrip() for line in answer.stderr.strip().splitlines()) == case.message
