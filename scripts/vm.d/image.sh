# The guest's file system: a cpio archive that the kernel unpacks into memory. Part of scripts/vm.

# overlay builds the daemon and the tests, with what they read: DIR ARCH
overlay() {
	local dir=$1 arch=$2 name package rest
	mkdir -p "$dir/vm/bin"
	build=(env CGO_ENABLED=0 GOOS=linux GOARCH="$arch" "$GO")
	"${build[@]}" build -buildvcs=false -trimpath -ldflags '-s -w' -o "$dir/vm/bin/culvert" ./cmd/culvert
	while read -r name package rest; do
		case $name in '' | '#'*) continue ;; esac
		[ -n "$shell" ] || [[ $name =~ $word ]] || continue
		echo "$name $package $rest" >>"$dir/vm/jobs"
		mkdir -p "$dir/vm/$package"
		[ -e "$dir/vm/$package/test" ] || "${build[@]}" test -c -ldflags '-s -w' -o "$dir/vm/$package/test" "./$package"
		[ ! -d "$package/testdata" ] || cp -r "$package/testdata" "$dir/vm/$package/"
	done <scripts/vm.d/jobs
	[ -e "$dir/vm/jobs" ] || { say "no job's name matches $word" && exit 2; }
	cp scripts/vm.d/init "$dir/vm/init"
	[ -z "$shell" ] || touch "$dir/vm/shell"
}

# archive packs directories over each other, and those of the modules that a network without devices may need:
# FILE ROOT MODULES OVERLAY
archive() {
	local file=$1 root=$2 modules=$3 overlay=$4 command
	pack() { (cd "$1" && find "${@:2}" -print0 | "${command[@]}" --null --quiet -o -H newc -R 0:0) >>"$file"; }
	: >"$file"
	tool cpio
	pack "$root" . '(' -path ./usr/share -o -path ./var -o -path ./boot -o -path '*/perl*' ')' -prune -o
	if [ -n "$modules" ]; then
		local to=$work/modules/lib/modules/$(basename "$modules") part
		mkdir -p "$to"
		cp "$modules"/modules.{order,builtin,builtin.modinfo} "$to" 2>/dev/null || true
		for part in net lib crypto arch drivers/net/{wireguard,tun.ko*,veth.ko*,dummy.ko*,ifb.ko*}; do
			for part in "$modules/kernel/"$part; do
				[ ! -e "$part" ] || (cd "$modules" && cp -r --parents "${part#"$modules"/}" "$to")
			done
		done
		tool depmod
		"${command[@]}" -b "$work/modules" "$(basename "$modules")"
		tool cpio
		pack "$work/modules" .
	fi
	pack "$overlay" .
}
