#!/usr/bin/env bash
# Set up vidtok-edge on a Jetson and build the engines of a bundle there. Unverified on hardware.
#
#   bash jetson.sh BUNDLE [options of `vidtok-edge build`]
#
# WHEEL   the wheel to install; default: vidtok_edge-*.whl beside this script
# EXTRAS  what of it is installed too; default: [record,video]; empty for none
# VENV    the virtual environment; default: ~/.venvs/vidtok-edge
# POWER   a mode of `nvpmodel -p --verbose`: set it and fix the clocks first (sudo)
set -euo pipefail

say() { printf '== %s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 4; }

if [[ $# -lt 1 || $1 == -* ]]; then
    printf 'usage: bash jetson.sh BUNDLE [options of vidtok-edge build]\n' >&2
    exit 2
fi
bundle=$1
shift
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=${VENV:-$HOME/.venvs/vidtok-edge}

[[ -f $bundle/manifest.json ]] || fail "$bundle has no manifest.json: copy the whole bundle here."
[[ -f /etc/nv_tegra_release ]] || fail "this is no Jetson: /etc/nv_tegra_release is missing."
say "$(head -n 1 /etc/nv_tegra_release)"

if ! version=$(python3 -c 'import tensorrt; print(tensorrt.__version__)' 2>&1); then
    fail "python3 cannot import tensorrt (${version##*$'\n'}). Install it: sudo apt install nvidia-jetpack python3-libnvinfer"
fi
say "TensorRT $version"

wheel=${WHEEL:-}
if [[ -z $wheel ]]; then
    for found in "$here"/vidtok_edge-*.whl; do
        [[ -e $found ]] && wheel=$found
    done
fi
[[ -f $wheel ]] || fail "no wheel: put vidtok_edge-*.whl beside this script, or set WHEEL."

if [[ ! -x $venv/bin/python ]]; then
    say "virtual environment $venv, which sees the system's TensorRT"
    python3 -m venv --system-site-packages "$venv" || fail "no venv: sudo apt install python3-venv"
fi
case $(readlink -f /usr/local/cuda) in
    *cuda-12*) bindings='cuda-bindings>=12.6,<13' ;;
    *) bindings='cuda-bindings>=13,<14' ;;
esac
"$venv/bin/python" -m pip install --quiet --upgrade "$wheel${EXTRAS-[record,video]}" "$bindings"

if [[ -n ${POWER:-} ]]; then
    say "power mode $POWER, fixed clocks"
    sudo nvpmodel -m "$POWER"
    sudo jetson_clocks
fi
if command -v nvpmodel >/dev/null; then
    nvpmodel -q 2>/dev/null || say "power mode unknown"
fi

"$venv/bin/vidtok-edge" doctor || true # says what is missing; engines can be built all the same
say "engines: minutes each"
"$venv/bin/vidtok-edge" build "$bundle" --target tensorrt "$@"
