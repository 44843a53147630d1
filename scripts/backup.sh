#!/bin/sh
# Backs up what docker-compose.yaml runs, while it runs: scripts/backup.sh [FOLDER]
# The database in one consistent snapshot, and the volume `state` (mirrors, local shops, passwords). .env is not in it.
set -eu
cd "$(dirname "$0")/.."
compose=${COMPOSE:-docker compose}
folder=${1:-backups}/$(date -u +%Y%m%dT%H%M%SZ)
umask 077
mkdir -p "$folder.part"
$compose exec -T postgres pg_dump -U airflow -d airflow --format=custom >"$folder.part/database.dump"
$compose exec -T api-core tar -C /opt/airflow/state -czf - . >"$folder.part/state.tar.gz"
# Under its name only when it is whole.
mv "$folder.part" "$folder"
echo "$folder"
