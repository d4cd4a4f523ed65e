"""The table of docs/runtimes.md is what docs/runtimes.json says, and says of each runtime what it does not do. `make runtimes` makes both."""
import json
import sys

from harness import ROOT

sys.path.insert(0, str(ROOT / "tests" / "runtimes"))
import measure  # noqa: E402


def test_the_table_is_that_of_the_records():
    page, records = measure.PAGE.read_text(), json.loads(measure.RECORDS.read_text())
    assert measure.written(page, records) == page
    assert records["runtimes"].keys() == {r.name for r in measure.RUNTIMES}
    for runtime in measure.RUNTIMES:
        record = records["runtimes"][runtime.name]
        assert all(record["difference"][form] < measure.lab.TOLERANCE for form in runtime.forms), runtime.name
        assert record.keys() <= {"version", "difference", "refused", "made", "exported", "speed", "unseen"}, runtime.name


def test_every_form_that_a_runtime_could_take_was_tried():
    """A dash says that a form is another runtime's."""
    records = json.loads(measure.RECORDS.read_text())["runtimes"]
    for runtime in measure.RUNTIMES:
        tried = records[runtime.name]["difference"].keys() | records[runtime.name]["refused"].keys() | records[runtime.name].get("unseen", {}).keys()
        due = {*runtime.forms, *runtime.tried, *((*measure.DIALECTS, *measure.PRECISIONS, "single") if runtime.target else ())}
        assert tried == due, runtime.name


def test_a_runtime_that_is_not_recorded_has_no_row():
    records = json.loads(measure.RECORDS.read_text())
    del records["runtimes"]["tract"]
    records["runtimes"]["node"]["difference"]["for"] = 0.5
    table = measure.table(records)
    assert "tract," not in table and "**wrong** (5e-1)" in table
