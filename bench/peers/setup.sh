#!/bin/sh
# Installs the peers into bench/.peers, which git ignores. Needs npm, and Python 3.10 or later with venv.
# Versions are pinned, so that results of different days can be compared.
set -eu

cd "$(dirname "$0")/.."
mkdir -p .peers
cd .peers

if [ ! -e restate/node_modules ]; then
    mkdir -p restate
    (cd restate && npm init --yes >/dev/null && npm install --silent --no-fund --no-audit @restatedev/restate-server@1.7.12)
fi
if [ ! -x restate-sdk/bin/hypercorn ]; then
    python3 -m venv restate-sdk
    restate-sdk/bin/pip install --quiet --disable-pip-version-check restate_sdk==1.3.0 hypercorn==0.18.0
fi
if [ ! -x dbos/bin/python ]; then
    python3 -m venv dbos
    dbos/bin/pip install --quiet --disable-pip-version-check dbos==3.4.0
fi
if [ ! -x queues/bin/rq ]; then
    python3 -m venv queues
    # Celery needs `packaging` with Redis, and does not say so.
    queues/bin/pip install --quiet --disable-pip-version-check rq==3.0.0 celery==5.7.0 redis==8.1.0 packaging==26.3
fi
if ! command -v redis-server >/dev/null; then
    echo "RQ and Celery need a redis-server: apt-get install redis-server" >&2
fi
echo "The peers are in bench/.peers."
