#!/bin/sh
# Installs finetuned from the folder that this script is in, or a newer version over an older one. Data is never touched.
#
#   sudo ./install.sh                        into /opt/finetuned, with a user and a systemd unit of that name
#   ./install.sh --prefix ~/.local/finetuned for yourself, without a unit
#
# It fetches libtorch 2.11.0 into PREFIX/fetched (544 MB, with an NVIDIA driver 2.5 GB; FINETUNED_LIBTORCH=cpu or cuda decides otherwise), or
# links the one that LIBTORCH names. Needs Python 3.9 with pip for that.
set -eu
umask 022
here=$(cd "$(dirname "$0")" && pwd)
prefix=/opt/finetuned
unit=yes
[ "$(id -u)" = 0 ] || unit=no
fail() {
    echo "install.sh: $1" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    case $1 in
        --prefix) [ $# -gt 1 ] || fail "--prefix needs a folder"; prefix=$2; shift 2 ;;
        --no-unit) unit=no; shift ;;
        -h | --help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
        *) fail "does not know $1: see $0 --help" ;;
    esac
done
case $prefix in
    /*[[:space:]]* | *[[:space:]]*) fail "--prefix must not contain spaces" ;;
    /*) ;;
    *) fail "--prefix must be a whole path, such as $PWD/$prefix" ;;
esac
case $unit$prefix in
    yes/home/* | yes/root/* | yes/run/*) fail "the unit cannot see $prefix: name another folder with --prefix, or add --no-unit" ;;
esac
[ "$(uname -sm)" = "Linux x86_64" ] || fail "these programs are for x86-64 Linux, and this is $(uname -sm)"
(cd "$here" && sha256sum --quiet --check SHA256SUMS) || fail "files in $here are not those of the release: unpack it again"

mkdir -p "$prefix/bin" || fail "cannot write to $prefix: name another folder with --prefix, or run as root"
# By rename, so that a server that runs keeps its own program, and no start ever finds half a file.
for file in bin/finetuned bin/finetuned-worker; do
    cp "$here/$file" "$prefix/$file.new"
    mv -f "$prefix/$file.new" "$prefix/$file"
done
rm -rf "$prefix/setup.new"
cp -R "$here/setup" "$prefix/setup.new"
rm -rf "$prefix/setup"
mv "$prefix/setup.new" "$prefix/setup"
mkdir -p "$prefix/share"
cp -R "$here/share/." "$prefix/share/"

XDG_CACHE_HOME=$prefix/fetched python3 -B "$prefix/setup/libtorch" --link "$prefix/libtorch" ||
    fail "the programs are in $prefix, and libtorch is not: run this again when that is mended"
"$prefix/bin/finetuned-worker" devices >/dev/null || fail "$prefix/bin/finetuned-worker does not start: see above"

if [ "$unit" = no ]; then
    echo "installed $("$prefix/bin/finetuned" --version) in $prefix: $prefix/bin/finetuned serve"
    exit 0
fi
id finetuned >/dev/null 2>&1 ||
    useradd --system --user-group --home-dir /var/lib/finetuned --no-create-home --shell /usr/sbin/nologin finetuned
mkdir -p /etc/systemd/system
sed "s|@PREFIX@|$prefix|" "$here/systemd/finetuned.service" >/etc/systemd/system/finetuned.service
if [ -e /proc/driver/nvidia/version ]; then
    mkdir -p /etc/systemd/system/finetuned.service.d
    cp "$here/systemd/gpu.conf" /etc/systemd/system/finetuned.service.d/gpu.conf
fi
ln -sfn "$prefix/bin/finetuned" /usr/local/bin/finetuned
[ ! -d /run/systemd/system ] || systemctl daemon-reload
echo "installed $("$prefix/bin/finetuned" --version) in $prefix. To start it now and after every boot: systemctl enable --now finetuned"
