#!/bin/busybox sh
# PID 1 of the small instance that tests boot. Like cloud-init it takes its name, keys and addresses from the disk labelled
# cidata; data disks with a filesystem are mounted at /vol/<device>.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root
mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys
mkdir -p /dev/pts /seed /etc/dropbear; mount -t devpts devpts /dev/pts
while read -r name; do insmod "/modules/$name.ko"; done < /modules/list
echo "small guest: boot $(cat /proc/sys/kernel/random/boot_id)"

mount -t iso9660 -o ro /dev/vdb /seed
hostname "$(sed -n 's/.*"local-hostname": *"\([^"]*\)".*/\1/p' /seed/meta-data)"
grep -o '"ssh-[^"]*"' /seed/user-data | tr -d '"' > /root/.ssh/authorized_keys
chmod 700 /root /root/.ssh; chmod 600 /root/.ssh/authorized_keys
ip link set lo up
if [ -e /sys/class/net/eth0 ]; then
    ip link set eth0 up
    for address in $(grep -o '"[0-9a-f.:]*/[0-9]*"' /seed/network-config | tr -d '"'); do ip addr add "$address" dev eth0; done
    sed -n 's/.*"gateway4": *"\([^"]*\)".*/\1/p' /seed/network-config | while read -r gateway; do ip route add default via "$gateway"; done
    sed -n 's/.*"gateway6": *"\([^"]*\)".*/\1/p' /seed/network-config | while read -r gateway; do ip -6 route add default via "$gateway"; done
fi
for device in vdc vdd vde vdf; do
    [ -e /dev/$device ] || continue
    mkdir -p /vol/$device
    mount -t ext4 /dev/$device /vol/$device 2>/dev/null || mount -t ext4 -o ro /dev/$device /vol/$device
done
# The agent sets the hardware's clock as well, and knows its tool by this path.
mkdir -p /sbin; ln -s /bin/busybox /sbin/hwclock
for port in /sys/class/virtio-ports/*; do
    [ "$(cat "$port/name" 2>/dev/null)" = org.qemu.guest_agent.0 ] && (qemu-ga -m virtio-serial -p "/dev/${port##*/}" -t /run >/dev/null 2>&1 &)
done
echo root::0:0::/root:/bin/sh > /etc/passwd; echo root:x:0: > /etc/group; echo /bin/sh > /etc/shells

finish() { sync; umount -a -r 2>/dev/null; "$1" -f; }
# The power button: the first key of any input device.
for input in /dev/input/event*; do
    (dd if="$input" of=/dev/null bs=24 count=1 2>/dev/null && echo "small guest: power button" && finish poweroff) &
done
trap 'finish reboot' TERM
trap 'finish poweroff' USR2
dropbear -R -s -p 22
echo "small guest: up"
while :; do sleep 1 & wait $!; done
