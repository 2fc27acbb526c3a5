"""Where this server differs from Werkzeug's on purpose: tests that are expected to fail."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """One test that this server does not pass."""

    suite: str
    test: str
    reason: str
    evidence: str
    """Part of the message of its failure, so that no other failure hides behind this one."""
    replacement: str
    """The test of ours, in one of `REPLACEMENTS`, that says what holds instead."""


REPLACEMENTS = ("tests/serving/test_differences.py", "tests/mounts/test_asgi_protocol.py")

OVER_THE_WIRE = ("flask-wire", "flask-override", "flask-async", "flask-mounted", "flask-parked")

DIFFERENCES = (
    Difference(
        "werkzeug",
        "tests/test_serving.py::test_multiple_headers_concatenated",
        reason="whitespace around a field value is not part of it (RFC 9112 5)",
        evidence="assert 'a,b,c,d' == 'a ,b,c ,d'",
        replacement="test_values_of_a_repeated_header_are_joined_without_outer_whitespace",
    ),
    Difference(
        "werkzeug",
        "tests/test_serving.py::test_multiline_header_folding",
        reason="obs-fold is replaced by a space (RFC 9112 5.2)",
        evidence="assert 'first second third' == 'first\\tsecond\\tthird'",
        replacement="test_a_folded_header_is_unfolded_with_spaces",
    ),
    Difference(
        "werkzeug",
        "tests/test_serving.py::test_chunked_request[True]",
        reason="an invalid Content-Length is refused even beside Transfer-Encoding, which is how "
        "requests are smuggled (RFC 9112 6.1, 6.3)",
        evidence="JSONDecodeError",
        replacement="test_an_invalid_content_length_beside_chunked_is_refused",
    ),
    Difference(
        "werkzeug",
        "tests/test_serving.py::test_chunked_request[False]",
        reason="the body is decoded and collected before the call, so that no program takes it for "
        "empty or decodes it again",
        evidence="KeyError: 'HTTP_TRANSFER_ENCODING'",
        replacement="test_a_chunked_body_has_a_length_and_no_transfer_encoding",
    ),
    *(
        Difference(
            suite,
            "tests/test_appctx.py::test_app_tearing_down_with_unhandled_exception",
            reason="the test pushes an application context of its own around the request, which a "
            "request of the same thread would share, and one that came over the wire does not",
            evidence="assert 2 == 1",
            replacement="test_teardown_hears_once_of_an_unhandled_exception",
        )
        for suite in OVER_THE_WIRE
    ),
    *(
        Difference(
            suite,
            "tests/test_appctx.py::test_app_tearing_down_with_handled_exception_by_app_handler",
            reason="as for the unhandled exception",
            evidence="assert [None, None] == [None]",
            replacement="test_teardown_hears_of_no_exception_that_was_handled",
        )
        for suite in OVER_THE_WIRE
    ),
    Difference(
        "a2wsgi",
        "tests/test_wsgi.py::test_wsgi_exc_info",
        reason="PEP 3333 gives `exc_info` to start_response() so that an error page can take the "
        "place of what was begun; the application has handled the error then",
        evidence="DID NOT RAISE",
        replacement="test_an_error_that_the_application_answers_itself_is_none",
    ),
)
