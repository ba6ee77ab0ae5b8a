//! The shell that supervises a program which is no `gauntlet`.
//!
//! It reads the same orders, and carries out those over groups and folders.

use std::process::Command;

/// A list of lines `number kind what how`. Who is asked politely has a second to obey.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
list=
while read -r verb number rest; do
    case $verb in
    watch) list="$list
$number $rest" ;;
    release) list=$(printf '%s\n' "$list" | grep -v "^$number ") ;;
    esac
done
every() { printf '%s\n' "$list" | while read -r _ kind what; do
    [ "$kind" = "$1" ] && "$2" "$what"
done; }
ask() { kill -s "${1#* }" "${1% *}"; kill -s CONT -- "-${1% *}"; }
end() { kill -s KILL -- "-${1% *}"; }
remove() { rm -rf -- "$1"; }
every group ask
case $list in *" group "*) sleep 1 ;; esac
every group end
every folder remove
exit 0
"#;

/// How it is started.
pub(super) fn command() -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", SCRIPT, "supervisor"]).env_clear().env("PATH", "/usr/bin:/bin");
    command
}
