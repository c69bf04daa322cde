# Packages of Debian, in a directory of their own. Needs $cache; part of scripts/vm.

# debian_apt runs an apt program with a configuration, lists and archives of our own.
debian_apt() { APT_CONFIG=$cache/apt.conf "$@"; }

# apt_ready makes that configuration, and reads the lists when they are missing or a day old.
apt_ready() {
	local mirror keys=/usr/share/keyrings/debian-archive-keyring.gpg suite
	mirror=${MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Label: Debian' | head -n 1)}
	[ -n "$mirror" ] || { say "no Debian mirror in the machine's apt sources: set MIRROR" && exit 1; }
	[ -e $keys ] || { say "$keys is missing: install debian-archive-keyring" && exit 1; }
	mkdir -p "$cache"/{lists/partial,archives/partial,parts}
	: >"$cache/status"
	for suite in bullseye bookworm bookworm-backports; do
		echo "deb [signed-by=$keys] $mirror $suite main"
	done >"$cache/sources.list"
	cat >"$cache/apt.conf" <<-END
		Dir::State "$cache"; Dir::State::lists "$cache/lists"; Dir::State::status "$cache/status";
		Dir::Cache "$cache"; Dir::Cache::archives "$cache/archives"; Dir::Cache::pkgcache ""; Dir::Cache::srcpkgcache "";
		Dir::Etc::Parts "$cache/parts"; Dir::Etc::PreferencesParts "$cache/parts";
		Dir::Etc::SourceList "$cache/sources.list"; Dir::Etc::SourceParts "$cache/parts";
		APT::Architecture "$(dpkg --print-architecture)"; APT::Architectures { "amd64"; "arm64"; };
		APT::Install-Recommends "false"; APT::Sandbox::User ""; Debug::NoLocking "true"; Acquire::Languages "none";
	END
	if [ -z "$(find "$cache/updated" -mtime -1 2>/dev/null)" ]; then
		say "reading the lists of packages"
		debian_apt apt-get -qq update
		touch "$cache/updated"
	fi
}

# unpacked has packages and what they depend on in a directory, without installing them: DIR ARCH SUITE PACKAGE...
unpacked() {
	local dir=$1 arch=$2 suite=$3 file
	shift 3
	[ "$(cat "$dir/.packages" 2>/dev/null)" != "$*" ] || return 0
	say "fetching $*"
	rm -rf "$dir" "$cache/archives"
	mkdir -p "$dir" "$cache/archives/partial"
	debian_apt apt-get -qq -y --download-only -t "$suite" -o APT::Architecture="$arch" install "$@" >/dev/null
	for file in "$cache"/archives/*.deb; do
		dpkg-deb -x "$file" "$dir"
	done
	rm -rf "$cache/archives"
	echo "$*" >"$dir/.packages"
}

# kernel_of has Debian's newest kernel of a line, and sets image and modules: LINE ARCH
kernel_of() {
	local line=$1 arch=$2 suite package dir
	case $line in
	5.10) suite=bullseye ;;
	6.1) suite=bookworm ;;
	6.12) suite=bookworm-backports ;;
	*) say "no kernel $line: 5.10, 6.1, 6.12 or a file" && exit 2 ;;
	esac
	dir=$cache/linux-$line-$arch
	if [ ! -e "$dir/.packages" ]; then
		package=$(debian_apt apt-cache show -a "linux-image-cloud-$arch:$arch" |
			sed -n 's/^Depends: \(linux-image-[^ ,]*\).*/\1/p' | grep -F "image-$line." | sort -V | tail -n 1)
		[ -n "$package" ] || { say "$suite has no kernel $line for $arch" && exit 1; }
		say "fetching $package"
		mkdir -p "$dir"
		(cd "$dir" && debian_apt apt-get -qq -t "$suite" download "$package:$arch" && dpkg-deb -x ./*.deb . && rm ./*.deb)
		echo "$package" >"$dir/.packages"
	fi
	image=$(echo "$dir"/boot/vmlinuz-*)
	modules=$(echo "$dir"/lib/modules/*)
}

# tool sets command to what runs a program: the machine's, or that of the fetched packages with the libraries of those.
tool() {
	local path
	if path=$(PATH=$PATH:/usr/sbin:/sbin command -v "$1"); then
		command=("$path")
	else
		path=$(find "$tools" '(' -type f -o -type l ')' -path "*bin/$1" | head -n 1)
		command=("$tools"/lib*/ld-linux*.so.* --library-path "$(echo "$tools"{,/usr}/lib/*-linux-gnu*{,/pulseaudio} | tr ' ' :)" "$path")
	fi
}
