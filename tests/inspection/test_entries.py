"""What is kept of one request, whatever a worker says of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asyncwsgi.inspection.entries import (
    ENTRY_SIZE,
    FIELDS,
    begun,
    is_id,
    lost,
    merged,
    size_of,
    summary,
)
from tests.inspection.samples import FIRST, LAST, body, entry

SURROGATES = st.text(st.characters(exclude_categories=()))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | SURROGATES,
    lambda inner: st.lists(inner) | st.dictionaries(SURROGATES | st.sampled_from([*FIELDS]), inner),
    max_leaves=20,
)
"""Anything that a line of JSON may hold; Python's has NaN, and halves of pairs of surrogates."""
FIELD_VALUES = st.dictionaries(st.sampled_from([*FIELDS]), JSON)


class TestReports:
    def test_what_is_set_is_kept(self) -> None:
        kept = entry(flask={"endpoint": "orders", "rule": "/orders", "view": None, "file": None})
        assert kept["method"] == "GET"
        assert kept["status"] == 200
        assert kept["flask"]["endpoint"] == "orders"
        assert kept["flask"]["line"] is None

    def test_what_is_added_extends_a_list(self) -> None:
        one, other = {"name": "head", "at": 0.0}, {"name": "thread", "at": 0.1}
        kept = merged(entry(marks=[one]), {}, {"marks": [other]})
        assert kept["marks"] == [one, other]

    def test_an_entry_that_was_handed_out_never_changes(self) -> None:
        before = entry(marks=[{"name": "head", "at": 0.0}])
        text = json.dumps(before)
        merged(before, {"status": 500}, {"marks": [{"name": "thread", "at": 0.1}]})
        assert json.dumps(before) == text

    @pytest.mark.parametrize("missing", ["method", "target", "began_at"])
    def test_the_rest_of_a_request_whose_beginning_is_not_known_is_none(self, missing: str) -> None:
        told = {name: value for name, value in FIRST.items() if name != missing}
        assert begun("7-1", told, {}) is None

    def test_nothing_has_a_request_go_on_behind_its_end(self) -> None:
        assert merged(lost(entry(state="running")), LAST, {})["state"] == "lost"
        assert merged(entry(), {"state": "running"}, {})["state"] == "ended"

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            pytest.param("status", "200", id="a text for a number"),
            pytest.param("status", True, id="true for a number"),
            pytest.param("duration", float("nan"), id="no number"),
            pytest.param("duration", 1e300, id="a number that is too large"),
            pytest.param("state", "hanging", id="another state"),
            pytest.param("state", ["ended"], id="a list for a state"),
            pytest.param("marks", {"name": "head"}, id="an object for a list"),
            pytest.param("request_body", "text", id="a text for a body"),
            pytest.param("request_body", {"size": 1, "data": "!", "is_cut": False}, id="no base64"),
            pytest.param("request_body", body(bytes(70_000)), id="a body beyond the bound"),
            pytest.param("id", "8-1", id="another id"),
            pytest.param("colour", "blue", id="another field"),
        ],
    )
    def test_what_makes_no_sense_changes_nothing(self, field: str, value: Any) -> None:
        assert merged(entry(), {field: value}, {}) == entry()

    def test_of_a_list_the_items_are_kept_that_make_sense(self) -> None:
        good = {"name": "head", "at": 0.0}
        assert entry(marks=[{"name": "head"}, good, "head", {"at": 1, "name": 2}])["marks"] == [
            good
        ]

    def test_of_events_the_last_are_kept_and_of_logs_the_first(self) -> None:
        events = [{"at": float(n), "text": str(n)} for n in range(1000)]
        assert [one["text"] for one in entry(events=events)["events"]][-1] == "999"
        kept = entry(events=events)
        for event in events:
            kept = merged(kept, {}, {"events": [event]})
        assert len(kept["events"]) == 200
        logs = [{"at": 0.0, "level": "INFO", "logger": "", "text": str(n)} for n in range(1000)]
        assert [one["text"] for one in entry(logs=logs)["logs"]] == [str(n) for n in range(500)]

    def test_an_entry_is_bounded_and_goes_on_to_be_told_how_it_ended(self) -> None:
        headers = [["Name", "x" * 16_000]] * 400
        kept = merged(entry(state="running"), {"response_headers": headers, "status": 500}, {})
        assert size_of(kept) < ENTRY_SIZE
        assert kept["status"] == 500
        assert kept["state"] == "running"

    @example(told={"reason": "half of a pair: \ud800"}, added={})
    @given(told=FIELD_VALUES | JSON, added=FIELD_VALUES | JSON)
    def test_no_report_breaks_what_is_sent_to_the_page(self, told: Any, added: Any) -> None:
        kept = merged(entry(state="running"), told, added)
        assert kept.keys() == entry().keys()
        # Strict JSON in UTF-8, which JavaScript reads.
        json.dumps([kept, summary(kept)], allow_nan=False, ensure_ascii=False).encode()
        assert size_of(dict(kept)) <= ENTRY_SIZE


@pytest.mark.parametrize(
    "value", ["", "7", "7-", "-7", "7-1 ", "7-1\n", "7-1/../..", "a-1", "٧-1", 71, None, ["7-1"]]
)
def test_other_ids_are_none(value: Any) -> None:
    assert is_id("7-1")
    assert not is_id(value)


class TestSummaries:
    def test_it_has_what_a_list_shows(self) -> None:
        marks = [{"name": "head", "at": 0.0}, {"name": "thread", "at": 0.25}]
        assert summary(entry(marks=marks)) == {
            "id": "7-1",
            "method": "GET",
            "target": "/orders?page=2",
            "status": 200,
            "state": "ended",
            "response_size": 120,
            "duration": 0.0042,
            "began_at": 1_790_000_000.0,
            "type": "text/plain",
            "endpoint": "",
            "failed": False,
            "replay_of": None,
            "thread_at": 0.25,
            "first_byte_at": None,
        }

    @pytest.mark.parametrize(
        "fields",
        [
            pytest.param({"status": 503}, id="its status"),
            pytest.param({"status": 200, "traceback": "Traceback ..."}, id="what was raised"),
        ],
    )
    def test_a_request_has_failed_by(self, fields: dict[str, Any]) -> None:
        assert summary(entry(**fields))["failed"]
