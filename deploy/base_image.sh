#!/bin/sh
# Makes the base image of `bentoml containerize` from Debian packages, for hosts that reach Debian's
# archive but no registry of images. Needs root, debootstrap and podman.
#   deploy/base_image.sh && bentoml containerize vitrine:latest --backend podman --image-tag vitrine:latest
set -eu
IMAGE="${1:-docker.io/library/python:3.11-slim}"  # the name that the bento asks for
ROOT="$(mktemp -d)"
trap 'rm -rf "$ROOT"' EXIT
debootstrap --variant=minbase --include=ca-certificates,python3.11,python3.11-venv,python3-pip \
    bookworm "$ROOT/root"
rm -f "$ROOT"/root/usr/lib/python3.11/EXTERNALLY-MANAGED "$ROOT"/root/var/cache/apt/archives/*.deb
ln -sf python3 "$ROOT/root/usr/bin/python"
tar -C "$ROOT/root" -c . | podman import --change 'CMD ["python3"]' - "$IMAGE"
