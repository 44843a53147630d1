#!/bin/sh
# Backs up what docker-compose.yaml runs, while it runs: scripts/backup.sh [FOLDER]
# The database in one consistent snapshot, the volume `state` (repositories, production of local shops, passwords), and
# the folder of project files. .env and settings.env are not in it.
set -eu
cd "$(dirname "$0")/.."
compose=${COMPOSE:-docker compose}
folder=${1:-backups}/$(date -u +%Y%m%dT%H%M%SZ)
umask 077
mkdir -p "$folder.part"
# One that failed each night would fill the disk.
trap 'rm -rf "$folder.part"' EXIT
trap 'exit 1' HUP INT TERM
$compose exec -T postgres pg_dump -U airflow -d airflow --format=custom >"$folder.part/database.dump"
# In two parts, one behind the other. What must be whole comes first. Then environments of features, whose code may have
# closed a folder of its own: what cannot be read there is named and left out, else one branch would end every backup.
# What suites and checkouts leave for a moment is in neither, only the empty folders that a release expects.
# tar ends with 1 when a file changed while it was read: in a running instance one always may.
$compose exec -T api-core sh -c '
    cd /opt/airflow/state || exit
    pack() {
        tar -czf - --warning=no-file-changed --anchored --no-wildcards-match-slash \
            --exclude="./environments/[!.]*/.staging" --exclude="./environments/[!.]*/*/suites/*" \
            --exclude="./environments/[!.]*/*/tmp/*" "$@" || [ $? = 1 ]
    }
    pack --exclude="./environments/[!.]*/development-*" --exclude="./environments/[!.]*/preprod-*" . || exit
    [ ! -d environments ] ||
        pack --ignore-failed-read --exclude="./environments/.*" --exclude="./environments/*/production" ./environments
' >"$folder.part/state.tar.gz" || {
    echo "The state could not be read whole: see above what, give Airflow's user the right to read it, and try again." >&2
    exit 1
}
$compose exec -T api-core tar -C /opt/airflow/projects -czf - --warning=no-file-changed . >"$folder.part/projects.tar.gz" ||
    [ $? = 1 ] || {
    echo "The project files could not be read whole: see above which, give Airflow's user the right to read them," \
        "and try again." >&2
    exit 1
}
# Under its name only when it is whole.
mv "$folder.part" "$folder"
echo "$folder"
