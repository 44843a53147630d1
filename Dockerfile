# Airflow's own image with this package: the versions of uv.lock, byte code compiled. docs/production.md: `docker compose build`.
ARG AIRFLOW=apache/airflow:slim-3.3.2-python3.12

FROM ${AIRFLOW} AS packages
WORKDIR /tmp/package
COPY --chown=airflow:0 pyproject.toml uv.lock README.md LICENSE ./
COPY --chown=airflow:0 include/feature_delivery include/feature_delivery
# What pyproject.toml offers beside the rest, by names with blanks between: docker-compose.yaml says which.
ARG EXTRAS=celery
# The lock says each version and hash; the package itself comes last and brings nothing. What the base has in the same
# version is installed again: uv compiles only what it installs, and the base comes without byte code.
RUN uv export --locked --no-dev $(for extra in ${EXTRAS}; do echo "--extra ${extra}"; done) --no-emit-project \
        --output-file /tmp/requirements.txt --quiet \
    && uv pip install --no-cache --reinstall --compile-bytecode --require-hashes -r /tmp/requirements.txt \
    && uv pip install --no-cache --compile-bytecode --no-deps . \
    && uv pip check

FROM ${AIRFLOW}
USER root
# Copying only adds: without the rm what the first stage replaced would be there in both versions.
RUN apt-get update && apt-get install -y --no-install-recommends git curl \
    && rm -rf /var/lib/apt/lists/* /home/airflow/.local
COPY --from=packages --chown=airflow:0 /home/airflow/.local /home/airflow/.local
COPY --chown=airflow:0 dags /opt/airflow/dags
COPY --chown=airflow:0 plugins /opt/airflow/plugins
# Volumes take the owner of the directories they cover.
RUN install -d -o airflow -g 0 -m 0770 /opt/airflow/state /opt/airflow/projects
USER airflow
ENV FEATURE_DELIVERY_HOME=/opt/airflow/state FEATURE_DELIVERY_PROJECTS=/opt/airflow/projects PYTHONUTF8=1
# For the default command; docker-compose.yaml has one for each part.
HEALTHCHECK --interval=15s --timeout=10s --start-period=5m --retries=4 \
    CMD curl -fsS -m 5 http://127.0.0.1:8080/api/v2/monitor/health || exit 1
CMD ["airflow", "api-server"]
