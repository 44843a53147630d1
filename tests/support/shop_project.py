"""A project file for tests."""

from __future__ import annotations

from feature_delivery.bootstrap.project_file import parse_project
from feature_delivery.domain.project import ProjectConfig

PROJECT = """
name: shop
title: The shop
repository: {repository}
branches: {{production: production, preprod: preprod}}
people:
  dora: {{roles: [developer], emails: [dev@example.com]}}
  rita: {{roles: [reviewer]}}
  tess: {{roles: [tester]}}
  max: {{roles: [manager]}}
  olga: {{roles: [operator]}}
choices: {{start_gate: true, observe_for: 2s}}
"""


def project_text(repository: str = "/nowhere/shop.git", *, name: str = "shop") -> str:
    return PROJECT.format(repository=repository).replace("name: shop", f"name: {name}")


def shop_project(repository: str = "/nowhere/shop.git") -> ProjectConfig:
    return parse_project(project_text(repository), where="shop.yaml")
