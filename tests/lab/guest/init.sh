#!/bin/sh
# The first program of a guest, started by the kernel from the initramfs: puts the root together
# (the host's files, read-only, under an overlay in memory) and hands over to agent.py.
# Kernel arguments: lab.node=N, lab.project=PATH of the clone, lab.python=PATH, lab.kernel=VERSION,
# or lab.probe alone for a boot that only proves that the machine can run a guest.
export PATH=/bin
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs devtmpfs /dev

argument() { busybox sed -n "s/.* \?lab\.$1=\([^ ]*\).*/\1/p" /proc/cmdline; }

if busybox grep -q 'lab\.probe' /proc/cmdline; then
  # A guest that hangs often does so once it sleeps or computes on several processors.
  busybox sleep 0.2
  for _ in 1 2 3 4; do busybox sha256sum /bin/busybox >/dev/null & done
  wait
  echo 'lab: the probe works'
  busybox poweroff -f
fi

stop() { echo "lab: $*"; busybox poweroff -f; }

# Modules in the order that the tool found in modules.dep.
while read -r module; do
  busybox insmod "/modules/$module" || stop "cannot load $module"
done </modules/order

readonly OPTIONS=trans=virtio,version=9p2000.L,msize=512000,ro
busybox mount -t 9p -o "$OPTIONS,cache=loose" host /host || stop "cannot mount the host's files"
busybox mount -t tmpfs -o mode=755,size=50% tmpfs /memory
busybox mkdir -p /memory/upper /memory/work
busybox mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work \
  overlay /root || stop "cannot mount the overlay"
busybox mount -t tmpfs -o mode=755 tmpfs /root/run
busybox mount -t tmpfs -o mode=1777 tmpfs /root/tmp
busybox mkdir -p /root/run/lock /root/run/lab

# The clone's own files change while the guest runs (a build): they are mounted for themselves and
# not cached, and over the overlay, which must not see its lower layer change.
project=$(argument project)
python=$(argument python)
busybox mkdir -p "/root$project"
busybox mount -t 9p -o "$OPTIONS,cache=mmap" project "/root$project" || stop "cannot mount $project"

version=$(argument kernel)
busybox mkdir -p "/root/lib/modules/$version"
busybox mount -t 9p -o "$OPTIONS,cache=loose" modules "/root/lib/modules/$version"

busybox cp /lab/* /root/run/lab/
for dir in proc sys dev; do
  busybox mkdir -p "/root/$dir"
  busybox mount --move "/$dir" "/root/$dir"
done
exec busybox switch_root /root "$python" -I -S -u /run/lab/agent.py
