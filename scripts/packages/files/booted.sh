#!/bin/bash
# Runs in a Debian that `scripts/packages boot` has booted, by its systemd: installs the tarball and then the Debian package as a person would,
# and uses the server under its unit. Every line that it prints is something that was seen; the first that fails ends it.
set -euo pipefail
saw() { echo "  $1"; }
fail() {
    echo "booted: $1"
    journalctl --no-pager --unit finetuned --lines 20
    exit 1
}
started() { for _ in $(seq 300); do
    systemctl is-failed --quiet finetuned && fail "the unit failed"
    bash -c 'exec 3<>/dev/tcp/127.0.0.1/8080' 2>/dev/null && return
    sleep 0.2
done; fail "the server does not listen"; }

use() {
    finetuned upload shapes.zip --name "$1" >upload.log 2>&1
    finetuned submit --json - --watch >job.log <<JSON
{"dataset": "$1", "name": "$1", "backbone": {"architecture": "resnet18", "weights": "none"}, "image": {"size": 32}, "epochs": 1}
JSON
    grep -q '"status":"succeeded"' job.log || fail "$(tail -n 1 job.log)"
    saw "a dataset is read, a job trains, the model predicts: $(finetuned predict "$1" one.png)"
}

cd /root
export LIBTORCH=/srv/libtorch
mkdir release
tar --extract --file finetuned-*.tar.gz --directory release --strip-components 1
# One compute thread: two that synchronise at every step are slow when other processes use the cores, too.
printf 'FINETUNED_TRAIN_THREADS=1\nFINETUNED_PREDICT_THREADS=1\n' >/etc/finetuned.env
release/install.sh >install.log || fail "$(cat install.log)"
systemctl enable --now --quiet finetuned
started
finetuned sample-dataset shapes.zip >/dev/null
python3 - <<'PYTHON'
import zipfile
with zipfile.ZipFile("shapes.zip") as archive:
    name = next(name for name in archive.namelist() if name.endswith((".png", ".jpg")))
    open("one.png", "wb").write(archive.read(name))
PYTHON
status=/proc/$(systemctl show --property MainPID --value finetuned)/status
for limit in NoNewPrivs:.1 CapBnd:.0000000000000000 Seccomp:.2; do
    grep -q "$limit" "$status" || fail "the unit's limits do not hold: $limit"
done
saw "the tarball installs; the unit runs without privileges, under a filter of system calls"
use tarball
systemctl stop finetuned
[ "$(systemctl show --property Result --value finetuned)" = success ] || fail "it did not stop by itself"
saw "it stops when it is asked to"

# What the unit says about itself: that this would break the worker.
mkdir /etc/systemd/system/finetuned.service.d
printf '[Service]\nMemoryDenyWriteExecute=yes\n' >/etc/systemd/system/finetuned.service.d/deny.conf
systemctl daemon-reload
systemctl start finetuned
started
! finetuned predict tarball one.png >/dev/null 2>&1 || fail "MemoryDenyWriteExecute=yes breaks nothing any more: it can go into the unit"
saw "with MemoryDenyWriteExecute=yes nothing is predicted"
systemctl stop finetuned
rm -r /etc/systemd/system/finetuned.service* /usr/local/bin/finetuned /opt/finetuned
systemctl daemon-reload
hash -r

dpkg --install finetuned_*.deb >install.log 2>&1 || fail "$(cat install.log)"
finetuned-libtorch >install.log 2>&1 || fail "$(cat install.log)"
systemctl enable --now --quiet finetuned
started
saw "the Debian package installs, and finds the data of the tarball's server: $(finetuned predict tarball one.png)"
use package
dpkg --purge finetuned >install.log 2>&1 || fail "$(cat install.log)"
[ -e /var/lib/finetuned/finetuned.db ] || fail "the data is gone with the package"
for left in /usr/lib/finetuned /var/lib/finetuned-libtorch; do
    [ ! -e "$left" ] || fail "$left stays"
done
saw "when it is purged, the data stays"
echo works
