#!/bin/bash
# Builds the guest image of Kilonova from Debian packages and the files beside this script:
#
#   build.sh --output DIR [--cache DIR]
#
#   DIR/guest.qcow2      the disk: boots by BIOS from any bus, or is the root of a direct kernel boot
#   DIR/vmlinuz          the kernel and
#   DIR/initrd.img       the initramfs for direct kernel boot, with "console=ttyS0 quiet"
#   DIR/inputs.sha256    what they were made of; the same again means that nothing is built
#
# The packages are kept in the cache (DIR/cache by default), and what is there is used as it is:
# then no network is needed. Nothing is installed or mounted, so root is not needed either.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
disk_mib=96
partition_start_sectors=2048
root_label=kilonova-root

progress() { echo "guest-image: $*" >&2; }
die() { progress "error: $*"; exit 1; }

usage() { sed -n '2,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; }

parse_arguments() {
    output='' cache=''
    while [ $# -gt 0 ]; do
        case $1 in
            --output | --cache)
                [ -n "${2:-}" ] || die "$1 needs a directory"
                printf -v "${1#--}" %s "$2"
                shift 2
                ;;
            -h | --help) usage; exit 0 ;;
            *) usage; die "unknown argument $1" ;;
        esac
    done
    [ -n "$output" ] || { usage; die "--output is missing"; }
    mkdir -p "$output"
    output=$(cd "$output" && pwd)
    cache=${cache:-$output/cache}
    mkdir -p "$cache"
    cache=$(cd "$cache" && pwd)
}

# Names every missing tool at once, with the Debian package that has it.
check_tools() {
    export PATH=$PATH:/usr/sbin:/sbin
    [ "$(uname -m)" = x86_64 ] || die "the guest is x86_64, and so must be the machine that builds it"
    local tool package missing=''
    while read -r tool package; do
        if [[ $tool == /* ]]; then [ -e "$tool" ]; else command -v "$tool" >/dev/null; fi && continue
        progress "$tool is missing: it is in the Debian package $package"
        [[ " $missing " == *" $package "* ]] || missing="$missing $package"
    done <<'TOOLS'
apt-get apt
cpio cpio
debugfs e2fsprogs
dpkg-deb dpkg
flock util-linux
grub-mkimage grub-common
/usr/lib/grub/i386-pc/boot.img grub-pc-bin
gzip gzip
mke2fs e2fsprogs
qemu-img qemu-utils
TOOLS
    [ -z "$missing" ] || die "install what is missing: apt-get install$missing"
}

# Prints the file of the newest version of package $1 in the cache, or nothing.
cached_package() {
    find "$cache" -maxdepth 1 -name "$1_*.deb" -printf '%f\n' | sort -V | tail -n 1
}

# Prints the file names that apt has for the given packages, from its lists: no network.
available_packages() {
    apt-get download --print-uris "$@" | awk '{ print $2 }' ||
        die "apt does not have all of: $* (apt-get update?)"
}

# Prints the package of the cloud kernel: the cached one, else the one that apt has now.
kernel_package() {
    local file
    file=$(cached_package 'linux-image-[0-9]*-cloud-amd64')
    if [ -n "$file" ]; then
        echo "${file%%_*}"
    else
        { apt-cache depends linux-image-cloud-amd64 2>/dev/null || true; } |
            sed -n 's/.*Depends: \(linux-image-[0-9].*-cloud-amd64\)$/\1/p'
    fi
}

# Fills the array package_files with one .deb for each package, whether it is there yet or not.
resolve_packages() {
    local kernel package file
    local uncached=()
    kernel=$(kernel_package)
    [ -n "$kernel" ] || die "apt knows no linux-image-cloud-amd64 and $cache has none: apt-get update?"
    package_files=()
    for package in $(sed 's/#.*//' "$here/packages") "$kernel"; do
        file=$(cached_package "$package")
        if [ -n "$file" ]; then package_files+=("$file"); else uncached+=("$package"); fi
    done
    if [ ${#uncached[@]} -gt 0 ]; then
        # in two steps: a failure inside <(...) would go unseen
        file=$(available_packages "${uncached[@]}")
        mapfile -t -O "${#package_files[@]}" package_files <<<"$file"
    fi
    # which of them were cached must make no difference to the hash
    mapfile -t package_files < <(printf '%s\n' "${package_files[@]}" | LC_ALL=C sort)
}

# The hash over the recipe and the packages' names, which have their versions in them.
inputs_hash() {
    (
        cd "$here"
        find . -type f | LC_ALL=C sort | while read -r file; do
            [ -x "$file" ] && echo "$file may be run" || echo "$file"
            sha256sum <"$file"
        done
        printf '%s\n' "${package_files[@]}"
    ) | sha256sum | cut -d' ' -f1
}

is_up_to_date() {
    local file
    for file in guest.qcow2 vmlinuz initrd.img; do
        [ -s "$output/$file" ] || return 1
    done
    [ "$(cat "$output/inputs.sha256" 2>/dev/null)" = "$1" ]
}

download_packages() {
    local file
    local wanted=() options=(-qq)
    # apt's own unprivileged user may not be able to write where root can
    [ "$(id -u)" = 0 ] && options+=(-o APT::Sandbox::User=root)
    for file in "${package_files[@]}"; do
        [ -s "$cache/$file" ] || wanted+=("${file%%_*}")
    done
    [ ${#wanted[@]} = 0 ] && return
    progress "downloading ${wanted[*]}"
    mkdir "$work/download"
    (cd "$work/download" && apt-get "${options[@]}" download "${wanted[@]}") ||
        die "cannot download them (no network, or old package lists: apt-get update?), and $cache does not have them"
    for file in "${package_files[@]}"; do
        [ -s "$cache/$file" ] && continue
        [ -s "$work/download/$file" ] || die "apt-get did not download $file"
        # a copy under another name first: the cache may be on another file system
        cp "$work/download/$file" "$cache/.$file.part"
        mv "$cache/.$file.part" "$cache/$file"
    done
}

unpack_packages() {
    local file
    for file in "${package_files[@]}"; do
        dpkg-deb -x "$cache/$file" "$packages" ||
            die "$cache/$file cannot be unpacked: remove it and start again"
    done
    kernel_version=$(ls "$packages/lib/modules")
    busybox=$packages/bin/busybox
}

# Copies a program or library of the packages to $2 in the root tree with the libraries it needs.
# The packages' own dynamic linker tells which: so none of the host's gets in.
copy_program() {
    local from=$packages/$1 to=$root/$2 library path
    local libraries=$packages/lib/x86_64-linux-gnu:$packages/usr/lib/x86_64-linux-gnu:$packages/usr/libexec/sudo
    install -D -m 755 "$from" "$to"
    while read -r library _ path _; do
        [[ $path == /* ]] || continue
        [[ $path == "$packages"/* ]] || die "$1 needs $library, which no package in $here/packages has"
        [[ $path == "$packages"/usr/libexec/* ]] && continue
        [ -e "$root/usr/lib/x86_64-linux-gnu/$library" ] ||
            install -D -m 755 "$path" "$root/usr/lib/x86_64-linux-gnu/$library"
    done < <("$packages/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" --library-path "$libraries" --list "$from" |
        grep '=>' | sed 's/not found/\/not-found/')
}

# Makes $1 a tree with busybox and its commands in $1/$2.
install_busybox() {
    local name
    install -D -m 755 "$busybox" "$1/$2/busybox"
    for name in $("$busybox" --list); do
        [ "$name" = busybox ] || ln -sf busybox "$1/$2/$name"
    done
}

# Copies the kernel modules named on stdin, and what they depend on, to tree $1.
install_modules() {
    local name file target=$1/lib/modules/$kernel_version
    mkdir -p "$target"
    while read -r name; do
        local line
        line=$(grep -E "/${name//[-_]/[-_]}\.ko:" "$packages/lib/modules/$kernel_version/modules.dep") ||
            die "the kernel has no module $name"
        for file in ${line/:/}; do
            install -D -m 644 "$packages/lib/modules/$kernel_version/$file" "$target/$file"
        done
    done
    cp "$packages/lib/modules/$kernel_version"/modules.{order,builtin} "$target/"
    "$busybox" depmod -b "$1" "$kernel_version"
}

modules_named() {
    sed -n "s/^\($1\) //p" "$here/modules"
}

# Files of the repository keep only whether they may be run; the rest of their mode is decided here.
copy_rootfs_files() {
    local file mode
    while read -r file; do
        mode=644
        [ -x "$here/rootfs/$file" ] && mode=755
        install -D -m $mode "$here/rootfs/$file" "$root/$file"
    done < <(cd "$here/rootfs" && find . -type f)
    chmod 600 "$root/etc/shadow"
    chmod 440 "$root/etc/sudoers"
}

make_root_tree() {
    local dir
    root=$work/root
    mkdir -p "$root"/{usr/{bin,lib,lib64,local/bin},etc/dropbear,home/kilo,root,boot,dev,proc,run,sys,tmp,mnt,var/{lib/kilonova,log}}
    for dir in bin lib lib64; do ln -s usr/$dir "$root/$dir"; done
    ln -s bin "$root/usr/sbin"
    ln -s usr/bin "$root/sbin"
    ln -s /run "$root/var/run"
    install_busybox "$root" usr/bin
    copy_program usr/sbin/dropbear usr/bin/dropbear
    copy_program usr/bin/dropbearkey usr/bin/dropbearkey
    copy_program usr/bin/dbclient usr/bin/dbclient
    copy_program sbin/resize2fs usr/bin/resize2fs
    copy_program usr/lib/openssh/sftp-server usr/lib/sftp-server
    copy_program usr/bin/sudo usr/bin/sudo
    copy_program usr/libexec/sudo/libsudo_util.so.0 usr/libexec/sudo/libsudo_util.so.0
    copy_program usr/libexec/sudo/sudoers.so usr/libexec/sudo/sudoers.so
    copy_program lib/x86_64-linux-gnu/security/pam_permit.so usr/lib/x86_64-linux-gnu/security/pam_permit.so
    copy_program lib/x86_64-linux-gnu/security/pam_deny.so usr/lib/x86_64-linux-gnu/security/pam_deny.so
    install -D -m 755 "$packages/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2" "$root/usr/lib64/ld-linux-x86-64.so.2"
    copy_rootfs_files
    modules_named 'early\|late' | install_modules "$root"
    chmod 4755 "$root/usr/bin/sudo" "$root/usr/bin/busybox"
    chmod 700 "$root/root"
    chmod 1777 "$root/tmp"
    cp "$packages/boot/vmlinuz-$kernel_version" "$root/boot/vmlinuz"
    chmod 644 "$root/boot/vmlinuz"
    cp "$work/initrd.img" "$root/boot/initrd.img"
}

make_initramfs() {
    local tree=$work/initramfs
    mkdir -p "$tree"/{proc,sys,dev,root}
    install_busybox "$tree" bin
    mkdir "$tree/sbin"
    ln -s ../bin/busybox "$tree/sbin/modprobe"
    install -m 755 "$here/initramfs/init" "$tree/init"
    modules_named early | install_modules "$tree"
    (cd "$tree" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) | gzip -n -6 >"$work/initrd.img"
}

# Whoever builds: in the image everything belongs to root, and kilo's home to kilo.
own_by_root() {
    local path id
    find "$root" -mindepth 1 -printf '/%P\n' | while read -r path; do
        id=0
        [ "$path" = /home/kilo ] && id=1000
        printf 'set_inode_field %s uid %s\nset_inode_field %s gid %s\n' "$path" $id "$path" $id
    done >"$work/owners"
    debugfs -w -f "$work/owners" "$1" >/dev/null 2>"$work/debugfs.log"
    ! grep -v '^debugfs 1\.' "$work/debugfs.log" >&2 || die "cannot set the files' owners"
}

# Prints a number as four bytes, lowest first.
little_endian() {
    local shift
    for shift in 0 8 16 24; do
        printf "\\x$(printf %02x $(($1 >> shift & 255)))"
    done
}

make_file_system() {
    truncate -s "$((disk_mib - partition_start_sectors / 2048))M" "$1"
    # features by name: the ones GRUB 2.06 reads, whatever mke2fs.conf says. The resize inode
    # lets the file system grow to 2 TiB while it is mounted, and the journal must hold all of it.
    mke2fs -q -F -t ext4 -L "$root_label" -b 4096 -i 8192 -m 0 -J size=8 \
        -O none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum \
        -E root_owner=0:0,resize=536870912,lazy_itable_init=1,lazy_journal_init=1 \
        -d "$root" "$1"
    own_by_root "$1"
}

# Master boot record with GRUB's first stage, GRUB in the gap behind it, then the one partition.
make_disk() {
    local disk=$work/guest.raw
    make_file_system "$work/root.ext4"
    grub-mkimage -O i386-pc -o "$work/core.img" -c "$here/grub.cfg" -p '(,msdos1)/boot/grub' biosdisk part_msdos ext2 linux
    [ "$(stat -c %s "$work/core.img")" -le $(((partition_start_sectors - 1) * 512)) ] || die "GRUB does not fit before the partition"
    truncate -s "${disk_mib}M" "$disk"
    dd if=/usr/lib/grub/i386-pc/boot.img of="$disk" bs=440 count=1 conv=notrunc status=none
    {
        # bootable; no cylinders, heads and sectors; type Linux
        printf '\x80\xfe\xff\xff\x83\xfe\xff\xff'
        little_endian $partition_start_sectors
        little_endian $((disk_mib * 2048 - partition_start_sectors))
    } | dd of="$disk" bs=1 seek=446 conv=notrunc status=none
    printf '\x55\xaa' | dd of="$disk" bs=1 seek=510 conv=notrunc status=none
    dd if="$work/core.img" of="$disk" bs=512 seek=1 conv=notrunc status=none
    dd if="$work/root.ext4" of="$disk" bs=512 seek=$partition_start_sectors conv=notrunc,sparse status=none
    qemu-img convert -q -f raw -O qcow2 "$disk" "$work/guest.qcow2"
}

# Each file is replaced in one step; the hash goes first and comes last, so that it is never there
# beside files of another build.
publish() {
    cp "$packages/boot/vmlinuz-$kernel_version" "$work/vmlinuz"
    chmod 644 "$work/vmlinuz"
    rm -f "$output/inputs.sha256"
    mv "$work/vmlinuz" "$work/initrd.img" "$work/guest.qcow2" "$output/"
    echo "$1" >"$work/inputs.sha256"
    mv "$work/inputs.sha256" "$output/"
}

main() {
    parse_arguments "$@"
    exec 9>"$output/.lock"
    flock -n 9 || { progress "waiting for another build in $output"; flock 9; }
    local hash
    # a missing tool must not stand in the way of an image that is there
    resolve_packages
    hash=$(inputs_hash)
    if is_up_to_date "$hash"; then
        progress "up to date: $output/guest.qcow2"
        exit 0
    fi
    check_tools
    # beside the output, so that publishing is a rename
    work=$(mktemp -d "$output/.build.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    packages=$work/packages
    umask 022
    progress "1/5 packages: ${#package_files[@]}, kept in $cache"
    download_packages
    progress "2/5 unpacking them"
    unpack_packages
    "$busybox" depmod -b "$packages" "$kernel_version"
    progress "3/5 initramfs, kernel $kernel_version"
    make_initramfs
    progress "4/5 root file system"
    make_root_tree
    progress "5/5 disk"
    make_disk
    publish "$hash"
    progress "done: $(cd "$output" && du -h --apparent-size guest.qcow2 vmlinuz initrd.img | awk '{ printf "%s %s  ", $2, $1 }')in $output"
}

main "$@"
