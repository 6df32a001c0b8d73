complete -c aiosum -s a -l algorithm -d 'Hash with this algorithm instead of BLAKE3' -r -f -a "blake3\t''
sha256\t''
sha1\t''
md5\t''
xxh128\t''"
complete -c aiosum -l audit -d 'Name files that have no line, too' -r -f -a "(__fish_complete_directories)"
complete -c aiosum -s l -l length -d 'Bytes of BLAKE3\'s output, which has no end' -r
complete -c aiosum -l seek -d 'The first byte of BLAKE3\'s output' -r
complete -c aiosum -l derive-key -d 'Use BLAKE3\'s key derivation mode' -r
complete -c aiosum -l num-threads -d 'Threads that read and that hash' -r
complete -c aiosum -l direct -d 'Whether to go past the page cache with O_DIRECT' -r -f -a "auto\t''
always\t''
never\t''"
complete -c aiosum -l queue-depth -d 'Blocks in flight, 1 to 4096' -r
complete -c aiosum -l block-size -d 'Bytes a block, a power of two from 4K to 64M' -r
complete -c aiosum -l progress -d 'Show how far it is: auto, always, never' -f -a "auto\t''
always\t''
never\t''"
complete -c aiosum -l exclude -d 'Leave out what matches, as in rsync' -r
complete -c aiosum -l include -d 'Keep what matches, and a later --exclude would leave out' -r
complete -c aiosum -l exclude-from -d 'Read --exclude patterns from a file, one a line ("-": stdin)' -r -F
complete -c aiosum -l include-from -d 'Read --include patterns from a file, one a line ("-": stdin)' -r -F
complete -c aiosum -l min-size -d 'Leave out files that are smaller' -r
complete -c aiosum -l max-size -d 'Leave out files that are larger' -r
complete -c aiosum -l completions -d 'Print the completion script for a shell' -r -f -a "bash\t''
elvish\t''
fish\t''
powershell\t''
zsh\t''"
complete -c aiosum -s c -l check -d 'Check the files that the FILEs\' lines name'
complete -c aiosum -l quiet -d 'Print no OK'
complete -c aiosum -l status -d 'Print nothing, the exit code says it'
complete -c aiosum -l ignore-missing -d 'Pass over files that are not there'
complete -c aiosum -l strict -d 'Accepted for cksum\'s sake: malformed lines always fail'
complete -c aiosum -s w -l warn -d 'Name all malformed lines, even of what is no manifest'
complete -c aiosum -l tag -d 'Print lines like "BLAKE3 (FILE) = HASH"'
complete -c aiosum -s z -l zero -d 'End lines with NUL, for names of any bytes'
complete -c aiosum -l no-names -d 'Print hashes without names'
complete -c aiosum -l raw -d 'Print the hash of one file as bytes'
complete -c aiosum -l keyed -d 'Take a key, 32 bytes, from standard input'
complete -c aiosum -l no-mmap -d 'Accepted for b3sum\'s sake: nothing is mapped into memory'
complete -c aiosum -s 0 -l from0 -d 'What these files hold ends in NUL instead of newline'
complete -c aiosum -l debug -d 'Print each file\'s route, and why'
complete -c aiosum -s h -l help -d 'Print help (see more with \'--help\')'
complete -c aiosum -s V -l version -d 'Print version'
