"""Options: what is accepted, and what is refused in which words."""

from __future__ import annotations

import dataclasses
import math
import re
import ssl
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest

from asyncwsgi import AsyncWSGIError, Config, ConfigError
from asyncwsgi.config import Option, option_fields

FIELDS = option_fields()
each_field = pytest.mark.parametrize(
    ("field", "option"), [pytest.param(*both, id=both[0].name) for both in FIELDS]
)


def refusal(**options: Any) -> str:
    """In which words a `Config` of these options is refused."""
    with pytest.raises(ConfigError) as caught:
        Config(**options)
    return str(caught.value)


class TestFields:
    @each_field
    def test_each_has_a_sentence_of_help(
        self, field: dataclasses.Field[Any], option: Option
    ) -> None:
        assert re.fullmatch(r"[A-Z].+\.", option.help), field.name

    @each_field
    def test_each_default_passes_its_own_checks(
        self, field: dataclasses.Field[Any], option: Option
    ) -> None:
        options: dict[str, Any] = {field.name: field.default}
        assert Config(**options) == Config()

    def test_only_objects_are_off_the_command_line(self) -> None:
        hidden = {field.name for field, option in FIELDS if not option.on_command_line}
        assert hidden == {"executor", "ssl_context", "context"}

    def test_short_flags_are_unique(self) -> None:
        flags = [flag for _, option in FIELDS for flag in option.flags]
        assert len(flags) == len(set(flags))

    def test_a_field_cannot_be_assigned(self) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            Config().port = 80  # type: ignore[misc]

    def test_a_field_cannot_be_invented(self) -> None:
        with pytest.raises((AttributeError, TypeError)):
            object.__setattr__(Config(), "prot", 80)

    def test_options_are_given_by_name_only(self) -> None:
        with pytest.raises(TypeError):
            Config("127.0.0.1")  # type: ignore[call-arg]

    def test_a_changed_copy_is_checked_too(self) -> None:
        with pytest.raises(ConfigError, match="threads must be at least 1, got 0"):
            dataclasses.replace(Config(), threads=0)


BOUNDED = [(field, option.minimum) for field, option in FIELDS if option.minimum is not None]


class TestBounds:
    @pytest.mark.parametrize(
        ("name", "minimum"), [pytest.param(f.name, m, id=f.name) for f, m in BOUNDED]
    )
    def test_the_least_value_is_accepted_and_less_is_refused(
        self, name: str, minimum: float
    ) -> None:
        assert getattr(Config.from_options({name: minimum}), name) == minimum
        less = minimum - (0.001 if isinstance(minimum, float) else 1)
        assert refusal(**{name: less}) == f"{name} must be at least {minimum}, got {less!r}"

    def test_the_largest_port_is_accepted_and_more_is_refused(self) -> None:
        assert Config(port=65535).port == 65535
        assert refusal(port=65536) == "port must be at most 65535, got 65536"

    @pytest.mark.parametrize("name", [f.name for f, _ in FIELDS if isinstance(f.default, float)])
    def test_a_timeout_is_a_number(self, name: str) -> None:
        assert refusal(**{name: math.nan}).startswith(f"{name} must be at least ")

    def test_a_whole_number_is_a_timeout(self) -> None:
        assert Config(graceful_timeout=3).graceful_timeout == 3


class TestTypes:
    @pytest.mark.parametrize(
        ("name", "value", "wanted"),
        [
            pytest.param("port", "80", "an int", id="a str for an int"),
            pytest.param("port", 80.0, "an int", id="a float for an int"),
            pytest.param("threads", True, "an int", id="a bool for an int"),
            pytest.param("head_timeout", "5", "a float", id="a str for a float"),
            pytest.param("send_timeout", True, "a float", id="a bool for a float"),
            pytest.param("host", None, "a str", id="None for a str"),
            pytest.param("host", b"::1", "a str", id="bytes for a str"),
            pytest.param("access_log", 1, "a bool", id="an int for a bool"),
            pytest.param("bind", ":80", "a tuple", id="a str for a tuple"),
        ],
    )
    def test_another_type_is_refused_with_what_came_and_what_was_wanted(
        self, name: str, value: object, wanted: str
    ) -> None:
        got = re.escape(f"got {value!r} ({type(value).__name__})")
        assert re.fullmatch(f"{name} must be {wanted}, {got}", refusal(**{name: value}))

    @pytest.mark.parametrize(
        "options",
        [
            pytest.param({"bind": (80,)}, id="bind"),
            pytest.param({"certfile": 7}, id="certfile"),
            pytest.param({"certfile": "cert.pem", "keyfile": 7}, id="keyfile"),
            pytest.param({"certfile": "cert.pem", "ca_certs": 7}, id="ca_certs"),
            pytest.param({"ssl_context": True}, id="ssl_context"),
            pytest.param({"executor": "threads"}, id="executor"),
        ],
    )
    def test_no_option_takes_just_anything(self, options: dict[str, Any]) -> None:
        assert list(options)[-1] in refusal(**options)


class TestChoices:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"loop": "trio"}, "loop must be one of auto, uvloop, asyncio, got 'trio'"),
            ({"log_format": "xml"}, "log_format must be one of text, json, got 'xml'"),
            (
                {"log_level": "loud"},
                "log_level must be one of debug, info, warning, error, critical, got 'loud'",
            ),
        ],
        ids=["loop", "log_format", "log_level"],
    )
    def test_another_word_is_refused_with_those_there_are(
        self, options: dict[str, Any], message: str
    ) -> None:
        assert refusal(**options) == message


class TestCombinations:
    @pytest.mark.parametrize("name", ["keyfile", "ca_certs"])
    def test_tls_files_need_a_certificate(self, name: str) -> None:
        expected = f"{name} needs certfile, which turns TLS on"
        assert refusal(**{name: "file.pem"}) == expected

    def test_a_certificate_and_a_context_exclude_each_other(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        message = refusal(certfile="cert.pem", ssl_context=context)
        assert message == "certfile and ssl_context exclude each other; give one of them"

    @pytest.mark.parametrize("name", ["keyfile", "ca_certs"])
    def test_a_context_holds_its_own_files(self, name: str) -> None:
        options = {name: "file.pem", "ssl_context": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)}
        message = (
            "keyfile, keyfile_password and ca_certs go with certfile; ssl_context holds its own"
        )
        assert refusal(**options) == message

    def test_a_pool_of_processes_is_refused(self) -> None:
        with ProcessPoolExecutor(1) as pool:
            assert refusal(executor=pool) == (
                "executor must run threads: a request cannot be pickled to another process; use a "
                "ThreadPoolExecutor or leave it to the worker threads"
            )

    def test_views_with_loops_of_their_own_are_not_cancelled_by_an_option(self) -> None:
        message = refusal(cancel_on_disconnect=True, async_views_on_loop=False)
        assert message.startswith(
            "cancel_on_disconnect cancels views that run on the server's loop"
        )

    def test_a_pool_of_threads_is_accepted(self) -> None:
        with ThreadPoolExecutor(1) as pool:
            assert Config(executor=pool).executor is pool


class TestRootPath:
    @pytest.mark.parametrize("path", ["", "/api", "/api/v1"])
    def test_a_path_is_accepted(self, path: str) -> None:
        assert Config(root_path=path).root_path == path

    @pytest.mark.parametrize("path", ["/", "api", "/api/", "api/"])
    def test_anything_else_is_refused(self, path: str) -> None:
        # PEP 3333: SCRIPT_NAME may be empty; RFC 3875 4.1.13: it begins with a slash and does not
        # end with one.
        message = f"root_path must begin with a slash and not end with one, got {path!r}"
        assert refusal(root_path=path) == message


class TestAccessLogFormat:
    @pytest.mark.parametrize(
        ("line_format", "message"),
        [
            pytest.param(
                "%(stats)s",
                "there is no field 'stats'; the fields are client, method, target, protocol, "
                "status, size, duration, seconds, referer, user_agent",
                id="an unknown field",
            ),
            pytest.param(
                "hello",
                "'hello' names no field; write %(status)s and the like",
                id="no field at all",
            ),
            pytest.param(
                "",
                "'' names no field; write %(status)s and the like",
                id="nothing",
            ),
            pytest.param("%s %s", "'%s %s' is no %(name)s format: ", id="fields without a name"),
            pytest.param("%(status)", "'%(status)' is no %(name)s format: ", id="no conversion"),
            pytest.param("%(method)d", "'%(method)d' is no %(name)s format: ", id="a wrong one"),
            pytest.param("%(status)y", "'%(status)y' is no %(name)s format: ", id="an unknown one"),
        ],
    )
    def test_one_that_no_request_fills_in_is_refused(self, line_format: str, message: str) -> None:
        assert refusal(access_log_format=line_format).startswith(f"access_log_format: {message}")

    def test_every_field_may_be_named(self) -> None:
        names = "client method target protocol status size duration seconds referer user_agent"
        line_format = " ".join(f"%({name})s" for name in names.split())
        assert Config(access_log_format=line_format).access_log_format == line_format


class TestFromOptions:
    def test_it_makes_what_the_constructor_makes(self) -> None:
        assert Config.from_options({"port": 80, "threads": 2}) == Config(port=80, threads=2)

    @pytest.mark.parametrize(
        ("bind", "expected"),
        [
            pytest.param(":80", (":80",), id="one"),
            pytest.param([":80", ":81"], (":80", ":81"), id="a list"),
            pytest.param((":80",), (":80",), id="a tuple"),
        ],
    )
    def test_bind_may_be_one_or_several(self, bind: Any, expected: tuple[str, ...]) -> None:
        assert Config.from_options({"bind": bind}).bind == expected

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("thread", "there is no option 'thread'; did you mean 'threads'?"),
            ("keepalive_timeout", "did you mean 'keep_alive_timeout'?"),
            ("ssl_certfile", "did you mean 'certfile'?"),
            ("zzz", "there is no option 'zzz'; see docs/options.md"),
            ("reload", "'reload'; the command line has it: asyncwsgi --reload ... APP"),
            ("reload_dirs", "the command line has it: asyncwsgi --reload-dir ... APP"),
            ("extra_files", "the command line has it: asyncwsgi --reload-include ... APP"),
            ("use_reloader", "the command line has it: asyncwsgi --reload ... APP"),
            ("use_debugger", "the command line has it: asyncwsgi --debug ... APP"),
            ("workers", "'workers'; a server is one process; several are asyncwsgi.run("),
            ("processes", "'processes'; a server is one process; several are asyncwsgi.run("),
        ],
    )
    def test_an_unknown_option_is_refused_with_the_nearest_one(
        self, name: str, message: str
    ) -> None:
        with pytest.raises(ConfigError, match=re.escape(message)):
            Config.from_options({name: 1})

    def test_the_options_it_is_given_stay_as_they_are(self) -> None:
        options = {"bind": ":80"}
        Config.from_options(options)
        assert options == {"bind": ":80"}


class TestObservation:
    @pytest.mark.parametrize("name", ["health_path", "ready_path"])
    @pytest.mark.parametrize("path", ["health", "/a?b", "/a\n"])
    def test_a_path_begins_with_a_slash_and_has_no_query(self, name: str, path: str) -> None:
        message = f"{name} must begin with a slash and have no query, got {path!r}"
        assert refusal(**{name: path}) == message

    def test_health_and_readiness_have_a_path_each(self) -> None:
        assert refusal(health_path="/-", ready_path="/-") == (
            "health_path and ready_path are both '/-'; a server that stops is healthy and not "
            "ready, so they need a path each"
        )

    @pytest.mark.parametrize("bind", ["9100", ":9100", "localhost", "localhost:http"])
    def test_metrics_are_bound_to_a_host_that_is_said(self, bind: str) -> None:
        assert refusal(metrics_bind=bind) == (
            f"metrics_bind must be HOST:PORT, got {bind!r}; 127.0.0.1:9100 shows metrics to this "
            "machine alone"
        )


def test_a_refusal_is_an_error_of_this_package_and_a_value_error() -> None:
    assert issubclass(ConfigError, AsyncWSGIError)
    assert issubclass(ConfigError, ValueError)


class TestForwarding:
    def test_who_is_trusted_is_an_address(self) -> None:
        assert refusal(forwarded_allow_ips="10.0.0.0/8,proxy").startswith(
            "forwarded_allow_ips: 'proxy' does not appear to be an IPv4 or IPv6 network; expected"
        )

    def test_a_header_that_is_none_is_named_with_those_that_are(self) -> None:
        assert refusal(forwarded_headers="x-forwarded-for,x-real-ip").startswith(
            "forwarded_headers: 'x-real-ip' is none; expected some of x-forwarded-for, "
        )

    def test_forwarded_excludes_the_others(self) -> None:
        assert "excludes them" in refusal(forwarded_headers="Forwarded, X-Forwarded-For")
        Config(forwarded_headers="Forwarded")

    def test_names_may_have_spaces_and_capitals(self) -> None:
        Config(forwarded_allow_ips=" ::1 , unix", forwarded_headers=" X-Forwarded-For ,")


class TestProxyProtocol:
    def test_it_needs_the_proxies_names(self) -> None:
        assert "needs proxy_protocol_allow_ips" in refusal(proxy_protocol=True)
        Config(proxy_protocol=True, proxy_protocol_allow_ips="*")

    def test_their_names_are_for_nothing_else(self) -> None:
        assert "is for proxy_protocol, which is off" in refusal(proxy_protocol_allow_ips="::1")

    def test_they_are_addresses(self) -> None:
        message = refusal(proxy_protocol=True, proxy_protocol_allow_ips="haproxy")
        assert message.startswith("proxy_protocol_allow_ips: 'haproxy' does not")
