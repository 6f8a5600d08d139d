#!/bin/sh
# Make the app if it is not there, then serve it; see docs/how-to/hospital.md. STUDIES is a folder or a DICOMweb address.
set -eu
umask 077
APP=${APP:-/data/app}
mkdir -p "$(dirname "$APP")" "$HOME" "${MONAI_CUAS_TMP:-/tmp}"
[ -f "$APP/main.py" ] || python -m monai_cuas label-app --output "$APP"
# an empty folder to run in: the server reads .env of its working directory
cd "$(mktemp -d)"
exec python -m monai_cuas.label start_server --app "$APP" --studies "$STUDIES" \
    --host "${HOST:-127.0.0.1}" --port "${PORT:-8000}"
