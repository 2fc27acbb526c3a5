"""What is kept of requests: bounded, and told to who looks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncwsgi.inspection.entries import size_of
from asyncwsgi.inspection.feed import Feed
from asyncwsgi.inspection.store import Store
from tests.inspection.samples import LAST, body, report

PID = 7


def ids(store: Store) -> list[str]:
    return [one["id"] for one in store.summaries()]


class TestReports:
    def test_a_request_is_kept_from_its_head_on_and_completed(self) -> None:
        store = Store()
        store.take(PID, report(1))
        assert store.summaries()[0]["state"] == "waiting"
        store.take(PID, {"id": "7-1", "set": LAST})
        assert store.summaries()[0]["status"] == 200

    def test_the_rest_of_a_request_that_was_forgotten_is_ignored(self) -> None:
        store = Store()
        store.take(PID, report(1))
        store.clear()
        store.take(PID, {"id": "7-1", "set": LAST})
        assert ids(store) == []
        assert store.size == 0

    def test_a_worker_says_nothing_of_requests_of_another(self) -> None:
        store = Store()
        store.take(PID, report(1))
        store.take(8, {"id": "7-1", "set": {"status": 500}})
        entry = store.entry("7-1")
        assert entry is not None
        assert entry["status"] is None

    @pytest.mark.parametrize("message", [{}, {"id": 7}, {"id": ["7-1"]}, {"id": "7-1", "set": []}])
    def test_what_is_no_report_is_ignored(self, message: dict[str, Any]) -> None:
        store = Store()
        store.take(PID, message)
        assert ids(store) == []

    @pytest.mark.parametrize("count", [True, -1, 1.5, "7", None, 1 << 60])
    def test_what_was_dropped_is_counted_if_it_is_a_count(self, count: Any) -> None:
        store = Store()
        store.dropped(3)
        store.dropped(count if count is not True else "1")
        assert store.dropped_count == 3


class TestEnds:
    def test_the_end_of_a_worker_is_that_of_what_it_had_in_hand(self) -> None:
        store = Store()
        store.take(PID, report(1))
        store.take(PID, report(2, **LAST))
        store.take(8, report(3, pid=8))
        store.worker_ended(PID)
        states = {one["id"]: one["state"] for one in store.summaries()}
        assert states == {"7-1": "lost", "7-2": "ended", "8-3": "waiting"}
        assert store.worker_of("7-1") is None
        assert store.worker_of("8-3") == 8


class TestBounds:
    def test_the_oldest_that_have_ended_go_first(self) -> None:
        store = Store(most=3)
        store.take(PID, report(1))  # goes on
        for number in (2, 3, 4, 5):
            store.take(PID, report(number, **LAST))
        assert ids(store) == ["7-1", "7-4", "7-5"]

    def test_where_none_has_ended_the_oldest_goes(self) -> None:
        store = Store(most=3)
        for number in range(1, 6):
            store.take(PID, report(number))
        assert ids(store) == ["7-3", "7-4", "7-5"]

    def test_bytes_are_bounded_as_requests_are(self) -> None:
        store = Store(largest=500_000)
        for number in range(100):
            store.take(PID, report(number, response_body=body(bytes(60_000)), **LAST))
        assert store.size <= 500_000
        assert ids(store)[-1] == "7-99"
        assert 2 < len(ids(store)) < 10

    @given(
        st.lists(
            st.tuples(
                st.integers(0, 20), st.sampled_from(["begin", "end", "log", "clear", "worker ends"])
            )
        )
    )
    def test_its_account_is_true(self, steps: list[tuple[int, str]]) -> None:
        store = Store(most=8, largest=20_000)
        for number, step in steps:
            match step:
                case "begin":
                    store.take(PID, report(number))
                case "end":
                    store.take(PID, {"id": f"7-{number}", "set": LAST})
                case "log":
                    line = {"at": 0.0, "level": "INFO", "logger": "app", "text": "x" * 1000}
                    store.take(PID, {"id": f"7-{number}", "add": {"logs": [line]}})
                case "clear":
                    store.clear()
                case "worker ends":
                    store.worker_ended(PID)
            kept = [store.entry(one) for one in ids(store)]
            assert store.size == sum(size_of(one) for one in kept)
            assert len(kept) <= 8
            assert store.size <= 20_000


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asyncwsgi.inspection.feed.INTERVAL", 0)


async def told(feed: Feed, count: int) -> list[tuple[str, Any]]:
    """The next `count` events: of each what it is, and of which request or what."""
    said = []
    for _ in range(count):
        event = await anext(feed)
        assert event.event is not None
        data = event.data
        said.append((event.event, data["id"] if isinstance(data, dict) and "id" in data else data))
    return said


class TestFeeds:
    def test_many_changes_of_a_request_are_told_once(self) -> None:
        async def look() -> None:
            store = Store()
            feed = store.subscribe()
            for number in range(100):
                store.take(PID, report(1, reason=str(number)))
            store.take(PID, report(2))
            event = await anext(feed)
            assert isinstance(event.data, dict)
            assert event.data["id"] == "7-1"
            assert await told(feed, 1) == [("entry", "7-2")]
            store.take(PID, {"id": "7-1", "set": LAST})
            assert await told(feed, 1) == [("entry", "7-1")]

        asyncio.run(look())

    def test_what_is_forgotten_is_told(self) -> None:
        async def look() -> None:
            store = Store(most=1)
            feed = store.subscribe()
            store.take(PID, report(1, **LAST))
            store.take(PID, report(2, **LAST))
            store.say_now({"threads": {"busy": 1}})
            now = ("now", {"threads": {"busy": 1}})
            assert await told(feed, 3) == [("gone", ["7-1"]), ("entry", "7-2"), now]
            store.clear()
            assert await told(feed, 1) == [("cleared", {})]

        asyncio.run(look())

    def test_who_does_not_read_starts_anew_and_costs_no_more(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("asyncwsgi.inspection.feed.MOST_GONE", 5)

        async def look() -> None:
            store = Store(most=2)
            feed = store.subscribe()
            for number in range(20):
                store.take(PID, report(number, **LAST))
            assert await told(feed, 3) == [("cleared", {}), ("entry", "7-18"), ("entry", "7-19")]

        asyncio.run(look())

    def test_who_has_left_is_told_nothing_more(self) -> None:
        async def look() -> None:
            store = Store()
            feed = store.subscribe()
            assert store.is_watched
            await feed.aclose()
            assert not store.is_watched

        asyncio.run(look())
