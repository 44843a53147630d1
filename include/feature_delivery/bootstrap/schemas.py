"""JSON Schemas of project files and of ``delivery.yaml``, made from the models that read them; editors use them."""

from __future__ import annotations

import json

from feature_delivery.bootstrap.project_file import ProjectFile
from feature_delivery.services.delivery_file import EditorSchema, delivery_schema

PROJECT, DELIVERY = "project.schema.json", "delivery.schema.json"
DRAFT = "https://json-schema.org/draft/2020-12/schema"


def schema_line(name: str) -> str:
    """Return the comment by which editors find the schema ``name`` beside a file."""
    return f"# yaml-language-server: $schema=./{name}\n"


def schemas() -> dict[str, str]:
    """Return each schema as text by the name of its file."""
    made = {
        PROJECT: ("A project file of feature_delivery", ProjectFile.model_json_schema(schema_generator=EditorSchema)),
        DELIVERY: ("delivery.yaml of feature_delivery", delivery_schema()),
    }
    return {
        name: json.dumps({"$schema": DRAFT, **schema, "title": title}, indent=1, ensure_ascii=False) + "\n"
        for name, (title, schema) in made.items()
    }
