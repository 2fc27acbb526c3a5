"""Django's admin in a real browser: styles, forms with their tokens, sessions, the database."""

from __future__ import annotations

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as condition
from selenium.webdriver.support.wait import WebDriverWait

from tests.django.conftest import Project, url_of
from tests.serving.browser.conftest import PATIENCE
from tests.serving.browser.conftest import browser as browser

SETTINGS = """
INSTALLED_APPS = [
    "asyncwsgi.django",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "database.sqlite3"}}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
USE_TZ = True
"""
URLS = """
from django.contrib import admin
from django.urls import path

urlpatterns = [path("admin/", admin.site.urls)]
"""


def test_log_in_look_and_add(project: Project, browser: Chrome) -> None:
    project.set(SETTINGS)
    project.write("urls.py", URLS)
    assert project.manage("migrate").wait() == 0
    owner = {"DJANGO_SUPERUSER_PASSWORD": "secret"}
    create = ("createsuperuser", "--noinput", "--username", "owner", "--email", "o@example.com")
    assert project.manage(*create, environment=owner).wait() == 0
    process = project.manage("runserver", "127.0.0.1:0")
    admin = f"{url_of(process)}admin/"

    log_in(browser, admin)
    assert loaded_styles(browser) == styles(browser) > 0
    add_group(browser, admin, "editors")
    browser.get(f"{admin}auth/group/")
    assert [row.text for row in browser.find_elements(By.CSS_SELECTOR, "th.field-__str__")] == [
        "editors"
    ]
    process.read_until('"POST /admin/auth/group/add/ HTTP/1.1" 302')
    assert "Traceback" not in process.log


def log_in(browser: Chrome, admin: str) -> None:
    browser.get(admin)
    browser.find_element(By.NAME, "username").send_keys("owner")
    browser.find_element(By.NAME, "password").send_keys("secret")
    browser.find_element(By.CSS_SELECTOR, "input[type=submit]").click()
    WebDriverWait(browser, PATIENCE).until(condition.title_contains("Site administration"))


def add_group(browser: Chrome, admin: str, name: str) -> None:
    browser.get(f"{admin}auth/group/add/")
    browser.find_element(By.NAME, "name").send_keys(name)
    browser.find_element(By.NAME, "_save").click()
    said = (By.CSS_SELECTOR, "ul.messagelist li.success")
    message = WebDriverWait(browser, PATIENCE).until(condition.visibility_of_element_located(said))
    assert f"{name}” was added successfully" in message.text


def styles(browser: Chrome) -> int:
    """How many stylesheets the page has."""
    return len(browser.find_elements(By.CSS_SELECTOR, "link[rel=stylesheet]"))


def loaded_styles(browser: Chrome) -> int:
    """How many of them have rules; one that is not there has none, or cannot be read."""
    script = "return Array.from(document.styleSheets).filter(s => s.cssRules.length > 0).length;"
    return int(browser.execute_script(script))
