#!/bin/sh
# Runs an image confined as the files for Kubernetes confine it (not root, read-only, no capabilities),
# and says how long it takes to the first answer, whether it is healthy, and whether it stops cleanly.
#   deploy/try_image.sh vitrine:latest            # ENGINE="podman --runtime runc" chooses the engine
#   deploy/try_image.sh vitrine:latest --gpus all # further options of `run`
set -eu
ENGINE="${ENGINE:-podman}"
IMAGE="$1"
shift
PORT=3377
NAME="vitrine-try-$$"
HEALTH="import urllib.request as u; u.urlopen('http://127.0.0.1:$PORT/readyz')"
PICTURE="$(dirname "$0")/../serving/sample.jpg"
trap '$ENGINE rm --force "$NAME" > /dev/null 2>&1' EXIT
begun=$(date +%s)
$ENGINE run --detach --name "$NAME" --network host --read-only --tmpfs /tmp:mode=1777 \
    --cap-drop ALL --security-opt no-new-privileges "$@" \
    --env BENTOML_HOME=/tmp/bentoml --env VITRINE_DATABASE=/tmp/gallery.sqlite3 \
    --env VITRINE_WORKERS="${VITRINE_WORKERS:-2}" "$IMAGE" serve --port $PORT > /dev/null
until curl --silent --fail --output /dev/null --data-binary @"$PICTURE" \
    "http://127.0.0.1:$PORT/v1/models/cifar10-fast/classify"; do
    [ $(($(date +%s) - begun)) -lt 300 ] || { $ENGINE logs "$NAME" >&2; exit 1; }
    sleep 0.2
done
echo "first answer after $(($(date +%s) - begun)) s"
$ENGINE exec "$NAME" python -c "$HEALTH"
echo "healthy, as user $($ENGINE exec "$NAME" id -u)"
if $ENGINE exec "$NAME" touch /home/bentoml/written 2> /dev/null; then
    echo "its root can be written to" >&2
    exit 1
fi
echo "its root cannot be written to"
$ENGINE stop --time 75 "$NAME" > /dev/null
echo "stopped with status $($ENGINE inspect --format '{{.State.ExitCode}}' "$NAME")"
