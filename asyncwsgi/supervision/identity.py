"""As whom a process serves, and where its number is written: ``--user``, ``--group``, ``--pid``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asyncwsgi.errors import BindError, ConfigError

if TYPE_CHECKING:
    from asyncwsgi.server.listeners import Listener

LARGEST_NUMBER = 2**32 - 2
"""Of a user or a group; the next one, -1 as unsigned, says to the system calls "leave it"."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A user and groups, as which whoever is started by root serves."""

    user: int
    group: int
    groups: tuple[int, ...]

    @classmethod
    def of(cls, user: str | None, group: str | None) -> Identity | None:
        """That of a user and a group, each by its name or its number; None if it is this one's.

        Raises:
            ConfigError: there is none of that name, or this process may not become it.
        """
        if os.name != "posix" or (user is None and group is None):
            return None
        user_id, main_group, groups = _look_up_user(user)
        group_id = main_group if group is None else _look_up_group(group)
        if (user_id, group_id) == (os.geteuid(), os.getegid()):
            return None
        if os.geteuid() != 0:
            raise ConfigError(
                f"user {user_id} and group {group_id} are for who is started as root, and this is "
                f"user {os.geteuid()}; leave user and group out"
            )
        return cls(user_id, group_id, groups)

    def popen_arguments(self) -> dict[str, Any]:
        """What has `subprocess.Popen` start a process of this identity."""
        return {"user": self.user, "group": self.group, "extra_groups": self.groups}

    def assume(self) -> None:
        """Have this process be of this identity; there is no way back."""
        os.setgroups(self.groups)
        os.setgid(self.group)
        os.setuid(self.user)

    def own_file(self, path: str) -> None:
        """Have a file belong to it, so that it may be opened once more."""
        os.chown(path, self.user, self.group)

    def own(self, listeners: Sequence[Listener]) -> None:
        """Have the files of Unix sockets belong to it."""
        for listener in listeners:
            if listener.is_unix and not listener.is_inherited:
                self.own_file(str(listener.address))


def _look_up_user(user: str | None) -> tuple[int, int, tuple[int, ...]]:
    import grp
    import pwd

    if user is None:
        return os.geteuid(), os.getegid(), tuple(os.getgroups())
    try:
        entry = pwd.getpwuid(_number("user", user)) if user.isdecimal() else pwd.getpwnam(user)
    except KeyError:
        if user.isdecimal():  # as in a container whose users have numbers alone
            return _number("user", user), os.getegid(), ()
        raise ConfigError(f"there is no user {user!r}; expected a name or a number") from None
    groups = {each.gr_gid for each in grp.getgrall() if entry.pw_name in each.gr_mem}
    return entry.pw_uid, entry.pw_gid, tuple(sorted(groups | {entry.pw_gid}))


def _look_up_group(group: str) -> int:
    import grp

    if group.isdecimal():
        return _number("group", group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ConfigError(f"there is no group {group!r}; expected a name or a number") from None


def _number(kind: str, digits: str) -> int:
    number = int(digits)
    if number > LARGEST_NUMBER:
        raise ConfigError(f"{kind} numbers are from 0 to {LARGEST_NUMBER}, got {number}")
    return number


@contextlib.contextmanager
def pid_file(path: str | None) -> Iterator[None]:
    """Have the number of this process in a file, as long as the context lasts.

    Raises:
        BindError: it names another process that runs, or cannot be written.
    """
    if path is None:
        yield
        return
    file, own = Path(path), f"{os.getpid()}\n"
    try:
        _refuse_running(file)
        # Whoever reads it finds all of it, or what was there before.
        draft = file.with_name(f"{file.name}.{os.getpid()}")
        draft.write_text(own)
        draft.replace(file)
    except OSError as error:
        if isinstance(error, BindError):
            raise
        raise BindError(f"the pid file {path} cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if file.read_text() == own:  # else another has its own there
                file.unlink()


def _refuse_running(file: Path) -> None:
    try:
        pid = int(file.read_text())
        os.kill(pid, 0)
    except (FileNotFoundError, ProcessLookupError, ValueError, OverflowError):
        return  # nothing is there, or what a process has left that is dead
    except PermissionError:
        pass  # it runs, as somebody else
    if pid not in (os.getpid(), os.getppid()) and pid > 0:
        raise BindError(
            f"process {pid}, which the pid file {file} names, runs already; stop it, or give "
            "another file"
        )
