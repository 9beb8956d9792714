#!/bin/sh
# Build the image of all components with buildah, and write it to a file.
#
#   build.sh [NAME:TAG] [OUT.tar]     default: mtv:<version>, build/mtv-image.tar
#
# What was made before is used again: the base, the wheels. Without a container registry at hand the base is made by mmdebstrap from Debian's own archive,
# once, and kept in MTV_IMAGE_CACHE (default ~/.cache/mtv-image). BASE=<image> takes another one.
set -eu
cd "$(dirname "$0")/../.."

bin=.venv/bin
version=$($bin/python -c 'from importlib import metadata; print(metadata.version("mtv"))')
name=${1:-mtv:$version}
out=${2:-build/mtv-image.tar}
cache=${MTV_IMAGE_CACHE:-$HOME/.cache/mtv-image}
context=build/image
began=$(date +%s)
storage="--storage-driver ${STORAGE_DRIVER:-overlay}"

say() { echo "$(($(date +%s) - began)) s: $*" >&2; }

mkdir -p "$cache" "$context/wheels"
packages=operator/images/packages.txt
key=$(sha256sum $packages | cut -c1-12)
base=${BASE:-localhost/mtv-base:$key}
if [ -z "${BASE:-}" ] && ! buildah $storage images -q "$base" >/dev/null 2>&1; then
    if [ ! -s "$cache/base-$key.tar" ]; then
        say "making the base from Debian's archive"
        mmdebstrap --variant=minbase --include="$(grep -v '^#' $packages | paste -sd,)" \
            --essential-hook='echo "qemu:x:107:" >>"$1/etc/group"' \
            --essential-hook='echo "qemu:x:107:107::/:/usr/sbin/nologin" >>"$1/etc/passwd"' \
            --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
            --dpkgopt='path-exclude=/usr/share/locale/*' bookworm "$cache/base.part.tar" 2>"$cache/base.log"
        mv "$cache/base.part.tar" "$cache/base-$key.tar"
    fi
    say "taking the base"
    container=$(buildah $storage from scratch)
    buildah $storage add -q "$container" "$cache/base-$key.tar" / >/dev/null
    buildah $storage commit -q --rm "$container" "$base" >/dev/null
fi

say "collecting wheels"
# libvirt's binding is Debian's; all else is what uv.lock says.
$bin/uv export -q --frozen --no-dev --no-emit-project --no-emit-package libvirt-python \
    -o "$context/requirements.new" >/dev/null
if ! cmp -s "$context/requirements.new" "$context/requirements.txt"; then
    rm -f "$context"/wheels/*
    $bin/python -m pip download -q --no-deps --only-binary=:all: --python-version 3.11 \
        --dest "$context/wheels" --require-hashes -r "$context/requirements.new"
    mv "$context/requirements.new" "$context/requirements.txt"
fi
rm -f "$context"/mtv-*.whl
$bin/uv build -q --wheel --out-dir "$context"
cp $packages "$context/packages.txt"
cp -L "$bin/uv" "$context/uv"

say "building $name"
buildah $storage bud -q --isolation chroot --build-arg BASE="$base" --tag "$name" \
    -f operator/images/Containerfile "$context" >"$context/build.log" 2>&1 || { tail -20 "$context/build.log" >&2; exit 1; }
say "writing $out"
mkdir -p "$(dirname "$out")"
rm -f "$out"
buildah $storage push -q "$name" "docker-archive:$out:$name"
say "$name is in $out: $(($(stat -c %s "$out") / 1000000)) MB"
