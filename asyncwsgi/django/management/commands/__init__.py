"""``manage.py runserver`` and ``manage.py runasyncwsgi``."""
