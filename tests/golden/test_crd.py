"""The CRD that is checked in, in crds/ and in the chart, is the one that the models say."""

from pathlib import Path

import pytest
from leadline_api import crd

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("folder", ["crds", "charts/leadline/crds"])
def test_checked_in_crd_is_up_to_date(folder):
    checked_in = (ROOT / folder / "modeldeployments.leadline.dev.yaml").read_text(encoding="utf-8")
    assert checked_in == crd.text(), "run `make generate`"
