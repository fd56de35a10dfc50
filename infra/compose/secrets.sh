#!/bin/sh
# Makes what is missing: the secrets in ./secrets (or in the folder that is named), each random, and
# .env with Grafana's password. What is there stays. Nothing is printed.
set -eu
cd "$(dirname "$0")"
folder=${1:-secrets}

# Compose mounts the files as they are, and containers run as different users: everybody may read
# the files, but only their owner gets into the folder.
umask 077
mkdir -p "$folder"
keep() {
  file="$folder/$1"
  shift
  test -s "$file" || "$@" > "$file"
  chmod 644 "$file"
}

for name in clickhouse-password redis-password mqtt-password service-token admin-password; do
  keep "$name" openssl rand -hex 24
done
# A folder of its own, which is mounted: keys are added to it and taken away while auth runs.
mkdir -p "$folder/signing-keys"
chmod 755 "$folder/signing-keys"
# From where it was before; with another key everybody would have to log in again.
signing="$folder/signing-keys/signing-key.pem"
test -s "$signing" || test ! -s "$folder/signing-key" || mv "$folder/signing-key" "$signing"
keep signing-keys/signing-key.pem openssl genpkey -algorithm ed25519
test -s .env || sed "s/^GRAFANA_PASSWORD=\$/&$(openssl rand -hex 16)/" .env.example > .env
