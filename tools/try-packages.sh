#!/usr/bin/env bash
# try-packages.sh - builds the Debian packages and the wheel, unpacks both into a temporary folder
# and trains three steps with each.  Prints "ok NAME" or "FAILED NAME" lines as the tests do.
#
#   BUILD=build tools/try-packages.sh [deb] [wheel]     default: both
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
build=${BUILD:-build}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0
want=" ${*:-deb wheel} "

check() { # NAME COMMAND...: one case; what the command prints is shown when it fails
    local name=$1
    shift
    if "$@" >"$work/log" 2>&1; then echo "ok $name"; return 0; fi
    cat "$work/log"
    echo "FAILED $name"
    status=1
    return 1
}

three_steps() { # PROGRAM...
    "$@" finetune models/pico --data models/shop.jsonl --output-dir "$work/adapter" --overwrite \
        --max-steps 3 && [ -s "$work/adapter/adapter_model.safetensors" ]
}

unpack_debs() {
    local package
    for package in "$build"/debian/*.deb; do dpkg -x "$package" "$work/root" || return 1; done
    for package in nibble libnibble0 libnibble-dev; do
        compgen -G "$build/debian/${package}_*.deb" || { echo "$package is missing"; return 1; }
    done
}

deb_program() {
    local libraries
    libraries=$(dirname "$(find "$work/root" -name 'libnibble.so.0')")
    LD_LIBRARY_PATH=$libraries three_steps "$work/root/usr/bin/nibble"
}

# The tag is what auditwheel finds, where that is installed.
install_wheel() {
    local wheel tag
    wheel=$(compgen -G "$build/nibble-*.whl") || return 1
    tag=${wheel##*-none-}
    python3 -m venv "$work/venv" &&
        "$work/venv/bin/pip" install --no-index --no-deps "$wheel" || return 1
    ! command -v auditwheel >/dev/null ||
        auditwheel show "$wheel" | tr -s '\n' ' ' |
        grep -F "is consistent with the following platform tag: \"${tag%.whl}\""
}

# Nothing of this machine's environment leads it to other libraries.
wheel_program() { three_steps env -i "$work/venv/bin/nibble"; }
wheel_module() {
    env -i "$work/venv/bin/python" - "$work/adapter" <<'END'
import sys, nibble
held = nibble.evaluate("models/pico", "models/shop-test.jsonl", adapter=sys.argv[1])
run = nibble.finetune("models/pico", data="models/shop.jsonl", output_dir=sys.argv[1],
                      overwrite=True, max_steps=9)
after = nibble.evaluate("models/pico", "models/shop-test.jsonl", adapter=sys.argv[1])
assert len(run["log"]) == 9 and run["train_loss"] > 0, run
assert after["loss"] < held["loss"], (held, after)
answers = nibble.generate("models/pico", ["Question: a\nAnswer:"] * 2, max_new_tokens=4)
assert len(answers) == 2 and answers[0] == answers[1], answers
assert nibble.library().nib_version().decode() == nibble.__version__
try:
    nibble.evaluate("models/none", "models/shop.jsonl")
    raise SystemExit("a model that is not there was evaluated")
except nibble.Error as error:
    assert error.status == 1 and "models/none" in str(error), error
END
}

if [[ $want == *" deb "* ]]; then
    # Packing is what is tried: that the code is right at -O3 is what make test finds.
    check "packages.deb builds, lintian clean" \
        env DEB_CFLAGS_MAINT_APPEND=-O1 make -s BUILD="$build" deb &&
        check "packages.deb has three packages" unpack_debs &&
        check "packages.deb trains" deb_program
fi
if [[ $want == *" wheel "* ]]; then
    check "packages.wheel builds" make -s BUILD="$build" wheel &&
        check "packages.wheel installs" install_wheel &&
        check "packages.wheel trains" wheel_program &&
        check "packages.wheel module" wheel_module
fi
exit $status
