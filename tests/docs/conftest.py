"""Programs of a test, as those of the doors are started."""

from tests.doors.conftest import start as start
from tests.doors.conftest import write as write
