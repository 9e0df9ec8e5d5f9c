#!/usr/bin/env bash
# test_pull.sh - nibble pull against a hub on this machine (stub_hub.py): what it writes, what goes
# wrong on the way, and what it says of it.
exec python3 "$(dirname "$0")/pull_cases.py"
