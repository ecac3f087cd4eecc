"""An older operator that rewrites a newer one's record changes what it means to, and loses nothing."""

import json

from hypothesis import given, settings
from leadline_operator.reconcile import records

from tests.property import strategies


@settings(max_examples=150, deadline=None)
@given(raw=strategies.newer_records())
def test_record_of_a_newer_version_survives_whatever_is_in_it(raw):
    record = records.read(json.dumps(raw))
    if isinstance(record, records.Unreadable):
        assert records.write(record) == json.dumps(raw)
        return
    assert json.loads(records.write(record)) == raw
    changed = json.loads(records.write(record.with_(admitted_gate="another")))
    assert changed == raw | {"admitted_gate": "another"}
