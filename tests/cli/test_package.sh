#!/usr/bin/env bash
# test_package.sh - python/nibble with a program in place of nibble that does what each case needs.
exec python3 "$(dirname "$0")/package_cases.py"
