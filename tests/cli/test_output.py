"""JSON and tables that reach standard output."""

from __future__ import annotations

import contextlib
import io
import json
import sys

import numpy as np
import pytest

from neuroaccel.cli import output


def test_json_holds_numpy_and_turns_what_json_lacks_into_null() -> None:
    data = {"a": np.float32(0.5), "b": np.arange(3), "c": float("nan"), "d": (1, True, None), "e": {2: np.inf}}
    text = output.json_text(data)
    assert json.loads(text) == {"a": 0.5, "b": [0, 1, 2], "c": None, "d": [1, True, None], "e": {"2": None}}
    assert "\n" not in text


def test_a_message_of_several_lines_becomes_one() -> None:
    assert output.one_line(ValueError("a\n  b\tc")) == "a b c"
    assert output.one_line(ValueError()) == "ValueError"


def test_what_libraries_print_does_not_reach_standard_output() -> None:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        with output.results_only():
            print("chatter")
        print("result")
    assert (out.getvalue(), err.getvalue()) == ("result\n", "chatter\n")


def test_table_aligns_its_columns() -> None:
    assert output.table(("a", "bb"), [("ccc", "d")]) == "a    bb\nccc  d"


def test_progress_draws_nothing_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with output.progress("work") as report:
        for done in range(3):
            report(done + 1, 3)
    sys.stderr.flush()
    assert capsys.readouterr() == ("", "")
