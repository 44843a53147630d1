"""The part of a project file that says how it runs on Kubernetes."""

from __future__ import annotations

from dataclasses import fields

import pytest

from feature_delivery.bootstrap.project_file import parse_project
from feature_delivery.domain.cluster import BackingService, ClusterConfig
from feature_delivery.domain.errors import Misconfigured

PEOPLE = """
people:
  dan: {roles: [developer]}
  rob: {roles: [reviewer]}
  tom: {roles: [tester]}
  mia: {roles: [manager, operator]}
"""
HEAD = f"name: shop\nrepository: https://git.test/shop.git\n{PEOPLE}"
SMALL = """
platform:
  kind: kubernetes
  image: registry.test/shop:{commit}
  production: {namespace: shop-production}
"""
WHOLE = """
platform:
  kind: kubernetes
  connection: staging
  production: {namespace: shop-production, connection: live, replicas: 3}
  runtime: python:3.12
  clone_image: alpine/git:2
  git_secret: git-login
  pull_secret: registry
  secrets: [payment]
  secrets_from: shared
  ingress: {host: "{environment}.shop.test", production_host: shop.test, class_name: nginx, tls_secret: wildcard,
    tls_from: certificates, annotations: {nginx.ingress.kubernetes.io/proxy-body-size: 8m}}
  resources: {cpu: 250m, memory: 512Mi, memory_limit: 1Gi}
  quota: {requests.cpu: "8"}
  allow_from: [monitoring]
  reach: [10.20.0.0/16]
  expires_after: 7d
  services:
    postgres:
      image: postgres:17
      port: 5432
      variables: {POSTGRES_PASSWORD: shop}
      gives: {DATABASE_URL: "postgresql://postgres:shop@{host}:{port}/postgres"}
      data: /var/lib/postgresql/data
      scratch: [/var/run/postgresql]
      ready: pg_isready -U postgres
      seed: python -m shop.seed
      run_as: 999
"""
CLONED = "  runtime: python:3\n  clone_image: git:2\n  git_secret: git"
HOST, ISSUER = "host: '{environment}.shop.test'", "cert-manager.io/cluster-issuer"


def cluster(text: str) -> ClusterConfig:
    found = parse_project(HEAD + text, where="shop.yaml")
    assert found.platform == "kubernetes"
    assert found.cluster is not None
    return found.cluster


def test_a_small_part_is_enough() -> None:
    found = cluster(SMALL)
    assert (found.connection, found.production_namespace, found.replicas) == (
        "kubernetes_default",
        "shop-production",
        1,
    )
    assert found == ClusterConfig(image="registry.test/shop:{commit}", production_namespace="shop-production")


def test_a_whole_part_arrives_whole() -> None:
    found = cluster(WHOLE)
    default = ClusterConfig()
    same = {field.name for field in fields(found) if getattr(found, field.name) == getattr(default, field.name)}
    assert same == {"image", "workdir", "build", "replicas", "suite_resources", "run_as", "manifests", "service"}
    assert found.sources_of_secrets == {
        **dict.fromkeys(("registry", "git-login", "payment"), "shared"),
        "wildcard": "certificates",
    }
    assert found.ingress is not None
    assert (found.ingress.scheme, len(found.ingress.annotations)) == ("https", 1)
    postgres = found.services[0]
    assert isinstance(postgres, BackingService)
    assert (postgres.name, postgres.ready) == ("postgres", ("pg_isready", "-U", "postgres"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("{commit}", "latest"), "each commit has an image of its own"),
        (("{commit}", "{commit}{x}"), "only {commit} is filled in"),
        (("shop:{commit}", "shop;{commit}"), "write an image like"),
        (("image: registry.test/shop:{commit}", "replicas: 1"), "name either 'image'"),
        (("image:", "runtime: python\n  image:"), "name either 'image'"),
        (("image: registry.test/shop:{commit}", "runtime: python:3"), "needs a 'clone_image'"),
        (("shop-production", "Shop_Production"), "field 'platform.production.namespace'"),
        (("production: {namespace: shop-production}", "replicas: 1"), "field 'platform.production'"),
        (("image:", "manifests: k8s\n  image:"), "'manifests' and 'service' go together"),
        (("image:", "manifests: ../k8s\n  service: web\n  image:"), "write a folder of the repository"),
        (("image:", "reach: [everything]\n  image:"), "field 'platform.reach.0'"),
        (("image:", "ingress: {host: shop.test}\n  image:"), "needs {environment} in it"),
        (("image:", "ingress: {host: '{environment}{x}.test'}\n  image:"), "needs {environment} in it"),
        (("image:", f"ingress: {{{HOST}, tls_from: x}}\n  image:"), "name that, too"),
        (("image:", f"ingress: {{{HOST}, tls_secret: x, https: true}}\n  image:"), "with 'tls_secret' leave it out"),
        (("image:", f"ingress: {{{HOST}, annotations: {{{ISSUER}: x}}}}\n  image:"), "needs a 'tls_secret'"),
        (
            ("image:", f"ingress: {{{HOST}, tls_secret: x, tls_from: y, annotations: {{{ISSUER}: x}}}}\n  image:"),
            "leave 'tls_from' out",
        ),
        (
            ("image: registry.test/shop:{commit}", f"manifests: k\n  service: w\n{CLONED}"),
            "'git_secret' is not for 'manifests'",
        ),
        (("image:", "manifests: k\n  service: w\n  pull_secret: registry\n  image:"), "name as 'secrets_from' another"),
        (
            ("image:", f"manifests: k\n  service: w\n  ingress: {{{HOST}, tls_secret: x, tls_from: y}}\n  image:"),
            "is not for 'manifests'",
        ),
        (
            ("image:", f"secrets: [x]\n  secrets_from: t\n  ingress: {{{HOST}, tls_secret: x, tls_from: y}}\n  image:"),
            "a branch would read the key",
        ),
        (("image:", f"ingress: {{{HOST}, annotations: {{'a b': x}}}}\n  image:"), "platform.ingress.annotations"),
        (("image:", "services: {Postgres: {image: p, port: 1}}\n  image:"), "field 'platform.services.Postgres"),
        (("image:", "services: {p: {image: p, port: 0}}\n  image:"), "field 'platform.services.p.port'"),
        (("image:", "resources: {cpu: lots}\n  image:"), "field 'platform.resources.cpu'"),
        (("image:", "secrets: ['../x']\n  image:"), "field 'platform.secrets.0'"),
        (("image:", "namespaces: x\n  image:"), "field 'platform.namespaces'"),
        (("kubernetes", "nomad"), "field 'platform"),
    ],
)
def test_what_is_wrong_is_named(change: tuple[str, str], sentence: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        cluster(SMALL.replace(*change, 1))
    assert sentence in str(caught.value)


def test_commits_are_cloned_only_from_where_pods_can_reach() -> None:
    for address in ("/srv/shop.git", "git@git.test:shop.git", "https://user:secret@git.test/shop.git"):
        with pytest.raises(Misconfigured, match="repository by http") as caught:
            parse_project(HEAD.replace("https://git.test/shop.git", address) + WHOLE, where="shop.yaml")
        assert "secret@" not in str(caught.value)
