#!/bin/sh
# commit.sh - prints the commit of these sources, short, with -dirty behind it when files differ
# from it; "unknown" outside of git.  In a tarball .commit holds it (.gitattributes).
cd "$(dirname "$0")/.."
written=$(cat .commit 2>/dev/null)
case $written in
''|*Format*) ;;
*) echo "$written"; exit 0 ;;
esac
[ -e .git ] && git describe --always --dirty --exclude='*' 2>/dev/null || echo unknown
