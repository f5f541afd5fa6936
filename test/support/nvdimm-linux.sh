#!/bin/sh
# What Linux does with a region of persistent memory in a file: the recipe of the numbers in test/nvdimm that are said to be Linux's.
#
#   nvdimm-linux.sh KERNEL_DIR IMAGE fresh4096   makes a sector namespace of sectors of 4096 and stops
#   nvdimm-linux.sh KERNEL_DIR IMAGE make4096    makes one, and writes to it as btt.test.ts does ("a table after writes")
#   nvdimm-linux.sh KERNEL_DIR IMAGE open        opens what is there, and says what it is and what it holds
#
# KERNEL_DIR: an unpacked linux-image package (apt-get download linux-image-amd64's dependency; dpkg-deb -x). IMAGE: a sparse file, 18 MiB for the numbers in the tests. The NFIT is QEMU's
# own, printed by each run. Needs qemu-system-x86_64, busybox-static, cpio, python3.
set -eu
kernel=$1 image=$2 mode=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/root/bin" "$work/root/mods" "$work/root/proc" "$work/root/sys" "$work/root/dev"
cp /bin/busybox "$work/root/bin/"
for module in nvdimm/libnvdimm nvdimm/nd_btt nvdimm/nd_pmem acpi/nfit/nfit dax/device_dax dax/dax_pmem; do
  cp "$kernel"/lib/modules/*/kernel/drivers/$module.ko "$work/root/mods/"
done
python3 -c 'import struct, sys; sys.stdout.buffer.write(b"".join(struct.pack("<I", i * 2654435761 & 0xffffffff) for i in range(65536)))' > "$work/root/pattern"
cat > "$work/root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
for module in libnvdimm nd_btt nd_pmem nfit device_dax dax_pmem; do insmod /mods/$module.ko; done
sleep 1
od -An -v -tx1 /sys/firmware/acpi/tables/NFIT
mode=$(sed 's/.*nvtest=\([a-z0-9]*\).*/\1/' /proc/cmdline)
devices=/sys/bus/nd/devices
case $mode in make*|fresh*)
  btt=$(ls -d $devices/btt0.* | head -1)
  sectors=${mode#make}
  echo namespace0.0 > /sys/bus/nd/drivers/nd_pmem/unbind
  echo ${sectors#fresh} > $btt/sector_size
  echo 42e1d574-76ac-402c-9132-5436e31528c0 > $btt/uuid
  echo namespace0.0 > $btt/namespace
  echo $(basename $btt) > /sys/bus/nd/drivers/nd_pmem/bind
  sleep 1 ;;
esac
echo "mode $(cat $devices/namespace0.0/mode), holder $(cat $devices/namespace0.0/holder)"
if [ -b /dev/pmem0s ]; then
  echo "size $(blockdev --getsize64 /dev/pmem0s), sectors of $(blockdev --getss /dev/pmem0s)"
  case $mode in make*)
    put() { dd if=/pattern of=/dev/pmem0s bs=4096 skip=$1 seek=$2 count=$3 conv=notrunc,fsync 2> /dev/null; }
    put 0 3 8; put 5 4 2; put 9 60 4; put 20 3 1; put 21 3 1; put 22 3 1 ;;
  esac
  case $mode in fresh*) ;; *) echo "first 256 KiB $(dd if=/dev/pmem0s bs=4096 count=64 2> /dev/null | sha256sum)" ;; esac
fi
sync
poweroff -f
INIT
chmod +x "$work/root/init"
(cd "$work/root" && find . | cpio -o -H newc 2> /dev/null | gzip -1) > "$work/initramfs"
qemu-system-x86_64 -accel tcg -machine q35,nvdimm=on -m 512M,slots=2,maxmem=2G -smp 1 -nographic -no-reboot -net none -kernel "$kernel"/boot/vmlinuz-* -initrd "$work/initramfs" \
  -append "console=ttyS0 quiet panic=-1 nvtest=$mode" -object memory-backend-file,id=region,share=on,mem-path="$image",size="$(stat -c %s "$image")" -device nvdimm,memdev=region
