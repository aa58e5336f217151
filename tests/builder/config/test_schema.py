"""The schema of matrix.yaml: printed on every Python as it is checked in, and true of the shipped matrix."""

from __future__ import annotations

import json
from typing import Any

import pytest

from builder.config import json_schema
from tests.fakes import REPOSITORY

SCHEMA = REPOSITORY / "docs" / "reference" / "matrix.schema.json"


def test_the_schema_that_is_checked_in_is_the_one_that_is_printed(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    from builder import cli

    assert cli.main(["schema"]) == 0
    printed = capsys.readouterr().out
    if request.config.getoption("--update-golden"):
        SCHEMA.parent.mkdir(parents=True, exist_ok=True)
        SCHEMA.write_text(printed, encoding="utf-8")
    assert SCHEMA.is_file(), "run pytest --update-golden"
    assert SCHEMA.read_text(encoding="utf-8") == printed, "docs/reference/matrix.schema.json: build schema > that file"
    assert json.loads(printed) == json_schema.of_matrix()


def test_the_shipped_matrix_is_valid_by_its_schema() -> None:
    jsonschema: Any = pytest.importorskip("jsonschema")
    from builder.config.yaml_reader import parse

    validator = jsonschema.Draft202012Validator
    validator.check_schema(json_schema.of_matrix())
    data: Any = parse((REPOSITORY / "matrix.yaml").read_text(encoding="utf-8")).data
    validator(json_schema.of_matrix()).validate(data)
    data["precision"] = ["fp32"]
    with pytest.raises(jsonschema.ValidationError):
        validator(json_schema.of_matrix()).validate(data)
