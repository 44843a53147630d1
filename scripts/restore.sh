#!/bin/sh
# Puts a backup into a stack whose database is empty: scripts/restore.sh FOLDER
# What it puts back does nothing until somebody says whose it is: "Back up and restore" in docs/production.md.
set -eu
cd "$(dirname "$0")/.."
compose=${COMPOSE:-docker compose}
folder=${1:?the folder that scripts/backup.sh printed}
for file in database.dump state.tar.gz; do
    [ -s "$folder/$file" ] || { echo "'$folder' is no backup: it has no '$file'." >&2; exit 1; }
done
# Where compose has them from: the environment goes before .env.
projects=${PROJECTS:-$(sed -n "s/^\(export \)\{0,1\}PROJECTS=//p" .env | tail -n 1 |
    sed "s/^\([\"']\)\(.*\)\1.*/\2/; t; s/[[:space:]]#.*//; s/[[:space:]]*\$//")}
case $projects in
    "~/"*) projects=$HOME/${projects#"~/"} ;;
    *'$'*) echo "PROJECTS in .env has a variable in it, '$projects': write the folder's whole name." >&2; exit 1 ;;
esac
[ -n "$projects" ] || { echo "Say in .env which folder the project files go into: PROJECTS=/srv/projects" >&2; exit 1; }
$compose up -d postgres
tries=60
until $compose exec -T postgres psql -h 127.0.0.1 -U airflow -d airflow -qtAc 'select 1' >/dev/null 2>&1; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { echo "PostgreSQL does not answer. Look at '$compose logs postgres'." >&2; exit 1; }
    sleep 1
done
tables=$($compose exec -T postgres psql -h 127.0.0.1 -U airflow -d airflow -qtAc "select count(*) from pg_tables where schemaname = 'public'")
if [ "$tables" != 0 ]; then
    echo "The database holds $tables tables; a backup goes into an empty one only. Nothing was changed." >&2
    exit 1
fi
# Only where there are none: what is there may be newer, and a file that was removed must not come back as a project.
mkdir -p "$projects"
if [ -n "$(ls -A "$projects")" ]; then
    echo "'$projects' is not empty and stays as it is. The project files of the backup: $folder/projects.tar.gz"
elif [ ! -s "$folder/projects.tar.gz" ]; then
    echo "The backup is an older one, without project files. Put yours into '$projects' before you start anything."
elif ! tar -C "$projects" --no-same-owner -pxzf "$folder/projects.tar.gz"; then # -p: for Airflow's user to read them
    echo "The project files could not be put into '$projects' whole. Empty it, and try again." >&2
    exit 1
fi
# The state can be put back again and again. The database is there as a whole or not at all, and comes last: a restore
# that failed half way finds it empty and can be repeated.
$compose run --rm -T --no-deps --entrypoint tar migrations -C /opt/airflow/state --ignore-zeros -xzf - <"$folder/state.tar.gz"
$compose exec -T postgres pg_restore -U airflow -d airflow --no-owner --single-transaction --exit-on-error <"$folder/database.dump"
cat <<END
Restored. It does nothing until you say whose ledger it is. Has the instance of the backup ended, for good? Then this one
takes its place:
    $compose run --rm migrations bash -c 'airflow db migrate && feature-delivery instance adopt'
Does it go on? Then this is a copy, which becomes an instance of its own and touches nothing of the other's:
    $compose run --rm migrations bash -c 'airflow db migrate && feature-delivery instance fork'
After that, start it:
    $compose up -d
END
