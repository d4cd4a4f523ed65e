"""What spgraph knows of ONNX's operators is what the onnx package says."""

import schemas


def test_the_table_is_current():
    assert schemas.TARGET.read_text() == schemas.table(), "run python tests/python/schemas.py"
