import os
import sys

if __name__ == "__main__":
    sys.stdout = sys.stderr  # which is what tests read while the program runs
    os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
    from django.core.management import execute_from_command_line  # type: ignore[import-untyped]

    execute_from_command_line(sys.argv)
