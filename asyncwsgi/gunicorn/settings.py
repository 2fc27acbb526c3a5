"""What gunicorn's settings mean for a server: options of it, or an error that names them.

A setting counts here if it differs from gunicorn's default; what was set to the default cannot be
told from what was not set. So a worker without settings is a server without options.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gunicorn.config import Config as Settings
from gunicorn.config import make_settings

from asyncwsgi.config import Config
from asyncwsgi.errors import ConfigError

_UNLIMITED = 1 << 30
_SHORTEST_TIMEOUT = 0.01

_OPTIONS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "threads": lambda count: {"threads": count},
    "worker_connections": lambda count: {"max_connections": count},
    # With 0 none is kept: see `Worker.keeps_connections`.
    "keepalive": lambda seconds: {"keep_alive_timeout": max(seconds, _SHORTEST_TIMEOUT)},
    "limit_request_line": lambda size: {"max_target_size": size or _UNLIMITED},
    "limit_request_fields": lambda count: {"max_headers": count or _UNLIMITED},
    "root_path": lambda path: {"root_path": path},
    "forwarded_allow_ips": lambda names: {"forwarded_allow_ips": ",".join(names)},
}
"""What a setting that was set is as options."""

_OF_MASTER = {
    "config", "wsgi_app", "workers", "worker_class", "preload_app", "reuse_port", "chdir",
    "daemon", "raw_env", "pidfile", "worker_tmp_dir", "user", "group", "umask", "initgroups",
    "spew", "check_config", "print_config", "enable_backlog_metric", "proc_name",
    "default_proc_name", "pythonpath", "paste", "raw_paste_global_conf",
    "enable_stdio_inheritance", "control_socket", "control_socket_mode",
    "control_socket_disable", "dirty_apps", "dirty_workers", "dirty_timeout", "dirty_threads",
    "dirty_graceful_timeout", "on_starting", "on_reload", "when_ready", "pre_fork", "post_fork",
    "pre_exec", "child_exit", "worker_exit", "nworkers_changed", "on_exit", "on_dirty_starting",
    "dirty_post_fork", "dirty_worker_init", "dirty_worker_exit",
}  # fmt: skip
"""What gunicorn does itself, whatever the worker."""
_OF_WORKER = {
    "bind", "backlog", "protocol", "uwsgi_allow_ips", "max_requests", "max_requests_jitter",
    "timeout", "graceful_timeout", "sendfile", "reload", "reload_engine", "reload_extra_files",
    "post_worker_init", "worker_int", "worker_abort", "pre_request", "post_request",
    "accesslog", "access_log_format", "disable_redirect_access_to_syslog", "errorlog",
    "loglevel", "capture_output", "logger_class", "logconfig", "logconfig_dict",
    "logconfig_json", "syslog", "syslog_addr", "syslog_prefix", "syslog_facility",
    "statsd_host", "statsd_prefix", "dogstatsd_tags", "keyfile", "certfile", "ca_certs",
    "cert_reqs", "ciphers", "ssl_version", "ssl_context",
}  # fmt: skip
"""What the worker looks at, here or where it comes up; much of it by gunicorn's own functions."""

_CURES = {
    "limit_request_field_size": "a head is bounded as a whole, by the option max_head_size",
}


def config_of(settings: Settings, options: Mapping[str, Any], **more: Any) -> Config:
    """The options of a server of one worker.

    Args:
        settings: gunicorn's.
        options: what counts for more.
        more: listeners and TLS, which nobody else may name.

    Raises:
        ConfigError: a setting that asyncwsgi does not serve, or an option that is none.
    """
    given = _names_set(settings)
    unserved = given - _OPTIONS.keys() - _OF_MASTER - _OF_WORKER
    if unserved:
        raise ConfigError(_refusal(sorted(unserved)))
    values: dict[str, Any] = {
        "backlog": settings.backlog,
        "graceful_timeout": _time_to_drain(settings.graceful_timeout),
        "access_log": False,  # gunicorn writes its own
    }
    for name in sorted(given & _OPTIONS.keys()):
        values |= _OPTIONS[name](getattr(settings, name))
    if speaks_uwsgi(settings):
        values["uwsgi_allow_ips"] = ",".join(settings.uwsgi_allow_ips)
    return Config.from_options({**values, **options, **more})


def speaks_uwsgi(settings: Settings) -> bool:
    """Whether clients speak the uwsgi protocol; older releases of gunicorn do not know it."""
    return bool(getattr(settings, "protocol", "http") == "uwsgi")


def _names_set(settings: Settings) -> set[str]:
    defaults = make_settings()
    return {
        name
        for name, setting in settings.settings.items()
        if name not in defaults or setting.get() != defaults[name].get()
    }


def _refusal(names: list[str]) -> str:
    listed = ", ".join(names)
    cures = [f"{name}: {_CURES[name]}" for name in names if name in _CURES]
    return "; ".join(
        [f"asyncwsgi does not serve what gunicorn was set to by {listed}; leave it out", *cures]
    )


def _time_to_drain(graceful_timeout: float) -> float:
    """Seconds for requests in flight: the master kills a worker after `graceful_timeout`.

    Who was cut needs a moment of that to tidy up.
    """
    return graceful_timeout - min(2.0, graceful_timeout / 10)
