from django.apps import AppConfig


class GiftsConfig(AppConfig):
    """What this shop adds to django-oscar: wrapping paper."""

    name = "gifts"
    default_auto_field = "django.db.models.AutoField"
