"""Django's own migrations of auth, admin, sessions and sites, by the connection in the PG* variables."""

import os

from django.conf import settings
from django.core.management import call_command

import django

settings.configure(
    SECRET_KEY="schemas",
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=[
        f"django.contrib.{app}"
        for app in (
            "contenttypes",
            "auth",
            "admin",
            "messages",
            "sessions",
            "sites",
            "redirects",
            "flatpages",
        )
    ],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": os.environ["PGDATABASE"],
            "HOST": os.environ["PGHOST"],
            "PORT": os.environ["PGPORT"],
            "USER": os.environ["PGUSER"],
        }
    },
)
django.setup()
call_command("migrate", verbosity=0)

from django.contrib.auth.models import Group, Permission, User  # noqa: E402, models need a setup first

permissions = list(Permission.objects.all())
for tenant in range(1, 4):
    group = Group.objects.create(name=f"editors of {tenant}")
    group.permissions.set(permissions[: tenant * 5])
    for number in range(30):
        user = User.objects.create(username=f"u{number}@{tenant}", first_name="Jö", password="!")
        user.groups.add(group)
        user.user_permissions.set(permissions[number % 7 : number % 7 + 3])
