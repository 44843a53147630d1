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
# tar ends with 1 when a file changed while it was read: in a running instance one always may.
$compose exec -T api-core sh -c 'tar -C /opt/airflow/state --warning=no-file-changed -czf - . || [ $? = 1 ]' \
    >"$folder.part/state.tar.gz"
# Under its name only when it is whole.
mv "$folder.part" "$folder"
echo "$folder"
