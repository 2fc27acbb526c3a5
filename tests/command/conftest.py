"""Programs and their sources, as those of the doors are."""

from tests.doors.conftest import start as start
from tests.doors.conftest import write as write
