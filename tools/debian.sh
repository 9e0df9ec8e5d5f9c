#!/usr/bin/env bash
# debian.sh - builds the Debian packages from the tarball of `make dist`, as Debian's own tools do,
# and asks lintian.
#
#   BUILD=build VERSION=0.1.0 tools/debian.sh      leaves them in $BUILD/debian
#
# debian/ is taken from the tarball; its changelog must name the version.
set -euo pipefail
cd "$(dirname "$0")/.."
place=$PWD/$BUILD/debian
tarball=$PWD/$BUILD/nibble-$VERSION.tar.gz
found=$(sed -n '1s/.*(\([^-]*\)-.*/\1/p' debian/changelog)
if [ "$found" != "$VERSION" ]; then
    echo "debian: debian/changelog begins with version $found, the Makefile has $VERSION" >&2
    exit 1
fi

rm -rf "$place"
mkdir -p "$place"
cp "$tarball" "$place/nibble_$VERSION.orig.tar.gz"
tar -xzf "$tarball" -C "$place"
cd "$place/nibble-$VERSION"
# A make that runs this must not lend its flags to the package's build.
env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS dpkg-buildpackage -us -uc "-j$(nproc)" >"$place/log" 2>&1 ||
    { tail -40 "$place/log" >&2; exit 1; }
cd "$place"
rm -rf "nibble-$VERSION"
lintian --fail-on error,warning nibble_*.changes
echo "$place:"
ls -- *.deb
